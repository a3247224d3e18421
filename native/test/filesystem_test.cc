#include "native/core/filesystem.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/statfs.h>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

constexpr std::chrono::milliseconds kLimit(5000);

TEST(FilesystemUsage, IsWhatStatfsSays) {
  TempTree tree;
  auto usage = ReadFilesystemUsage(RealSyscalls(), tree.root(), kLimit);
  ASSERT_TRUE(usage.ok());
  struct statfs info = {};
  ASSERT_EQ(::statfs(tree.root().c_str(), &info), 0);
  EXPECT_EQ(usage.value().total_bytes, info.f_blocks * static_cast<uint64_t>(info.f_frsize));
  EXPECT_EQ(usage.value().total_inodes, info.f_files);
  EXPECT_LE(usage.value().available_bytes + usage.value().used_bytes, usage.value().total_bytes);
}

TEST(FilesystemUsage, NamesTheMissingPath) {
  auto usage = ReadFilesystemUsage(RealSyscalls(), "/no/such/path", kLimit);
  ASSERT_FALSE(usage.ok());
  EXPECT_EQ(usage.error().err, ENOENT);
  EXPECT_EQ(usage.error().syscall, "statfs");
  EXPECT_EQ(usage.error().path, "/no/such/path");
}

TEST(Filesystem, FreezesThawsAndShutsDownMountPointsOnly) {
  TempTree tree;
  for (const auto& call : {FreezeFilesystem, ThawFilesystem, ShutdownFilesystem}) {
    auto refused = call(RealSyscalls(), tree.root(), kLimit);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().err, EINVAL);
    EXPECT_EQ(refused.error().syscall, "statx");
    EXPECT_EQ(call(RealSyscalls(), tree.root() + "/none", kLimit).error().err, ENOENT);
  }
}

}  // namespace
}  // namespace meshstor
