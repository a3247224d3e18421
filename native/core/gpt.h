#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/gpt_format.h"
#include "native/core/result.h"
#include "native/core/syscalls.h"

// GUID partition tables on disks: SPEC §5. All functions block; the writers need write access to the disk node and
// CAP_SYS_ADMIN for BLKPG (block/ioctl.c, blkpg_do_ioctl).
//
// Every writer opens the whole disk (never O_EXCL: other partitions are in use), takes flock(LOCK_EX) on it, reads the
// table again under the lock, brings a damaged copy in order first, and then writes in this order, one step durable
// before the next: backup entries, backup header, sync, primary entries, primary header, sync. So at any moment at
// least one copy is whole. The kernel is told by BLKPG about the one partition, never by BLKRRPART. On a regular file
// (an image) there is no kernel to tell. Tables in state `foreign`, `blank` or `damaged`, and those whose copies differ
// in entries that are not ours, are refused with EUCLEAN.
//
// The kernel is never left with more than the table has: adding and growing write the table first, removing and
// shrinking tell the kernel first. A crash in between leaves a difference that the next call with the same arguments
// (or RepairGpt) removes.

namespace meshstor {

struct GptOptions {
  /// Prefix of /sys for tests.
  std::string root;
  /// Logical sector size of a regular file.
  uint32_t image_sector_size = 512;
  /// How long a writer waits for the disk's lock before EAGAIN.
  int lock_limit_ms = 30000;
};

struct NewPartition {
  Guid type = {};
  Guid unique = {};
  std::string name;
  uint64_t start_bytes = 0;
  uint64_t size_bytes = 0;
};

/// Reads and judges both copies. When they are not both whole it looks again under LOCK_SH (at most 2 s), so that a
/// writer at work is not reported as damage.
Result<GptImage> ReadGpt(Syscalls& sys, const std::string& path, const GptOptions& options);

/// Writes an empty table on a blank disk: backup, primary, then the protective MBR, so that a power cut leaves it blank
/// or repairable. EEXIST in any other state, EBUSY when the disk or a partition of it is in use, ENOSPC below 4 MiB.
Status InitializeGpt(Syscalls& sys, const std::string& path, const Guid& disk_guid, const GptOptions& options);

/// Adds entry and kernel partition and returns the partition's device path. The first and the last MiB of the new
/// partition are zeroed under the lock before it appears, so that no udev rule can find an old superblock in it.
///
/// The same partition already there (GUID, type, start, size) is success and nothing is zeroed. EEXIST when the GUID is
/// taken otherwise, ENOSPC when the range is not free or the table is full, EBUSY when the kernel has a partition there
/// that the table has not, EINVAL for a range that is not aligned (start: 1 MiB, size: sectors) or a name that is too
/// long.
Result<std::string> AddGptPartition(Syscalls& sys, const std::string& path, const NewPartition& wanted,
                                    const GptOptions& options);

/// Removes kernel partition and entry. Gone already is success. EBUSY while the kernel's partition is in use: then
/// nothing is written.
Status RemoveGptPartition(Syscalls& sys, const std::string& path, const Guid& unique, const GptOptions& options);

/// Moves the end of a partition; the same size is success. ENOENT without such a partition, ENOSPC when the space
/// behind is not free, EINVAL when the size is zero or not whole sectors.
Status ResizeGptPartition(Syscalls& sys, const std::string& path, const Guid& unique, uint64_t size_bytes,
                          const GptOptions& options);

/// Rewrites the copy that is not good (or, when both are good and differ in our own entries only, the backup), puts a
/// missing protective MBR back, and adds partitions that the kernel lacks. No-op when all is well.
Status RepairGpt(Syscalls& sys, const std::string& path, const GptOptions& options);

}  // namespace meshstor
