#include "native/core/disk.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "native/test/memory_disk.h"
#include "native/test/scripted_syscalls.h"

namespace meshstor {
namespace {

constexpr char kPath[] = "/dev/memory-disk";

TEST(ReadAndWriteBytes, TakeWholeSectorsInsideTheDeviceOnly) {
  MemoryDisk disk(std::vector<uint8_t>(1 << 20), 4096, true);
  EXPECT_TRUE(WriteBytes(disk, kPath, 8192, std::vector<uint8_t>(4096, 7)).ok());
  EXPECT_EQ(disk.events, (std::vector<std::string>{"write 2", "sync"}));
  EXPECT_EQ(ReadBytes(disk, kPath, 4096, 8192).value()[4096], 7);
  EXPECT_EQ(WriteBytes(disk, kPath, 512, std::vector<uint8_t>(4096)).error().err, EINVAL);
  EXPECT_EQ(WriteBytes(disk, kPath, 0, std::vector<uint8_t>(512)).error().err, EINVAL);
  EXPECT_EQ(ReadBytes(disk, kPath, (1 << 20) - 4096, 8192).error().err, EINVAL);
  EXPECT_EQ(ReadBytes(disk, kPath, UINT64_MAX - 4095, 8192).error().err, EINVAL);
}

TEST(DiskOpen, RefusesWhatIsNoDisk) {
  EXPECT_EQ(ReadBytes(RealSyscalls(), "/dev/null", 0, 512).error().err, ENOTBLK);
  EXPECT_EQ(ReadBytes(RealSyscalls(), "/dev/meshstor-no-such", 0, 512).error().err, ENOENT);
}

TEST(ZeroRange, ZeroesInPiecesAndReportsWhatIsChecked) {
  MemoryDisk disk(std::vector<uint8_t>(150 * kMiB, 0xFF), 512, true);
  std::vector<uint64_t> progress;
  const auto done = ZeroRange(disk, kPath, 2 * kMiB, 140 * kMiB, ZeroVerify::kSample,
                              [&progress](uint64_t bytes) { progress.push_back(bytes); });
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(progress, (std::vector<uint64_t>{64 * kMiB, 128 * kMiB, 140 * kMiB}));
  EXPECT_EQ(disk.content[2 * kMiB - 1], 0xFF);
  EXPECT_EQ(disk.content[142 * kMiB], 0xFF);
  EXPECT_EQ(disk.content[2 * kMiB], 0);
  EXPECT_EQ(disk.content[142 * kMiB - 1], 0);
  EXPECT_EQ(disk.events.back(), "sync");
}

TEST(ZeroRange, FindsADriveThatLiesAndSaysWhere) {
  for (const ZeroVerify verify : {ZeroVerify::kFull, ZeroVerify::kSample}) {
    MemoryDisk disk(std::vector<uint8_t>(8 * kMiB, 0xFF), 512, true);
    disk.zeroing_lies = true;
    const auto done = ZeroRange(disk, kPath, kMiB, 4 * kMiB, verify, nullptr);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().err, EIO);
    EXPECT_NE(done.error().message.find("byte "), std::string::npos);
  }
  MemoryDisk disk(std::vector<uint8_t>(8 * kMiB), 512, true);
  disk.zeroing_lies = true;
  disk.content[3 * kMiB + 77] = 1;
  const auto done = ZeroRange(disk, kPath, kMiB, 4 * kMiB, ZeroVerify::kFull, nullptr);
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("byte " + std::to_string(3 * kMiB + 77)), std::string::npos);
}

TEST(ZeroRange, ChecksBothEndsAlsoWhenSampling) {
  for (const uint64_t at : {1 * kMiB, 2 * kMiB - 1, 99 * kMiB, 100 * kMiB - 1}) {
    MemoryDisk disk(std::vector<uint8_t>(101 * kMiB), 512, true);
    disk.zeroing_lies = true;
    disk.content[at] = 1;
    EXPECT_FALSE(ZeroRange(disk, kPath, kMiB, 99 * kMiB, ZeroVerify::kSample, nullptr).ok()) << at;
  }
}

TEST(ZeroRange, RefusesARangeThatIsNotInTheDevice) {
  MemoryDisk disk(std::vector<uint8_t>(4 * kMiB, 0xFF), 4096, true);
  EXPECT_EQ(ZeroRange(disk, kPath, 512, 4096, ZeroVerify::kFull, nullptr).error().err, EINVAL);
  EXPECT_EQ(ZeroRange(disk, kPath, 0, 5 * kMiB, ZeroVerify::kFull, nullptr).error().err, EINVAL);
  EXPECT_EQ(ZeroRange(disk, kPath, kMiB, UINT64_MAX - 4095, ZeroVerify::kFull, nullptr).error().err, EINVAL);
  EXPECT_EQ(disk.content, std::vector<uint8_t>(4 * kMiB, 0xFF));
}

TEST(ZeroRange, ZeroesAnImageByWriting) {
  MemoryDisk disk(std::vector<uint8_t>(4 * kMiB, 0xFF), 512, false);
  ASSERT_TRUE(ZeroRange(disk, kPath, 512, 3 * kMiB, ZeroVerify::kFull, nullptr).ok());
  EXPECT_EQ(disk.content[511], 0xFF);
  EXPECT_EQ(disk.content[512], 0);
  EXPECT_EQ(disk.content[3 * kMiB + 512], 0xFF);
}

}  // namespace
}  // namespace meshstor
