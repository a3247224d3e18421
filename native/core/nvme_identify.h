#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// Identify Controller (NVM Express base specification, CNS 01h), the fields we act on.
struct ControllerIdentity {
  std::string serial;
  std::string model;
  std::string firmware;
  bool volatile_write_cache = false;
  bool write_zeroes = false;
  bool deallocate = false;
};

struct LbaFormat {
  uint64_t data_bytes = 0;
  uint64_t metadata_bytes = 0;
  /// 0 best … 3 degraded.
  uint64_t relative_performance = 0;
  bool in_use = false;
};

enum class DeallocatedReads { kNotReported, kZeroes, kOnes };

/// Identify Namespace (CNS 00h), the fields we act on.
struct NamespaceIdentity {
  uint64_t size_blocks = 0;
  uint64_t capacity_blocks = 0;
  DeallocatedReads deallocated_reads = DeallocatedReads::kNotReported;
  bool write_zeroes_deallocates = false;
  std::vector<LbaFormat> lba_formats;
};

/// Admin command through NVME_IOCTL_ADMIN_CMD on a controller (`/dev/nvme0`) or namespace node (`/dev/nvme0n1`). Needs
/// CAP_SYS_ADMIN; blocks for one admin command (up to the driver's 60 s timeout on a dead drive). ENOTTY: no NVMe
/// device. A status of the controller is EIO with the status in the message.
Result<ControllerIdentity> IdentifyController(Syscalls& sys, const std::string& path);

/// As above, on a namespace node; asks the node for its nsid (NVME_IOCTL_ID).
Result<NamespaceIdentity> IdentifyNamespace(Syscalls& sys, const std::string& path);

}  // namespace meshstor
