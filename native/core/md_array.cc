#include "native/core/md_array.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <linux/raid/md_u.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "native/core/bounded_child.h"
#include "native/core/md_superblock.h"
#include "native/core/mount.h"

namespace meshstor {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr char kSysBlock[] = "/sys/block";
constexpr char kMemberPrefix[] = "dev-";

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

/// The name of an object below a directory of sysfs, and nothing that leads elsewhere.
bool IsName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

Status RequireNames(const std::vector<std::string>& names, const std::string& path) {
  for (const std::string& name : names) {
    if (!IsName(name)) return Failed(EINVAL, "open", path, "not a name: \"" + name + "\"");
  }
  return Ok();
}

/// `/dev` path of a kernel name: sysfs has `!` where the node's name has a slash.
std::string DevicePath(std::string name) {
  std::replace(name.begin(), name.end(), '!', '/');
  return "/dev/" + name;
}

/// The number at the start of `2 (1)`, as attributes read that name the old value too; absent for words.
std::optional<uint64_t> LeadingNumber(const std::string& text) {
  const size_t end = text.find_first_not_of("0123456789");
  auto number = ParseUint(text.substr(0, end), {});
  if (!number.ok()) return std::nullopt;
  return number.value();
}

std::string LastComponent(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// A member, or nothing when it has gone while being read.
std::optional<MdMember> ReadMember(const Sysfs& sysfs, const std::string& directory) {
  auto state = sysfs.Read(directory + "/state");
  if (!state.ok()) return std::nullopt;
  MdMember member;
  // `block` goes away first when the device under a member does; the directory keeps the name it had when it was added.
  auto block = sysfs.ReadLink(directory + "/block");
  member.name = block.ok() ? LastComponent(block.value()) : LastComponent(directory).substr(sizeof(kMemberPrefix) - 1);
  member.path = DevicePath(member.name);
  member.dev_number = sysfs.ReadOr(directory + "/block/dev", "");
  member.slot = LeadingNumber(sysfs.ReadOr(directory + "/slot", "none"));
  std::string words = state.value();
  std::replace(words.begin(), words.end(), ',', ' ');
  member.state = SplitWords(words);
  member.errors = LeadingNumber(sysfs.ReadOr(directory + "/errors", "0")).value_or(0);
  return member;
}

std::vector<MdMember> ReadMembers(const Sysfs& sysfs, const std::string& md) {
  std::vector<MdMember> members;
  for (const std::string& entry : sysfs.ListOrEmpty(md)) {
    if (!StartsWith(entry, kMemberPrefix)) continue;
    auto member = ReadMember(sysfs, md + "/" + entry);
    if (member.has_value()) members.push_back(*std::move(member));
  }
  return members;
}

/// The array's UUID: md's own word, or (kernels without the attribute) what a member's superblock says.
std::optional<std::string> ReadUuid(const Sysfs& sysfs, const std::string& md, const std::vector<MdMember>& members) {
  auto own = sysfs.Read(md + "/uuid");
  if (own.ok()) {
    std::string uuid = NormalizeMdUuid(own.value());
    if (!uuid.empty()) return uuid;
    return std::nullopt;
  }
  for (const MdMember& member : members) {
    // Reading a member whose path is queueing would hang; one that md reads from answers.
    const bool in_sync = std::find(member.state.begin(), member.state.end(), "in_sync") != member.state.end();
    const bool remote = std::find(member.state.begin(), member.state.end(), "write_mostly") != member.state.end();
    if (!in_sync || remote) continue;
    auto superblock = ReadMdSuperblock(sysfs.sys(), sysfs.Path(member.path));
    if (superblock.ok() && superblock.value().has_value()) return superblock.value()->array_uuid;
  }
  return std::nullopt;
}

/// `sync_completed` is `none`, `delayed` or `DONE / TOTAL`; `sync_speed` is `none` or KiB/s.
void ReadSync(const Sysfs& sysfs, const std::string& md, MdArray* array) {
  array->sync_action = sysfs.ReadOr(md + "/sync_action", "unknown");
  array->sync_max = sysfs.ReadOr(md + "/sync_max", "max");
  array->resync_start = sysfs.ReadOr(md + "/resync_start", "unknown");
  const std::vector<std::string> completed = SplitWords(sysfs.ReadOr(md + "/sync_completed", "none"));
  if (completed.size() == 3 && completed[1] == "/") {
    array->sync_done_sectors = LeadingNumber(completed[0]);
    array->sync_total_sectors = LeadingNumber(completed[2]);
  }
  array->sync_speed = LeadingNumber(sysfs.ReadOr(md + "/sync_speed", "none"));
}

/// Holders and mount points of a device and of its partitions.
void ReadUsers(const Sysfs& sysfs, const std::vector<MountEntry>& mounts, MdArray* array) {
  const std::string device = std::string(kSysBlock) + "/" + array->name;
  std::vector<std::string> directories = {device};
  for (const std::string& entry : sysfs.ListOrEmpty(device)) {
    if (StartsWith(entry, array->name) && sysfs.Exists(device + "/" + entry + "/partition")) {
      directories.push_back(device + "/" + entry);
    }
  }
  for (const std::string& directory : directories) {
    for (std::string& holder : sysfs.ListOrEmpty(directory + "/holders")) array->holders.push_back(std::move(holder));
    const std::string number = sysfs.ReadOr(directory + "/dev", "");
    if (number.empty()) continue;
    for (std::string& point : MountPointsOf(mounts, number)) array->mount_points.push_back(std::move(point));
  }
}

/// An array, or nothing when it has gone: its state is read first and its number last.
std::optional<MdArray> ReadArray(const Sysfs& sysfs, const std::string& name, const std::vector<MountEntry>& mounts) {
  const std::string device = std::string(kSysBlock) + "/" + name;
  const std::string md = device + "/md";
  auto state = sysfs.Read(md + "/array_state");
  if (!state.ok()) return std::nullopt;
  MdArray array;
  array.name = name;
  array.path = DevicePath(name);
  array.array_state = state.value();
  array.level = sysfs.ReadOr(md + "/level", "");
  array.raid_disks = LeadingNumber(sysfs.ReadOr(md + "/raid_disks", "0")).value_or(0);
  array.degraded = LeadingNumber(sysfs.ReadOr(md + "/degraded", "0")).value_or(0);
  array.metadata_version = sysfs.ReadOr(md + "/metadata_version", "none");
  array.size_bytes = LeadingNumber(sysfs.ReadOr(device + "/size", "0")).value_or(0) * kSectorBytes;
  ReadSync(sysfs, md, &array);
  array.members = ReadMembers(sysfs, md);
  array.uuid = ReadUuid(sysfs, md, array.members);
  ReadUsers(sysfs, mounts, &array);
  auto number = sysfs.Read(device + "/dev");
  if (!number.ok() || !sysfs.Exists(md)) return std::nullopt;
  array.dev_number = number.value();
  return array;
}

/// `state` reads `write_mostly` and `in_sync`, and takes `writemostly` and `insync` (state_show, state_store in md.c).
std::string WordToWrite(std::string word) {
  for (const char* read : {"write_mostly", "in_sync"}) {
    if (word == read || word == std::string("-") + read) word.erase(word.find('_'), 1);
  }
  return word;
}

/// One write of an attribute, in a child. Child only: no allocation.
ChildReport WriteAttribute(Syscalls& sys, const char* path, const std::string& text) {
  const int fd = sys.Open(path, O_WRONLY | O_CLOEXEC, 0);
  ChildReport report = ReportOf(fd, "open");
  if (report.err != 0) return report;
  do {
    report = ReportOf(sys.Write(fd, text.data(), text.size()), "write");
  } while (report.err == EINTR);
  sys.Close(fd);
  return report;
}

ChildReport StopInChild(Syscalls& sys, const char* path) {
  const int fd = sys.Open(path, O_RDONLY | O_CLOEXEC, 0);
  ChildReport report = ReportOf(fd, "open");
  if (report.err != 0) return report;
  do {
    report = ReportOf(sys.Ioctl(fd, STOP_ARRAY, nullptr), "ioctl STOP_ARRAY");
  } while (report.err == EINTR);
  sys.Close(fd);
  return report;
}

/// No array behind the name any more: no device, or one that md has emptied and not yet removed.
bool IsStopped(const Sysfs& sysfs, const std::string& md) {
  auto state = sysfs.Read(md + "/array_state");
  return !state.ok() || state.value() == "clear";
}

bool MeansGone(int err) { return err == ENOENT || err == ENODEV || err == ENXIO; }

}  // namespace

std::string NormalizeMdUuid(const std::string& text) {
  std::string digits;
  for (const char c : text) {
    if (c == '-' || c == ':') continue;
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (!((lower >= '0' && lower <= '9') || (lower >= 'a' && lower <= 'f'))) return {};
    digits += lower;
  }
  if (digits.size() != 32 || digits.find_first_not_of('0') == std::string::npos) return {};
  for (const size_t at : {8, 13, 18, 23}) digits.insert(at, 1, '-');
  return digits;
}

Result<std::vector<MdArray>> ReadMdArrays(const Sysfs& sysfs) {
  auto names = sysfs.List(kSysBlock);
  if (!names.ok()) return names.error();
  std::vector<MdArray> arrays;
  std::optional<std::vector<MountEntry>> mounts;
  for (const std::string& name : names.value()) {
    if (!StartsWith(name, "md") || !sysfs.Exists(std::string(kSysBlock) + "/" + name + "/md")) continue;
    if (!mounts.has_value()) {
      auto read = ReadMounts(sysfs);
      if (!read.ok()) return read.error();
      mounts = std::move(read).value();
    }
    auto array = ReadArray(sysfs, name, *mounts);
    if (array.has_value()) arrays.push_back(*std::move(array));
  }
  return arrays;
}

Status SetMdMemberState(const Sysfs& sysfs, const std::string& array, const std::string& member,
                        const std::string& word, std::chrono::milliseconds limit) {
  const std::string path = sysfs.Path("/sys/block/" + array + "/md/" + kMemberPrefix + member + "/state");
  auto named = RequireNames({array, member}, path);
  if (!named.ok()) return named;
  const std::string text = WordToWrite(word);
  return DoInChild("write " + path + " " + text, limit, path,
                   [&] { return WriteAttribute(sysfs.sys(), path.c_str(), text); });
}

Status SetMdAttribute(const Sysfs& sysfs, const std::string& array, const std::string& attribute,
                      const std::string& value, std::chrono::milliseconds limit) {
  const std::string path = sysfs.Path("/sys/block/" + array + "/md/" + attribute);
  auto named = RequireNames({array, attribute}, path);
  if (!named.ok()) return named;
  return DoInChild("write " + path + " " + value, limit, path,
                   [&] { return WriteAttribute(sysfs.sys(), path.c_str(), value); });
}

Status StopMdArray(const Sysfs& sysfs, const std::string& array, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const std::string md = "/sys/block/" + array + "/md";
  const std::string path = sysfs.Path(DevicePath(array));
  auto named = RequireNames({array}, path);
  if (!named.ok()) return named;
  // Opening the node of an array that does not exist could create it.
  if (IsStopped(sysfs, md)) return Ok();
  auto stopped = DoInChild("stop " + path, limit, path, [&] { return StopInChild(sysfs.sys(), path.c_str()); });
  if (!stopped.ok() && !MeansGone(stopped.error().err)) return stopped;
  // md removes the device after the last close, from a work queue.
  while (!IsStopped(sysfs, md)) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return Failed(ETIMEDOUT, "stop", path, "stopped, but still in sysfs");
    }
    ::poll(nullptr, 0, 10);
  }
  return Ok();
}

}  // namespace meshstor
