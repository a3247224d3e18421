#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// A line of `/proc/self/mountinfo` (proc(5)), octal escapes undone.
struct MountEntry {
  std::string mount_point;
  std::string root;  ///< path inside the filesystem
  std::string fs_type;
  std::string source;
  std::string dev_number;  ///< `major:minor`
  /// Options of the mount, then those of the filesystem; `ro` when either says so.
  std::vector<std::string> options;
};

/// Parses mountinfo, in its order (an upper mount of a stack comes later). Pure and total: lines that are not mountinfo
/// are left out.
std::vector<MountEntry> ParseMountInfo(const std::string& text);

/// Every mount of this process's mount namespace, however many. Does not touch the mounted filesystems, so it cannot
/// hang.
Result<std::vector<MountEntry>> ReadMounts(const Sysfs& sysfs);

/// Mount points of the filesystem on a device (`major:minor`), in mountinfo's order.
std::vector<std::string> MountPointsOf(const std::vector<MountEntry>& mounts, const std::string& dev_number);

/// Options as mount(2) wants them: generic ones as MS_ flags, the rest for the filesystem, joined with commas.
struct MountFlags {
  unsigned long flags = 0;
  std::string data;
};
MountFlags ParseMountOptions(const std::vector<std::string>& options);

/// Time that the kernel gets for each of the calls below: log recovery and write-back take seconds, a dead device for
/// ever.
inline constexpr std::chrono::milliseconds kMountLimit{90000};
inline constexpr std::chrono::milliseconds kUnmountLimit{30000};

// All of these run in a child with a limit (bounded_child.h) and reject ETIMEDOUT after it. CAP_SYS_ADMIN.

/// mount(2) of a new filesystem. EBUSY when the device is mounted already, EINVAL/EUCLEAN for a bad superblock.
Status MountFilesystem(Syscalls& sys, const std::string& source, const std::string& target, const std::string& type,
                       const std::vector<std::string>& options, std::chrono::milliseconds limit = kMountLimit);

/// Bind mount of a directory or of one file (a device node), without its submounts. Read-only or not, the mount appears
/// with that property in one step (open_tree, mount_setattr, move_mount; Linux 5.12). ENOENT, ENOTDIR as mount(2).
Status BindMount(const std::string& source, const std::string& target, bool read_only,
                 std::chrono::milliseconds limit = kMountLimit);

/// umount2(2) of the uppermost mount at `target`, without flags that would hide a mount that is in use: EBUSY then.
/// Not mounted, or no such path, is success.
Status Unmount(const Sysfs& sysfs, const std::string& target, std::chrono::milliseconds limit = kUnmountLimit);

}  // namespace meshstor
