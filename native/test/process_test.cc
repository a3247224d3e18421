#include "native/core/process.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "native/core/sysfs.h"
#include "native/test/scripted_syscalls.h"
#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

TEST(NodeLock, OneHolderForItsLife) {
  TempTree tree;
  const std::string path = tree.root() + "/node.lock";
  ASSERT_TRUE(AcquireNodeLock(RealSyscalls(), path).ok());
  auto second = AcquireNodeLock(RealSyscalls(), path);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().err, EAGAIN);
  EXPECT_EQ(second.error().syscall, "flock");
}

TEST(NodeLock, ReportsAFolderThatIsMissing) {
  EXPECT_EQ(AcquireNodeLock(RealSyscalls(), "/no/such/folder/lock").error().err, ENOENT);
}

TEST(NodeLock, ARefusedLockKeepsNoDescriptor) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/l").Return(9);
  sys.Expect("flock").Fail(EWOULDBLOCK);
  EXPECT_FALSE(AcquireNodeLock(sys, "/l").ok());
}

/// PF_MEMALLOC_NOIO (include/linux/sched.h) in the flags of each thread, field 9 of /proc/self/task/N/stat.
int ThreadsWithoutFlag() {
  const Sysfs proc(RealSyscalls());
  int count = 0;
  for (const std::string& thread : proc.ListOrEmpty("/proc/self/task")) {
    const std::string stat = proc.ReadOr("/proc/self/task/" + thread + "/stat", "");
    const auto fields = SplitWords(stat.substr(stat.rfind(')') + 1));
    if (fields.size() > 6 && (std::stoul(fields[6]) & 0x80000) == 0) ++count;
  }
  return count;
}

TEST(SetIoFlusher, FlagsThreadsThatExistAlready) {
  std::atomic<bool> end{false};
  std::thread other([&end] {
    while (!end) ::poll(nullptr, 0, 5);
  });
  auto set = SetIoFlusher();
  const int without = ThreadsWithoutFlag();
  end = true;
  other.join();
  if (!set.ok()) {
    // Without CAP_SYS_RESOURCE the kernel refuses, and says so; with it the lab's native-storage scenario shows the
    // flags.
    EXPECT_EQ(set.error().syscall, "prctl");
    EXPECT_EQ(set.error().err, EPERM);
    return;
  }
  EXPECT_EQ(without, 0);
}

}  // namespace
}  // namespace meshstor
