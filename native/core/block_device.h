#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// A partition as the kernel has it.
struct KernelPartition {
  std::string name;
  uint64_t number = 0;
  std::string dev_number;
  uint64_t start_bytes = 0;
  uint64_t size_bytes = 0;
  std::vector<std::string> holders;
  std::vector<std::string> mount_points;
};

/// A controller through which a namespace is reached.
struct NvmePath {
  std::string controller;
  std::string state;
  std::string transport;
  std::string address;
  std::optional<std::string> host_nqn;
};

struct NvmeNamespace {
  std::string name;
  std::string dev_number;
  std::string model;
  std::string serial;
  uint64_t nsid = 0;
  std::optional<std::string> uuid;
  std::optional<std::string> nguid;
  uint64_t size_bytes = 0;
  uint64_t logical_block_size = 0;
  uint64_t physical_block_size = 0;
  uint64_t hardware_queues = 0;
  bool write_back = true;
  std::string transport;
  std::string subsystem_nqn;
  /// Native multipath: one head over hidden paths. False: the device is its own path.
  bool is_head = false;
  std::vector<NvmePath> paths;
  std::vector<std::string> holders;
  std::vector<std::string> mount_points;
  std::vector<KernelPartition> partitions;
};

/// Every NVMe namespace that has a block device, sorted by controller and namespace number. Reads sysfs, mountinfo and
/// /proc/swaps only (drivers/nvme/host/sysfs.c, multipath.c): no device is opened, so nothing here can hang on a dead
/// one.
///
/// `transport` is one of pcie, tcp, rdma, fc, loop and, when a head has no path or its paths differ, unknown.
/// `hardware_queues` counts `mq/`; a head has none of its own and takes the most that one of its paths has.
/// `write_back` is true when the device or a path of it says so, or says nothing. `mount_points` has `[SWAP]` for an
/// active swap device: neither a mount nor a holder shows it. A device that disappears meanwhile is left out.
Result<std::vector<NvmeNamespace>> ListNvmeNamespaces(const Sysfs& sysfs);

}  // namespace meshstor
