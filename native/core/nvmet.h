#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

// The kernel's NVMe-oF target, driven through /sys/kernel/config/nvmet (drivers/nvme/target/configfs.c).
// Privileges: root (the files are 0644 root). Within this process one call at a time changes an export; another one for
// the same NQN gets EBUSY at once. What exports share (ports, hosts) is changed one by one, without waiting for I/O, so
// an export whose drive hangs holds up no other.

namespace meshstor {

struct NvmetPort {
  uint32_t id = 0;
  std::string trtype;
  std::string adrfam;
  std::string traddr;
  std::string trsvcid;
  /// NQNs linked to the port, sorted.
  std::vector<std::string> subsystems;
};

struct NvmetNamespace {
  uint32_t nsid = 0;
  /// Empty while none is set.
  std::string device_path;
  bool enabled = false;
  /// Lower case. The kernel gives a new namespace a random one.
  std::string uuid;
};

struct NvmetSubsystem {
  std::string nqn;
  bool allow_any_host = false;
  std::vector<std::string> allowed_hosts;
  std::vector<NvmetNamespace> namespaces;
};

struct NvmetState {
  std::vector<NvmetPort> ports;
  std::vector<NvmetSubsystem> subsystems;
  std::vector<std::string> hosts;
};

struct NvmetPortWanted {
  uint32_t id = 0;
  /// `tcp` or `rdma`.
  std::string trtype;
  std::string traddr;
  std::string trsvcid;
};

struct NvmetExportWanted {
  std::string nqn;
  uint32_t nsid = 0;
  std::string device_path;
  /// Lower case.
  std::string uuid;
  std::string host_nqn;
  std::vector<uint32_t> port_ids;
};

/// Everything that is configured, in the order of names (ports and namespaces by number). What vanishes while it is
/// read is left out. Does not block: namespaces that are being removed are shown as they were, disabled. Without the
/// nvmet module the state is empty; with the module but without a configfs mount the truth cannot be seen: EIO.
Result<NvmetState> ReadNvmetState(const Sysfs& sysfs);

/// Creates the port or gives an idle one the wanted address. Success when it is so already. EEXIST when the port has
/// another address and subsystems. Does not listen yet: the kernel does so when the first subsystem is linked.
Status EnsureNvmetPort(const Sysfs& sysfs, const NvmetPortWanted& wanted);

/// Brings the export to life in an order in which no other host can connect at any moment: subsystem, no host allowed,
/// identity, namespace with device and UUID, enable, the one host, and last the links to the ports (SPEC §7.5). Run
/// again after it was cut off anywhere, it goes on. Blocks while the device is opened.
///
/// EEXIST: the subsystem is there with another device, UUID, namespace or host; the caller removes it first.
/// EADDRINUSE, EADDRNOTAVAIL from linking: the port cannot listen. ENOENT: nvmet is not loaded, or a port of the list
/// does not exist. From enable: what opening the device gave (ENOENT, ENXIO, EBUSY). EBUSY from mkdir: another call of
/// this process is changing the export.
Status EnsureNvmetExport(const Sysfs& sysfs, const NvmetExportWanted& wanted);

/// Takes the export away, mirroring EnsureNvmetExport: unlinks the subsystem from every port (this cuts live
/// connections), removes its hosts, disables and removes its namespaces (each returns when what was in flight has
/// landed: as long as the drive hangs, so never on a thread that others need), removes the subsystem, then hosts of the
/// same naming authority that no subsystem uses. What is gone already is success, at every step. EBUSY from rmdir of
/// the subsystem: another call of this process is changing the export, most likely this very removal.
Status RemoveNvmetExport(const Sysfs& sysfs, const std::string& nqn);

}  // namespace meshstor
