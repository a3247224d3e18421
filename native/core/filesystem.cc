#include "native/core/filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "native/core/bounded_child.h"

namespace meshstor {
namespace {

/// XFS_IOC_GOINGDOWN (fs/xfs/libxfs/xfs_fs.h) and EXT4_IOC_SHUTDOWN (include/uapi/linux/ext4.h): one number, one set of
/// flags.
constexpr unsigned long kIocShutdown = _IOR('X', 125, uint32_t);
constexpr uint32_t kNoLogFlush = 2;
constexpr long kXfsMagic = 0x58465342;

/// EINVAL unless something is mounted right there: on a plain directory the ioctls below would freeze or shut down the
/// filesystem that holds it, which may be the root's. Child only.
ChildReport RequireMountPoint(const char* path) {
  struct statx info = {};
  ChildReport report = ReportOf(::statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info), "statx");
  if (report.err == 0 && (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0) report.err = EINVAL;
  return report;
}

/// Opens the mount point and does one ioctl. Child only: no allocation.
ChildReport IoctlMountPoint(Syscalls& sys, const char* path, unsigned long request, void* argument, const char* name) {
  const ChildReport mounted = RequireMountPoint(path);
  if (mounted.err != 0) return mounted;
  const int fd = sys.Open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  ChildReport report = ReportOf(fd, "open");
  if (report.err != 0) return report;
  do {
    report = ReportOf(sys.Ioctl(fd, request, argument), name);
  } while (report.err == EINTR);
  sys.Close(fd);
  return report;
}

ChildReport ShutdownInChild(Syscalls& sys, const char* path) {
  uint32_t flags = kNoLogFlush;
  const ChildReport report = IoctlMountPoint(sys, path, kIocShutdown, &flags, "ioctl GOINGDOWN");
  if (report.err != EIO) return report;
  // XFS opens nothing any more once it is down, but still answers statfs.
  struct statfs info = {};
  if (sys.Statfs(path, &info) == 0 && static_cast<long>(info.f_type) == kXfsMagic) return ChildReport();
  return report;
}

ChildReport UsageInChild(Syscalls& sys, const char* path) {
  struct statfs info = {};
  ChildReport report;
  do {
    report = ReportOf(sys.Statfs(path, &info), "statfs");
  } while (report.err == EINTR);
  report.values[0] = static_cast<uint64_t>(info.f_frsize != 0 ? info.f_frsize : info.f_bsize);
  report.values[1] = info.f_blocks;
  report.values[2] = info.f_bavail;
  report.values[3] = info.f_bfree;
  report.values[4] = info.f_files;
  report.values[5] = info.f_ffree;
  return report;
}

}  // namespace

Status FreezeFilesystem(Syscalls& sys, const std::string& mount_point, std::chrono::milliseconds limit) {
  return DoInChild("freeze " + mount_point, limit, mount_point,
                   [&] { return IoctlMountPoint(sys, mount_point.c_str(), FIFREEZE, nullptr, "ioctl FIFREEZE"); });
}

Status ThawFilesystem(Syscalls& sys, const std::string& mount_point, std::chrono::milliseconds limit) {
  auto thawed = DoInChild("thaw " + mount_point, limit, mount_point,
                          [&] { return IoctlMountPoint(sys, mount_point.c_str(), FITHAW, nullptr, "ioctl FITHAW"); });
  if (!thawed.ok() && thawed.error().err == EINVAL && thawed.error().syscall == "ioctl FITHAW") return Ok();
  return thawed;
}

Status ShutdownFilesystem(Syscalls& sys, const std::string& mount_point, std::chrono::milliseconds limit) {
  return DoInChild("shutdown " + mount_point, limit, mount_point,
                   [&] { return ShutdownInChild(sys, mount_point.c_str()); });
}

Result<FilesystemUsage> ReadFilesystemUsage(Syscalls& sys, const std::string& path, std::chrono::milliseconds limit) {
  auto report = RunInChild("statfs " + path, limit, path, [&] { return UsageInChild(sys, path.c_str()); });
  if (!report.ok()) return report.error();
  const uint64_t(&values)[6] = report.value().values;
  const uint64_t block = values[0];
  FilesystemUsage usage;
  usage.total_bytes = values[1] * block;
  usage.available_bytes = values[2] * block;
  usage.used_bytes = (values[1] - values[3]) * block;
  usage.total_inodes = values[4];
  usage.free_inodes = values[5];
  return usage;
}

}  // namespace meshstor
