#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// statfs(2) in bytes and inodes. `available` is what users without privileges can still write.
struct FilesystemUsage {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t total_inodes = 0;
  uint64_t free_inodes = 0;
};

/// Freezing writes everything back first.
inline constexpr std::chrono::milliseconds kFreezeLimit{30000};
/// XFS goes down at once, ext4 waits for the I/O in flight.
inline constexpr std::chrono::milliseconds kShutdownLimit{30000};

// All of these run in a child with a limit (bounded_child.h) and reject ETIMEDOUT after it. CAP_SYS_ADMIN but for
// usage. All but usage want the path of a mount point (EINVAL otherwise): nothing else may be frozen or shut down by
// mistake.

/// FIFREEZE: all data on the device, writers wait until thaw and cannot be killed. EBUSY when frozen already (by whom
/// is unknown, so that is no success), EOPNOTSUPP for a filesystem that cannot.
Status FreezeFilesystem(Syscalls& sys, const std::string& mount_point, std::chrono::milliseconds limit = kFreezeLimit);

/// FITHAW. Not frozen is success.
Status ThawFilesystem(Syscalls& sys, const std::string& mount_point, std::chrono::milliseconds limit = kFreezeLimit);

/// XFS_IOC_GOINGDOWN, which ext4 has under the same number as EXT4_IOC_SHUTDOWN, without flushing the log: everything
/// that is in flight or comes later fails with EIO, as far as the filesystem keeps that promise (XFS does; see the docs
/// on ext4). Shut down already is success. ENOTTY for a filesystem that cannot.
Status ShutdownFilesystem(Syscalls& sys, const std::string& mount_point,
                          std::chrono::milliseconds limit = kShutdownLimit);

/// Usage of the filesystem that holds `path`. At most one child per path is at work, however often it is called.
/// ENOENT, EIO, ETIMEDOUT.
Result<FilesystemUsage> ReadFilesystemUsage(Syscalls& sys, const std::string& path, std::chrono::milliseconds limit);

}  // namespace meshstor
