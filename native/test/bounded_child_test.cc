#include "native/core/bounded_child.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <thread>

#include "native/core/syscalls.h"

namespace meshstor {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLong(10000);

/// A counter that children share with the test.
class SharedCounter {
 public:
  SharedCounter()
      : memory_(::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        value_(new (memory_) std::atomic<int>(0)) {}
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;
  ~SharedCounter() { ::munmap(memory_, sizeof(std::atomic<int>)); }
  std::atomic<int>& operator*() { return *value_; }

 private:
  void* memory_;
  std::atomic<int>* value_;
};

TEST(BoundedChild, BringsBackNumbers) {
  auto report = RunInChild("test numbers", kLong, "/x", [] {
    ChildReport answer;
    answer.values[0] = 7;
    answer.values[5] = UINT64_MAX;
    return answer;
  });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.value().values[0], 7u);
  EXPECT_EQ(report.value().values[5], UINT64_MAX);
}

TEST(BoundedChild, BringsBackTheFailingCallAndItsErrno) {
  auto report =
      RunInChild("test error", kLong, "/x", [] { return ReportOf(::open("/no/such/file", O_RDONLY), "open"); });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().err, ENOENT);
  EXPECT_EQ(report.error().syscall, "open");
  EXPECT_EQ(report.error().path, "/x");
}

TEST(BoundedChild, GivesUpAtTheLimit) {
  const auto start = std::chrono::steady_clock::now();
  auto report = RunInChild("test slow", milliseconds(50), "/x", [] {
    ::poll(nullptr, 0, 2000);
    return ChildReport();
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().err, ETIMEDOUT);
  EXPECT_EQ(report.error().syscall, "test");
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(1000));
}

TEST(BoundedChild, OneWorksForAKeyHoweverManyAsk) {
  SharedCounter started;
  const auto body = [&started] {
    (*started).fetch_add(1);
    ::poll(nullptr, 0, 300);
    return ChildReport();
  };
  EXPECT_EQ(RunInChild("test once", milliseconds(20), "/x", body).error().err, ETIMEDOUT);
  std::vector<std::thread> askers;
  std::atomic<int> answered{0};
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&] { answered += RunInChild("test once", kLong, "/x", body).ok() ? 1 : 0; });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(answered, 4);
  EXPECT_EQ(*started, 1);
  EXPECT_TRUE(RunInChild("test once", kLong, "/x", body).ok());
  EXPECT_EQ(*started, 2) << "a report is not handed out twice";
}

TEST(BoundedChild, KeysDoNotWaitForEachOther) {
  static_cast<void>(RunInChild("test a", milliseconds(1), "/x", [] {
                      ::poll(nullptr, 0, 1000);
                      return ChildReport();
                    }).ok());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(RunInChild("test b", kLong, "/x", [] { return ChildReport(); }).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(800));
}

TEST(BoundedChild, TheChildHoldsNoDescriptorOfItsParent) {
  auto fd = OpenFile(RealSyscalls(), "/dev/null", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  const int raw = fd.value().get();
  auto report = RunInChild("test descriptors", kLong, "/x", [raw] {
    ChildReport answer;
    for (int i = 1; i < 1024; ++i) answer.values[0] += ::fcntl(i, F_GETFD) >= 0 ? 1 : 0;
    answer.values[1] = ::fcntl(raw, F_GETFD) >= 0 ? 1 : 0;
    return answer;
  });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.value().values[0], 0u);
  EXPECT_EQ(report.value().values[1], 0u);
}

TEST(BoundedChild, AChildThatIsKilledIsNoSuccess) {
  auto report = RunInChild("test killed", kLong, "/x", [] {
    ::kill(::getpid(), SIGKILL);
    return ChildReport();
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().err, ECANCELED);
}

TEST(BoundedChild, LeavesNoZombie) {
  SharedCounter pid;
  ASSERT_TRUE(RunInChild("test reaped", kLong, "/x", [&pid] {
                (*pid).store(::getpid());
                return ChildReport();
              }).ok());
  EXPECT_EQ(::kill(*pid, 0), -1);
}

TEST(BoundedChild, DiesWithTheThreadThatStartedIt) {
  SharedCounter pid;
  std::thread([&pid] {
    static_cast<void>(RunInChild("test orphan", milliseconds(50), "/x", [&pid] {
                        (*pid).store(::getpid());
                        ::poll(nullptr, 0, 20000);
                        return ChildReport();
                      }).ok());
  }).join();
  // Reaped by whoever asks next; the same key finds that it has ended.
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  bool ended = false;
  while (!ended && std::chrono::steady_clock::now() < deadline) {
    ended = RunInChild("test orphan", milliseconds(1), "/x", [] { return ChildReport(); }).ok();
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace meshstor
