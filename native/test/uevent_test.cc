#include "native/core/uevent.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

/// Lines as the fields of a message, each ended by NUL.
std::string Message(std::initializer_list<const char*> fields) {
  std::string message;
  for (const char* field : fields) message.append(field).push_back('\0');
  return message;
}

std::optional<KernelEvent> Parse(const std::string& message) { return ParseUevent(message.data(), message.size()); }

TEST(ParseUevent, NamesActionAndDevice) {
  const auto event =
      Parse(Message({"add@/devices/virtual/block/md127", "ACTION=add", "DEVPATH=/devices/virtual/block/md127",
                     "SUBSYSTEM=block", "MAJOR=9", "MINOR=127", "DEVNAME=md127"}));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->source, KernelEvent::Source::kUevent);
  EXPECT_EQ(event->action, "add");
  EXPECT_EQ(event->device, "md127");
}

TEST(ParseUevent, HearsOfControllersToo) {
  const auto event =
      Parse(Message({"change@/devices/virtual/nvme-fabrics/ctl/nvme2", "SUBSYSTEM=nvme", "NVME_EVENT=connected"}));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->device, "nvme2");
}

TEST(ParseUevent, LeavesOutOtherSubsystemsAndOtherSenders) {
  EXPECT_FALSE(Parse(Message({"add@/devices/x/net/eth0", "SUBSYSTEM=net"})).has_value());
  EXPECT_FALSE(Parse(Message({"add@/devices/virtual/block/md127"})).has_value());
  EXPECT_FALSE(Parse(Message({"libudev", "SUBSYSTEM=block"})).has_value());
  EXPECT_FALSE(Parse("").has_value());
}

TEST(ParseUevent, TakesAMessageThatIsCutOff) {
  const auto event = Parse("change@/devices/virtual/block/dm-4" + std::string(1, '\0') + "SUBSYSTEM=block");
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->device, "dm-4");
}

TEST(AddEvent, KeepsOneOfEachKind) {
  std::vector<KernelEvent> batch;
  AddEvent(&batch, {KernelEvent::Source::kMd, "md", "md127"});
  AddEvent(&batch, {KernelEvent::Source::kMd, "md", "md127"});
  AddEvent(&batch, {KernelEvent::Source::kMd, "md", ""});
  AddEvent(&batch, {KernelEvent::Source::kUevent, "change", "md127"});
  EXPECT_EQ(batch.size(), 3u);
}

TEST(FoldArrayState, TakesTheStatesOfARunningArrayForOne) {
  for (const char* running : {"clean\n", "active\n", "active-idle\n", "write-pending\n"}) {
    EXPECT_EQ(FoldArrayState(running), FoldArrayState("active\n")) << running;
  }
  for (const char* other : {"clear\n", "inactive\n", "suspended\n", "readonly\n", "read-auto\n", "broken\n"}) {
    EXPECT_NE(FoldArrayState(other), FoldArrayState("active\n")) << other;
  }
}

TEST(KernelWatcher, StopsAtOnceAndCallsNobodyAfterwards) {
  TempTree tree;
  tree.File("/proc/mdstat", "Personalities :\n");
  tree.File("/sys/block/md127/md/array_state", "clean\n");
  tree.File("/sys/block/md127/md/dev-dm-3/state", "in_sync\n");
  std::atomic<int> after{0};
  std::atomic<bool> stopped{false};
  auto watcher = KernelWatcher::Start(Sysfs(RealSyscalls(), tree.root()), [&](const std::vector<KernelEvent>&) {
    if (stopped) ++after;
  });
  ASSERT_TRUE(watcher.ok()) << watcher.error().syscall;
  const auto start = std::chrono::steady_clock::now();
  watcher.value()->Stop();
  stopped = true;
  watcher.value()->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(after, 0);
}

}  // namespace
}  // namespace meshstor
