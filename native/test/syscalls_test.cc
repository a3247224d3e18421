#include "native/core/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <cstring>

#include "native/test/scripted_syscalls.h"

namespace meshstor {
namespace {

TEST(OpenFile, RetriesWhenInterruptedAndClosesTheDescriptor) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/dev/x").Fail(EINTR);
  sys.Expect("open", "/dev/x").Return(5);
  auto fd = OpenFile(sys, "/dev/x", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(fd.value().get(), 5);
}

TEST(OpenFile, ReportsErrnoSyscallAndPath) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/dev/x").Fail(ENXIO);
  auto fd = OpenFile(sys, "/dev/x", O_RDONLY);
  ASSERT_FALSE(fd.ok());
  EXPECT_EQ(fd.error().err, ENXIO);
  EXPECT_EQ(fd.error().syscall, "open");
  EXPECT_EQ(fd.error().path, "/dev/x");
}

TEST(PreadFull, GoesOnAfterShortReadsAndInterruptions) {
  ScriptedSyscalls sys;
  sys.Expect("pread", "100").Return(2).With([](void* data, size_t length) {
    EXPECT_EQ(length, 5u);
    std::memcpy(data, "ab", 2);
  });
  sys.Expect("pread", "102").Fail(EINTR);
  sys.Expect("pread", "102").Return(3).With([](void* data, size_t) { std::memcpy(data, "cde", 3); });
  char buffer[6] = {};
  ASSERT_TRUE(PreadFull(sys, 3, buffer, 5, 100, "f").ok());
  EXPECT_STREQ(buffer, "abcde");
}

TEST(PreadFull, SaysWhereTheFileEnded) {
  ScriptedSyscalls sys;
  sys.Expect("pread", "0").Return(1);
  sys.Expect("pread", "1").Return(0);
  char buffer[4];
  auto status = PreadFull(sys, 3, buffer, 4, 0, "f");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().err, EIO);
  EXPECT_NE(status.error().message.find("byte 1"), std::string::npos);
}

TEST(PwriteFull, GoesOnAfterShortWrites) {
  ScriptedSyscalls sys;
  sys.Expect("pwrite", "512").Return(3);
  sys.Expect("pwrite", "515").Return(1).With([](void* data, size_t length) {
    EXPECT_EQ(length, 1u);
    EXPECT_EQ(*static_cast<char*>(data), 'd');
  });
  EXPECT_TRUE(PwriteFull(sys, 3, "abcd", 4, 512, "f").ok());
}

TEST(PwriteFull, StopsAtTheFirstError) {
  ScriptedSyscalls sys;
  sys.Expect("pwrite", "0").Return(2);
  sys.Expect("pwrite", "2").Fail(ENOSPC);
  auto status = PwriteFull(sys, 3, "abcd", 4, 0, "f");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().err, ENOSPC);
}

TEST(ReadToEnd, RefusesMoreThanTheLimit) {
  ScriptedSyscalls sys;
  sys.Expect("read").Return(4);
  sys.Expect("read").Return(1);
  auto text = ReadToEnd(sys, 3, 4, "f");
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().err, EFBIG);
}

TEST(WriteOnce, TakesAShortWriteForAnError) {
  ScriptedSyscalls sys;
  sys.Expect("write").Return(1);
  auto status = WriteOnce(sys, 3, "idle", "f");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().err, EIO);
}

TEST(IoctlFd, RetriesWhenInterruptedAndNamesTheRequest) {
  ScriptedSyscalls sys;
  sys.Expect("ioctl", "0x1269").Fail(EINTR);
  sys.Expect("ioctl", "0x1269").Fail(EBUSY);
  auto result = IoctlFd(sys, 3, 0x1269, nullptr, "BLKPG", "/dev/x");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().err, EBUSY);
  EXPECT_EQ(result.error().syscall, "ioctl BLKPG");
}

TEST(FsyncAndFlock, RetryWhenInterrupted) {
  ScriptedSyscalls sys;
  sys.Expect("fsync").Fail(EINTR);
  sys.Expect("fsync").Return(0);
  sys.Expect("flock", std::to_string(LOCK_EX)).Fail(EINTR);
  sys.Expect("flock", std::to_string(LOCK_EX)).Return(0);
  EXPECT_TRUE(FsyncFd(sys, 3, "f").ok());
  EXPECT_TRUE(FlockFd(sys, 3, LOCK_EX, "f").ok());
}

TEST(UniqueFd, MovesOwnershipAndClosesOnce) {
  ScriptedSyscalls sys;
  sys.Expect("open", "a").Return(4);
  sys.Expect("open", "b").Return(5);
  auto a = OpenFile(sys, "a", O_RDONLY);
  auto b = OpenFile(sys, "b", O_RDONLY);
  UniqueFd held = std::move(a.value());
  held = std::move(b.value());
  EXPECT_EQ(held.get(), 5);
  EXPECT_FALSE(b.value().valid());
}

}  // namespace
}  // namespace meshstor
