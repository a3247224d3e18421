#include "native/core/device_mapper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

namespace meshstor {
namespace {

constexpr char kControl[] = "/dev/mapper/control";
constexpr char kMapperDir[] = "/dev/mapper/";
constexpr size_t kFirstReplyBytes = 16 << 10;
constexpr size_t kMaxReplyBytes = 64 << 20;

// Flags for udev in the upper half of the cookie (libdevmapper.h). The lower half names a semaphore that somebody waits
// on; 0 is none. DISABLE_DM_RULES is left out: that rule makes the link under /dev/mapper, which we want too.
constexpr uint32_t kUdevDisableSubsystemRules = 0x0002;
constexpr uint32_t kUdevDisableDiskRules = 0x0004;
constexpr uint32_t kUdevDisableOtherRules = 0x0008;
/// Our events are the ones whose flags udev keeps and gives back to events that come from nowhere (a trigger).
constexpr uint32_t kUdevPrimarySource = 0x0040;
constexpr uint32_t kUdevCookie =
    (kUdevDisableSubsystemRules | kUdevDisableDiskRules | kUdevDisableOtherRules | kUdevPrimarySource) << 16;

using Buffer = std::vector<uint8_t>;

dm_ioctl* Header(Buffer& buffer) { return reinterpret_cast<dm_ioctl*>(buffer.data()); }

std::string DeviceNumber(uint64_t dev) {
  // The kernel's huge_encode_dev: the same bits as glibc's for every device that exists.
  return std::to_string(gnu_dev_major(dev)) + ":" + std::to_string(gnu_dev_minor(dev));
}

/// An open control node.
class Control {
 public:
  static Result<Control> Open(const Sysfs& sysfs) {
    const std::string path = sysfs.Path(kControl);
    auto fd = OpenFile(sysfs.sys(), path, O_RDWR);
    if (!fd.ok()) return fd.error();
    Control control(sysfs.sys(), std::move(fd).value(), path);
    Buffer buffer = MakeDmBuffer({}, {}, 0).value();
    // Refuses with EINVAL when the major versions differ: then no structure below means the same to both of us.
    auto version = control.Call(DM_VERSION, "DM_VERSION", buffer);
    if (!version.ok()) return version.error();
    return control;
  }

  Status Call(unsigned long request, const char* name, Buffer& buffer) const {
    auto done = IoctlFd(*sys_, fd_.get(), request, buffer.data(), name, path_);
    if (!done.ok()) return done.error();
    return Ok();
  }

  /// A call whose reply may not fit: asked again with a bigger buffer until it does.
  Result<Buffer> Ask(unsigned long request, const char* name, const std::string& device, uint32_t flags) const {
    for (size_t room = kFirstReplyBytes; room <= kMaxReplyBytes; room *= 4) {
      auto made = MakeDmBuffer(device, {}, room);
      if (!made.ok()) return made.error();
      Buffer& buffer = made.value();
      Header(buffer)->flags = flags;
      auto called = Call(request, name, buffer);
      if (!called.ok()) return called.error();
      if ((Header(buffer)->flags & DM_BUFFER_FULL_FLAG) == 0) return made;
    }
    return Failed(EFBIG, std::string("ioctl ") + name, path_);
  }

  /// A call about one device that takes and gives only the header, which is returned.
  Result<dm_ioctl> Simple(unsigned long request, const char* name, const std::string& device, const std::string& uuid,
                          uint32_t flags, uint32_t cookie) const {
    auto made = MakeDmBuffer(device, uuid, 0);
    if (!made.ok()) return made.error();
    Header(made.value())->flags = flags;
    Header(made.value())->event_nr = cookie;
    auto called = Call(request, name, made.value());
    if (!called.ok()) return called.error();
    return *Header(made.value());
  }

  Status Suspend(const std::string& device) const {
    constexpr uint32_t kFlags = DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG;
    auto done = Simple(DM_DEV_SUSPEND, "DM_DEV_SUSPEND", device, {}, kFlags, 0);
    if (!done.ok()) return done.error();
    return Ok();
  }

  Status Resume(const std::string& device) const {
    auto done =
        Simple(DM_DEV_SUSPEND, "DM_DEV_SUSPEND", device, {}, DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG, kUdevCookie);
    if (!done.ok()) return done.error();
    return Ok();
  }

  Status LoadTable(const std::string& device, const std::vector<DmTarget>& table) const {
    auto buffer = MakeDmTableBuffer(device, table);
    if (!buffer.ok()) return buffer.error();
    return Call(DM_TABLE_LOAD, "DM_TABLE_LOAD", buffer.value());
  }

