#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

// The NVMe-oF host: /dev/nvme-fabrics (drivers/nvme/host/fabrics.c) and /sys/class/nvme.

namespace meshstor {

struct NvmeController {
  /// `nvme1`
  std::string name;
  /// `live`, `connecting`, `resetting`, `deleting`, `deleting (no IO)`, `dead`, `new`.
  std::string state;
  /// `pcie`, `tcp`, `rdma`, `fc`, `loop` or `unknown`.
  std::string transport;
  std::string subsystem_nqn;
  /// Empty for local drives.
  std::string host_nqn;
  /// PCI address for local drives.
  std::string traddr;
  std::string trsvcid;
};

struct NvmeConnectOptions {
  std::string transport;
  std::string traddr;
  std::string trsvcid;
  std::string nqn;
  std::string host_nqn;
  std::string host_id;
  uint32_t keep_alive_tmo_sec = 0;
  uint32_t fast_io_fail_tmo_sec = 0;
  uint32_t ctrl_loss_tmo_sec = 0;
  uint32_t reconnect_delay_sec = 0;
  uint32_t nr_io_queues = 0;
};

/// How long a disconnect waits for controllers to leave sysfs.
struct DisconnectLimits {
  int polls = 200;
  int poll_interval_ms = 50;
};

/// Every controller, local drives included, sorted by name. One that goes away while it is read is left out. An absent
/// class directory (no NVMe at all) is an empty list. Does not block.
Result<std::vector<NvmeController>> ReadNvmeControllers(const Sysfs& sysfs);

/// The option string for /dev/nvme-fabrics. EINVAL when a value is empty or has a comma or a line end (it would become
/// another option), or when the string is a page long or longer.
Result<std::string> FabricsOptions(const NvmeConnectOptions& options);

/// Name of the controller (`nvme1`) out of the kernel's answer `instance=1,cntlid=1`; EBADMSG when it is another
/// answer.
Result<std::string> ParseFabricsReply(const std::string& reply);

/// Connects and returns the controller's name. A live controller with this NQN, host NQN and address is success, and so
/// is EALREADY when the controller is found (it may be reconnecting: see its state). Blocks for seconds while the
/// target is silent. Needs CAP_SYS_ADMIN.
///
/// errno as the kernel gives it:
///   EINVAL         an option is refused, or the transport's module is missing
///   EOPNOTSUPP     an option is refused, or the transport's module is missing
///   ECONNREFUSED   nobody there: try again later
///   EADDRNOTAVAIL  nobody there: try again later
///   ETIMEDOUT      nobody there: try again later
///   EHOSTUNREACH   nobody there: try again later
///   ENETUNREACH    nobody there: try again later
///   ECONNRESET     nobody there: try again later
///   EIO            the target answered and refused (host not allowed, no such NQN)
///   EALREADY       connected, but by a controller that sysfs does not show (going away)
///   ENOKEY         authentication is wanted and no key is there
///   ENOENT         on open: the nvme-fabrics module is not loaded
///   ENODEV         on open: the nvme-fabrics module is not loaded
Result<std::string> NvmeConnect(const Sysfs& sysfs, const NvmeConnectOptions& options);

/// Deletes every fabrics controller of the NQN and waits until sysfs shows none. None is success; ETIMEDOUT names one
/// that stayed. Deleting blocks until the controller's queues are torn down. Never touches local drives.
Status NvmeDisconnect(const Sysfs& sysfs, const std::string& nqn, const DisconnectLimits& limits = {});

}  // namespace meshstor
