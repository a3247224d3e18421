#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "native/core/dm_buffers.h"
#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// A device as the control node describes it.
struct DmDevice {
  std::string name;
  std::string uuid;
  std::string kernel_name;  ///< `dm-N`
  std::string path;         ///< `/dev/dm-N`
  std::string dev_number;
  uint64_t open_count = 0;
  bool suspended = false;
  /// The live table, empty before the first resume. Says what the status does not (`queue_if_no_path`).
  std::vector<DmTarget> table;
  std::vector<DmTarget> status;
};

/// The device mapper through `/dev/mapper/control` (linux/dm-ioctl.h, interface 4.0 and later; drivers/md/dm-ioctl.c).
///
/// Every uevent we cause carries flags that keep udev's rules off the device, as libdevmapper's cookie does, so that no
/// probe opens a guard whose path is down. `/dev/mapper/<name>` is kept here, for machines without udev; with udev both
/// make the same link. CAP_SYS_ADMIN. ENODEV, ENOENT or ENXIO on the control node: the module is not loaded.
class DeviceMapper {
 public:
  explicit DeviceMapper(Sysfs sysfs) : sysfs_(std::move(sysfs)) {}

  /// Devices whose name starts with `prefix`, in the kernel's order. One that goes away meanwhile is left out.
  /// Does not wait for I/O.
  Result<std::vector<DmDevice>> List(const std::string& prefix) const;

  /// A device with this table, resumed, and its node. A device of this name and uuid that never got a table (somebody
  /// was killed while creating it) is finished; any other is EEXIST. When a step fails the device is removed again.
  /// EINVAL when the target refuses the table, EBUSY when another holds the device below.
  Result<DmDevice> Create(const std::string& name, const std::string& uuid, const std::vector<DmTarget>& table) const;

  /// Replaces the live table without flushing: what is queued waits and goes through the new table. When the new table
  /// is refused the old one stays and runs on. ENXIO without such a device.
  Status Reload(const std::string& name, const std::vector<DmTarget>& table) const;

  /// Stops I/O without flushing and without freezing a filesystem on top (that would wait for I/O that cannot end).
  /// Waits for what the path below has accepted. Suspended already is success.
  Status Suspend(const std::string& name) const;
  /// Lets I/O run again, with the inactive table if there is one. Running already is success.
  Status Resume(const std::string& name) const;

  /// Message to the target at sector 0. EINVAL when the target does not know it.
  Status Message(const std::string& name, const std::string& message) const;

  /// Removes device and node. Gone already is success, EBUSY while it is open.
  Status Remove(const std::string& name) const;

 private:
  Sysfs sysfs_;
};

}  // namespace meshstor