  Status Remove(const std::string& device) const {
    auto done = Simple(DM_DEV_REMOVE, "DM_DEV_REMOVE", device, {}, 0, kUdevCookie);
    if (!done.ok()) return done.error();
    return Ok();
  }

 private:
  Control(Syscalls& sys, UniqueFd fd, std::string path) : sys_(&sys), fd_(std::move(fd)), path_(std::move(path)) {}

  Syscalls* sys_;
  UniqueFd fd_;
  std::string path_;
};

DmDevice DescribeHeader(const dm_ioctl& header) {
  DmDevice device;
  device.name = FixedText(header.name);
  device.uuid = FixedText(header.uuid);
  device.kernel_name = "dm-" + std::to_string(gnu_dev_minor(header.dev));
  device.path = "/dev/" + device.kernel_name;
  device.dev_number = DeviceNumber(header.dev);
  device.open_count = static_cast<uint64_t>(std::max(header.open_count, 0));
  device.suspended = (header.flags & DM_SUSPEND_FLAG) != 0;
  return device;
}

/// A device with live table and status, from two replies. The header of the second is the newer one.
Result<DmDevice> Describe(const Control& control, const std::string& name) {
  auto table = control.Ask(DM_TABLE_STATUS, "DM_TABLE_STATUS", name, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG);
  if (!table.ok()) return table.error();
  auto status = control.Ask(DM_TABLE_STATUS, "DM_TABLE_STATUS", name, DM_NOFLUSH_FLAG);
  if (!status.ok()) return status.error();
  DmDevice device = DescribeHeader(*Header(status.value()));
  auto lines = ParseDmTargets(table.value());
  if (!lines.ok()) return lines.error();
  device.table = std::move(lines).value();
  auto states = ParseDmTargets(status.value());
  if (!states.ok()) return states.error();
  device.status = std::move(states).value();
  return device;
}

/// Makes `/dev/mapper/<name>` lead to the device: a link as udev makes it, or a node where there is no devtmpfs.
Status MakeNode(const Sysfs& sysfs, const DmDevice& device) {
  Syscalls& sys = sysfs.sys();
  const std::string path = sysfs.Path(kMapperDir + device.name);
  struct stat below = {};
  const bool has_node = sys.Stat(sysfs.Path(device.path).c_str(), &below) == 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    struct stat there = {};
    const size_t colon = device.dev_number.find(':');
    const dev_t number = gnu_dev_makedev(std::stoul(device.dev_number.substr(0, colon)),
                                         std::stoul(device.dev_number.substr(colon + 1)));
    if (sys.Stat(path.c_str(), &there) == 0 && S_ISBLK(there.st_mode) && there.st_rdev == number) return Ok();
    // What an earlier device of this name left behind leads nowhere, or to another device.
    sys.Unlink(path.c_str());
    const int made = has_node ? sys.Symlink(("../" + device.kernel_name).c_str(), path.c_str())
                              : sys.Mknod(path.c_str(), S_IFBLK | 0600, number);
    const int err = errno;
    if (made == 0) return Ok();
    // udev was faster: look again.
    if (err != EEXIST) return Failed(err, has_node ? "symlink" : "mknod", path);
  }
  return Failed(EEXIST, "symlink", path);
}

void RemoveNode(const Sysfs& sysfs, const std::string& name) {
  sysfs.sys().Unlink(sysfs.Path(kMapperDir + name).c_str());
}

/// True for a device that was created and never got a live table.
bool IsUnfinished(const dm_ioctl& header) { return (header.flags & DM_ACTIVE_PRESENT_FLAG) == 0; }

/// Creates the device, or finds the unfinished one of that name and uuid.
Result<dm_ioctl> CreateOrAdopt(const Control& control, const std::string& name, const std::string& uuid) {
  auto created = control.Simple(DM_DEV_CREATE, "DM_DEV_CREATE", name, uuid, 0, 0);
  // The kernel says EBUSY when name or uuid is taken.
  if (created.ok() || (created.error().err != EBUSY && created.error().err != EEXIST)) return created;
  auto there = control.Simple(DM_DEV_STATUS, "DM_DEV_STATUS", name, {}, 0, 0);
  if (there.ok() && IsUnfinished(there.value()) && FixedText(there.value().uuid) == uuid) return there;
  return Failed(EEXIST, "ioctl DM_DEV_CREATE", kMapperDir + name,
                there.ok() ? "a device of this name exists" : "a device of this uuid exists under another name");
}

bool MeansGone(int err) { return err == ENXIO || err == ENODEV; }

SysError About(const SysError& error, const std::string& name) {
  SysError with_path = error;
  with_path.path = kMapperDir + name;
  return with_path;
}

}  // namespace

