#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/disk.h"
#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// A partition as the kernel has it.
struct KernelPart {
  uint32_t number = 0;
  uint64_t start_bytes = 0;
  uint64_t size_bytes = 0;
};

/// The kernel's partitions of one open disk: read from sysfs, changed by BLKPG (linux/blkpg.h). Does nothing and finds
/// nothing on an image file. Changing needs CAP_SYS_ADMIN.
class KernelPartitions {
 public:
  KernelPartitions(const Disk& disk, std::string root) : disk_(&disk), sysfs_(disk.sys(), std::move(root)) {}

  /// Partitions by number.
  Result<std::vector<KernelPart>> List() const;
  /// Path of a partition's node, `/dev/nvme0n1p3`; for an image file its path, `p` and the number.
  Result<std::string> NodePath(uint32_t number) const;
  /// EBUSY when it overlaps another one or the number is taken.
  Status Add(const KernelPart& part) const;
  /// EBUSY while it is open or held; not there is success.
  Status Remove(uint32_t number) const;
  /// EBUSY when it would overlap another one; the start must be what the kernel has.
  Status Resize(const KernelPart& part) const;

 private:
  Status Tell(int operation, const char* name, const KernelPart& part) const;

  const Disk* disk_;
  Sysfs sysfs_;
};

}  // namespace meshstor
