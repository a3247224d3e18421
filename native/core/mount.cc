#include "native/core/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "native/core/bounded_child.h"

namespace meshstor {
namespace {

constexpr char kMountInfo[] = "/proc/self/mountinfo";
/// A node with ten thousand mounts has some 3 MiB.
constexpr size_t kMaxMountInfoBytes = 64 << 20;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

/// `\040` and its kind (space, tab, line end, backslash, `#`) back to the byte.
std::string Unescape(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      out += static_cast<char>(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) | (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// Fields between single spaces; an empty source is an empty field, so runs of spaces must not be folded.
std::vector<std::string> Fields(const std::string& line, char separator) {
  std::vector<std::string> fields;
  size_t at = 0;
  for (;;) {
    const size_t end = line.find(separator, at);
    fields.push_back(line.substr(at, end == std::string::npos ? end : end - at));
    if (end == std::string::npos) return fields;
    at = end + 1;
  }
}

std::vector<std::string> MergeOptions(const std::string& of_mount, const std::string& of_filesystem) {
  std::vector<std::string> options = Fields(of_mount, ',');
  for (const std::string& option : Fields(of_filesystem, ',')) {
    if (option.empty() || option == "rw") continue;
    if (option == "ro") {
      std::replace(options.begin(), options.end(), std::string("rw"), std::string("ro"));
    } else if (std::find(options.begin(), options.end(), option) == options.end()) {
      options.push_back(option);
    }
  }
  for (std::string& option : options) option = Unescape(option);
  return options;
}

struct NamedFlag {
  const char* name;
  unsigned long set;
  unsigned long clear;
};

/// The options that mount(8) turns into flags (mount(8), "filesystem-independent mount options").
constexpr NamedFlag kFlags[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"lazytime", MS_LAZYTIME, 0},
    {"nolazytime", 0, MS_LAZYTIME},
    {"nosymfollow", MS_NOSYMFOLLOW, 0},
    {"silent", MS_SILENT, 0},
    {"loud", 0, MS_SILENT},
    {"mand", MS_MANDLOCK, 0},
    {"nomand", 0, MS_MANDLOCK},
    {"defaults", 0, 0},
};

/// open_tree, mount_setattr, move_mount: the mount is complete before anybody can see it.
ChildReport BindInChild(const char* source, const char* target, bool read_only) {
  const int tree = static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  ChildReport report = ReportOf(tree, "open_tree");
  if (report.err != 0) return report;
  if (read_only) {
    struct mount_attr attributes = {};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    report = ReportOf(::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)),
                      "mount_setattr");
  }
  if (report.err == 0) {
    report = ReportOf(::syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
  }
  ::close(tree);
  return report;
}

}  // namespace

std::vector<MountEntry> ParseMountInfo(const std::string& text) {
  // id parent major:minor root mount-point options [optional fields…] - type source super-options
  std::vector<MountEntry> entries;
  for (const std::string& line : SplitLines(text)) {
    const std::vector<std::string> fields = Fields(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    MountEntry entry;
    entry.dev_number = fields[2];
    entry.root = Unescape(fields[3]);
    entry.mount_point = Unescape(fields[4]);
    entry.fs_type = Unescape(dash[1]);
    entry.source = Unescape(dash[2]);
    entry.options = MergeOptions(fields[5], dash[3]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<MountEntry>> ReadMounts(const Sysfs& sysfs) {
  const std::string path = sysfs.Path(kMountInfo);
  auto fd = OpenFile(sysfs.sys(), path, O_RDONLY);
  if (!fd.ok()) return fd.error();
  auto text = ReadToEnd(sysfs.sys(), fd.value().get(), kMaxMountInfoBytes, path);
  if (!text.ok()) return text.error();
  return ParseMountInfo(text.value());
}

std::vector<std::string> MountPointsOf(const std::vector<MountEntry>& mounts, const std::string& dev_number) {
  std::vector<std::string> points;
  for (const MountEntry& entry : mounts) {
    if (entry.dev_number == dev_number) points.push_back(entry.mount_point);
  }
  return points;
}

MountFlags ParseMountOptions(const std::vector<std::string>& options) {
  MountFlags parsed;
  for (const std::string& option : options) {
    const auto known = std::find_if(std::begin(kFlags), std::end(kFlags),
                                    [&option](const NamedFlag& flag) { return option == flag.name; });
    if (known != std::end(kFlags)) {
      parsed.flags = (parsed.flags & ~known->clear) | known->set;
    } else if (!option.empty()) {
      if (!parsed.data.empty()) parsed.data += ',';
      parsed.data += option;
    }
  }
  return parsed;
}

Status MountFilesystem(Syscalls& sys, const std::string& source, const std::string& target, const std::string& type,
                       const std::vector<std::string>& options, std::chrono::milliseconds limit) {
  const MountFlags parsed = ParseMountOptions(options);
  return DoInChild("mount " + target, limit, target, [&] {
    const char* data = parsed.data.empty() ? nullptr : parsed.data.c_str();
    return ReportOf(sys.Mount(source.c_str(), target.c_str(), type.c_str(), parsed.flags, data), "mount");
  });
}

Status BindMount(const std::string& source, const std::string& target, bool read_only,
                 std::chrono::milliseconds limit) {
  return DoInChild("mount " + target, limit, target,
                   [&] { return BindInChild(source.c_str(), target.c_str(), read_only); });
}

Status Unmount(const Sysfs& sysfs, const std::string& target, std::chrono::milliseconds limit) {
  auto done = DoInChild("umount2 " + target, limit, target,
                        [&] { return ReportOf(sysfs.sys().Umount2(target.c_str(), UMOUNT_NOFOLLOW), "umount2"); });
  if (done.ok() || done.error().err == ENOENT) return Ok();
  if (done.error().err != EINVAL) return done;
  // EINVAL is "not a mount point", and also "a mount that may not be unmounted from here".
  auto mounts = ReadMounts(sysfs);
  if (!mounts.ok()) return mounts.error();
  for (const MountEntry& entry : mounts.value()) {
    if (entry.mount_point == target) return done;
  }
  return Ok();
}

}  // namespace meshstor