Result<std::vector<DmDevice>> DeviceMapper::List(const std::string& prefix) const {
  auto control = Control::Open(sysfs_);
  if (!control.ok()) return control.error();
  auto listed = control.value().Ask(DM_LIST_DEVICES, "DM_LIST_DEVICES", {}, 0);
  if (!listed.ok()) return listed.error();
  auto names = ParseDmNames(listed.value());
  if (!names.ok()) return names.error();
  std::vector<DmDevice> devices;
  for (const std::string& name : names.value()) {
    if (name.compare(0, prefix.size(), prefix) != 0) continue;
    auto device = Describe(control.value(), name);
    if (device.ok()) {
      devices.push_back(std::move(device).value());
    } else if (!MeansGone(device.error().err)) {
      return About(device.error(), name);
    }
  }
  return devices;
}

Result<DmDevice> DeviceMapper::Create(const std::string& name, const std::string& uuid,
                                      const std::vector<DmTarget>& table) const {
  auto opened = Control::Open(sysfs_);
  if (!opened.ok()) return opened.error();
  const Control& control = opened.value();
  auto created = CreateOrAdopt(control, name, uuid);
  if (!created.ok()) return About(created.error(), name);
  const auto undo = [&](const SysError& error) {
    static_cast<void>(control.Remove(name));  // the first error is the one to report
    RemoveNode(sysfs_, name);
    return About(error, name);
  };
  auto loaded = control.LoadTable(name, table);
  if (!loaded.ok()) return undo(loaded.error());
  auto resumed = control.Resume(name);
  if (!resumed.ok()) return undo(resumed.error());
  auto device = Describe(control, name);
  if (!device.ok()) return undo(device.error());
  auto node = MakeNode(sysfs_, device.value());
  if (!node.ok()) return undo(node.error());
  return device;
}

Status DeviceMapper::Reload(const std::string& name, const std::vector<DmTarget>& table) const {
  auto opened = Control::Open(sysfs_);
  if (!opened.ok()) return opened.error();
  const Control& control = opened.value();
  auto loaded = control.LoadTable(name, table);
  if (!loaded.ok()) return About(loaded.error(), name);
  auto suspended = control.Suspend(name);
  if (!suspended.ok()) {
    // The new table must not come alive with the next resume that somebody asks for.
    static_cast<void>(control.Simple(DM_TABLE_CLEAR, "DM_TABLE_CLEAR", name, {}, 0, 0));
    return About(suspended.error(), name);
  }
  auto resumed = control.Resume(name);
  if (!resumed.ok()) {
    // The swap was refused and the new table is gone: go on with the old one rather than stand still.
    static_cast<void>(control.Resume(name));
    return About(resumed.error(), name);
  }
  return Ok();
}

Status DeviceMapper::Suspend(const std::string& name) const {
  auto control = Control::Open(sysfs_);
  if (!control.ok()) return control.error();
  auto done = control.value().Suspend(name);
  if (!done.ok()) return About(done.error(), name);
  return Ok();
}

Status DeviceMapper::Resume(const std::string& name) const {
  auto control = Control::Open(sysfs_);
  if (!control.ok()) return control.error();
  auto done = control.value().Resume(name);
  if (!done.ok()) return About(done.error(), name);
  return Ok();
}

Status DeviceMapper::Message(const std::string& name, const std::string& message) const {
  auto control = Control::Open(sysfs_);
  if (!control.ok()) return control.error();
  // struct dm_target_msg is the sector (0: the first target) and the text behind it.
  constexpr size_t kTextOffset = offsetof(dm_target_msg, message);
  auto made = MakeDmBuffer(name, {}, kTextOffset + message.size() + 1);
  if (!made.ok()) return made.error();
  std::memcpy(made.value().data() + sizeof(dm_ioctl) + kTextOffset, message.c_str(), message.size());
  auto done = control.value().Call(DM_TARGET_MSG, "DM_TARGET_MSG", made.value());
  if (!done.ok()) return About(done.error(), name);
  return Ok();
}

Status DeviceMapper::Remove(const std::string& name) const {
  auto control = Control::Open(sysfs_);
  if (!control.ok()) return control.error();
  auto removed = control.value().Remove(name);
  if (!removed.ok() && !MeansGone(removed.error().err)) return About(removed.error(), name);
  RemoveNode(sysfs_, name);
  return Ok();
}

}  // namespace meshstor
