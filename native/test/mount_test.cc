#include "native/core/mount.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

using Strings = std::vector<std::string>;

TEST(ParseMountInfo, ReadsEveryFieldWithAndWithoutOptionalOnes) {
  const auto entries = ParseMountInfo(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
      "37 35 0:6 /md127 /var/lib/kubelet/dev rw,nosuid shared:2 master:3 propagate_from:4 unbindable - devtmpfs udev "
      "rw,mode=755\n"
      "38 35 259:3 / / rw - xfs /dev/nvme0n1p2 rw\n");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].dev_number, "98:0");
  EXPECT_EQ(entries[0].root, "/mnt1");
  EXPECT_EQ(entries[0].mount_point, "/mnt2");
  EXPECT_EQ(entries[0].fs_type, "ext3");
  EXPECT_EQ(entries[0].source, "/dev/root");
  EXPECT_EQ(entries[0].options, (Strings{"rw", "noatime", "errors=continue"}));
  EXPECT_EQ(entries[1].root, "/md127");
  EXPECT_EQ(entries[1].fs_type, "devtmpfs");
  EXPECT_EQ(entries[2].mount_point, "/");
}

TEST(ParseMountInfo, UndoesOctalEscapes) {
  const auto entries =
      ParseMountInfo("36 35 0:50 /a\\040b /mnt/tab\\011line\\012slash\\134040 rw - fuse.x a\\043b rw,name=\\040\n");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].root, "/a b");
  EXPECT_EQ(entries[0].mount_point, "/mnt/tab\tline\nslash\\040");
  EXPECT_EQ(entries[0].source, "a#b");
  EXPECT_EQ(entries[0].options, (Strings{"rw", "name= "}));
}

TEST(ParseMountInfo, KeepsAnEmptySource) {
  const auto entries = ParseMountInfo("36 35 0:50 / /mnt rw - tmpfs  rw,size=1k\n");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].source, "");
  EXPECT_EQ(entries[0].options, (Strings{"rw", "size=1k"}));
}

TEST(ParseMountInfo, IsReadOnlyWhenMountOrFilesystemIs) {
  const auto entries = ParseMountInfo(
      "1 0 8:1 / /a ro,noatime - xfs /dev/sda1 rw\n"
      "2 0 8:1 / /b rw,noatime - xfs /dev/sda1 ro,noquota\n");
  EXPECT_EQ(entries[0].options, (Strings{"ro", "noatime"}));
  EXPECT_EQ(entries[1].options, (Strings{"ro", "noatime", "noquota"}));
}

TEST(ParseMountInfo, LeavesOutWhatIsNoMount) {
  EXPECT_TRUE(ParseMountInfo("").empty());
  EXPECT_TRUE(ParseMountInfo("\n - \n1 2 3:4 / /x rw - \n1 2 3 - 4 5 6\n").empty());
}

TEST(MountPointsOf, GivesTheWholeStackOfADevice) {
  const auto entries =
      ParseMountInfo("1 0 8:1 / /a rw - xfs x rw\n2 0 8:2 / /b rw - xfs x rw\n3 0 8:1 / /c rw - xfs x rw\n");
  EXPECT_EQ(MountPointsOf(entries, "8:1"), (Strings{"/a", "/c"}));
}

TEST(ParseMountOptions, SplitsFlagsFromTheFilesystemsOwn) {
  const MountFlags parsed = ParseMountOptions(
      {"ro", "noatime", "nodiratime", "nosuid", "nodev", "noexec", "logbufs=8", "", "inode64", "defaults"});
  EXPECT_EQ(parsed.flags,
            static_cast<unsigned long>(MS_RDONLY | MS_NOATIME | MS_NODIRATIME | MS_NOSUID | MS_NODEV | MS_NOEXEC));
  EXPECT_EQ(parsed.data, "logbufs=8,inode64");
}

TEST(ParseMountOptions, TheLastWordWins) {
  EXPECT_EQ(ParseMountOptions({"ro", "rw"}).flags, 0u);
  EXPECT_EQ(ParseMountOptions({"noatime", "relatime"}).flags, static_cast<unsigned long>(MS_RELATIME));
}

TEST(ReadMounts, ReadsMoreThanAnAttributeMayHold) {
  TempTree tree;
  std::string text;
  for (int i = 0; i < 20000; ++i) {
    text += "36 35 98:" + std::to_string(i) + " / /var/lib/kubelet/pods/some-long-name/volumes/" + std::to_string(i) +
            " rw,noatime shared:1 - xfs /dev/md127 rw\n";
  }
  tree.File("/proc/self/mountinfo", text);
  auto mounts = ReadMounts(Sysfs(RealSyscalls(), tree.root()));
  ASSERT_TRUE(mounts.ok());
  EXPECT_EQ(mounts.value().size(), 20000u);
}

TEST(Unmount, WhatIsNotMountedOrNotThereIsUnmounted) {
  TempTree tree;
  const Sysfs sysfs(RealSyscalls());
  const auto not_mounted = Unmount(sysfs, tree.root());
  // Without CAP_SYS_ADMIN the kernel refuses before it looks.
  if (!not_mounted.ok()) EXPECT_EQ(not_mounted.error().err, EPERM);
  if (not_mounted.ok()) EXPECT_TRUE(Unmount(sysfs, tree.root() + "/none").ok());
}

TEST(MountFilesystem, SaysWhatFailedWhere) {
  TempTree tree;
  auto mounted = MountFilesystem(RealSyscalls(), "none", tree.root() + "/none", "tmpfs", {});
  ASSERT_FALSE(mounted.ok());
  EXPECT_EQ(mounted.error().syscall, "mount");
  EXPECT_EQ(mounted.error().path, tree.root() + "/none");
  EXPECT_EQ(BindMount(tree.root() + "/none", tree.root(), false).error().syscall, "open_tree");
}

}  // namespace
}  // namespace meshstor
