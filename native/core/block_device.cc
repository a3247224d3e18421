#include "native/core/block_device.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "native/core/mount.h"

namespace meshstor {
namespace {

/// sysfs counts in 512 bytes whatever the sector size.
constexpr uint64_t kSysfsSector = 512;
constexpr char kBlock[] = "/sys/block/";

struct NvmeName {
  uint64_t instance = 0;
  /// Set for the hidden device of one path, nvmeXcYnZ.
  std::optional<uint64_t> controller;
  uint64_t head = 0;
};

/// Reads the letter and the number behind it at `at`, and moves on.
std::optional<uint64_t> TakeNumber(const std::string& name, size_t& at, const std::string& prefix) {
  if (name.compare(at, prefix.size(), prefix) != 0) return std::nullopt;
  size_t end = at + prefix.size();
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
  auto number = ParseUint(name.substr(at + prefix.size(), end - at - prefix.size()), name);
  if (!number.ok()) return std::nullopt;
  at = end;
  return number.value();
}

std::optional<NvmeName> ParseName(const std::string& name) {
  NvmeName parsed;
  size_t at = 0;
  const auto instance = TakeNumber(name, at, "nvme");
  if (!instance.has_value()) return std::nullopt;
  parsed.instance = *instance;
  parsed.controller = TakeNumber(name, at, "c");
  const auto head = TakeNumber(name, at, "n");
  if (!head.has_value() || at != name.size()) return std::nullopt;
  parsed.head = *head;
  return parsed;
}

std::string LastComponent(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string NormalTransport(const std::string& text) {
  for (const char* known : {"pcie", "tcp", "rdma", "fc", "loop"}) {
    if (text == known) return text;
  }
  return "unknown";
}

std::string OnlyHex(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c)) != 0) {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

bool IsSetId(const std::string& hex) { return hex.size() == 32 && hex.find_first_not_of('0') != std::string::npos; }

/// What is in use right now, by device.
class Users {
 public:
  static Result<Users> Read(const Sysfs& sysfs) {
    auto mounts = ReadMounts(sysfs);
    if (!mounts.ok()) return mounts.error();
    Users users;
    users.mounts_ = std::move(mounts).value();
    for (const std::string& line : SplitLines(sysfs.ReadOr("/proc/swaps", ""))) {
      const auto words = SplitWords(line);
      if (!words.empty() && words[0][0] == '/') users.swaps_.push_back(words[0]);
    }
    return users;
  }

  /// btrfs shows a device number of its own in mountinfo, so the source counts, too.
  std::vector<std::string> MountPoints(const std::string& name, const std::string& dev_number) const {
    std::vector<std::string> points;
    for (const MountEntry& mount : mounts_) {
      const bool is_it = mount.dev_number == dev_number || mount.source == "/dev/" + name;
      const bool known = std::find(points.begin(), points.end(), mount.mount_point) != points.end();
      if (is_it && !known) points.push_back(mount.mount_point);
    }
    if (std::find(swaps_.begin(), swaps_.end(), "/dev/" + name) != swaps_.end()) points.emplace_back("[SWAP]");
    return points;
  }

 private:
  std::vector<MountEntry> mounts_;
  std::vector<std::string> swaps_;
};

NvmePath ReadPath(const Sysfs& sysfs, const std::string& controller_dir, const std::string& controller) {
  NvmePath path;
  path.controller = controller;
  path.state = sysfs.ReadOr(controller_dir + "/state", "unknown");
  path.transport = NormalTransport(sysfs.ReadOr(controller_dir + "/transport", ""));
  path.address = sysfs.ReadOr(controller_dir + "/address", "");
  auto host_nqn = sysfs.Read(controller_dir + "/hostnqn");
  if (host_nqn.ok()) path.host_nqn = std::move(host_nqn).value();
  return path;
}

std::vector<KernelPartition> ReadPartitions(const Sysfs& sysfs, const std::string& dir, const Users& users) {
  std::vector<KernelPartition> partitions;
  for (const std::string& name : sysfs.ListOrEmpty(dir)) {
    const std::string at = dir + "/" + name;
    auto number = sysfs.ReadUint(at + "/partition");
    if (!number.ok()) continue;
    auto start = sysfs.ReadUint(at + "/start");
    auto size = sysfs.ReadUint(at + "/size");
    auto dev_number = sysfs.Read(at + "/dev");
    if (!start.ok() || !size.ok() || !dev_number.ok()) continue;
    KernelPartition part;
    part.name = name;
    part.number = number.value();
    part.dev_number = dev_number.value();
    part.start_bytes = start.value() * kSysfsSector;
    part.size_bytes = size.value() * kSysfsSector;
    part.holders = sysfs.ListOrEmpty(at + "/holders");
    part.mount_points = users.MountPoints(name, part.dev_number);
    partitions.push_back(std::move(part));
  }
  std::sort(partitions.begin(), partitions.end(),
            [](const KernelPartition& a, const KernelPartition& b) { return a.number < b.number; });
  return partitions;
}

/// When there is no UUID the kernel shows the NGUID in its place (uuid_show), so a UUID equal to the NGUID is none.
void ReadIds(const Sysfs& sysfs, const std::string& dir, NvmeNamespace& out) {
  const std::string uuid = sysfs.ReadOr(dir + "/uuid", "");
  const std::string uuid_hex = OnlyHex(uuid);
  const std::string nguid_hex = OnlyHex(sysfs.ReadOr(dir + "/nguid", ""));
  if (IsSetId(nguid_hex)) out.nguid = nguid_hex;
  if (uuid.size() != 36 || !IsSetId(uuid_hex) || uuid_hex == nguid_hex) return;
  std::string lower = uuid;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  out.uuid = lower;
}

bool SaysWriteThrough(const Sysfs& sysfs, const std::string& block_dir) {
  return sysfs.ReadOr(block_dir + "/queue/write_cache", "") == "write through";
}

/// The block directories of a head's paths: nvmeXcYnZ of the same X and Z.
std::vector<std::string> PathNames(const std::vector<std::string>& all, const NvmeName& head) {
  std::vector<std::pair<uint64_t, std::string>> found;
  for (const std::string& name : all) {
    const auto parsed = ParseName(name);
    if (!parsed.has_value() || !parsed->controller.has_value()) continue;
    if (parsed->instance == head.instance && parsed->head == head.head) found.emplace_back(*parsed->controller, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& entry : found) names.push_back(std::move(entry.second));
  return names;
}

void ReadHead(const Sysfs& sysfs, const std::vector<std::string>& all, const NvmeName& name, NvmeNamespace& out) {
  out.write_back = !SaysWriteThrough(sysfs, kBlock + out.name);
  out.transport = "unknown";
  for (const std::string& path_name : PathNames(all, name)) {
    const std::string dir = kBlock + path_name;
    auto link = sysfs.ReadLink(dir + "/device");
    const std::string controller =
        link.ok() ? LastComponent(link.value()) : "nvme" + std::to_string(*ParseName(path_name)->controller);
    out.paths.push_back(ReadPath(sysfs, dir + "/device", controller));
    out.hardware_queues = std::max<uint64_t>(out.hardware_queues, sysfs.ListOrEmpty(dir + "/mq").size());
    out.write_back = out.write_back || !SaysWriteThrough(sysfs, dir);
    const std::string& transport = out.paths.back().transport;
    out.transport = out.paths.size() == 1 || out.transport == transport ? transport : "unknown";
  }
}

void ReadSingle(const Sysfs& sysfs, const std::string& device, NvmeNamespace& out) {
  out.paths.push_back(ReadPath(sysfs, kBlock + out.name + "/device", device));
  out.hardware_queues = sysfs.ListOrEmpty(kBlock + out.name + "/mq").size();
  out.write_back = !SaysWriteThrough(sysfs, kBlock + out.name);
  out.transport = out.paths.back().transport;
}

std::optional<NvmeNamespace> ReadNamespace(const Sysfs& sysfs, const std::vector<std::string>& all,
                                           const std::string& name, const NvmeName& parsed, const Users& users) {
  const std::string dir = kBlock + name;
  auto size = sysfs.ReadUint(dir + "/size");
  auto dev_number = sysfs.Read(dir + "/dev");
  auto device = sysfs.ReadLink(dir + "/device");
  auto logical = sysfs.ReadUint(dir + "/queue/logical_block_size");
  if (!size.ok() || !dev_number.ok() || !device.ok() || !logical.ok()) return std::nullopt;
  NvmeNamespace out;
  out.name = name;
  out.dev_number = dev_number.value();
  out.size_bytes = size.value() * kSysfsSector;
  out.logical_block_size = logical.value();
  auto physical = sysfs.ReadUint(dir + "/queue/physical_block_size");
  out.physical_block_size = physical.ok() ? physical.value() : out.logical_block_size;
  out.model = Trim(sysfs.ReadOr(dir + "/device/model", ""));
  out.serial = Trim(sysfs.ReadOr(dir + "/device/serial", ""));
  out.subsystem_nqn = sysfs.ReadOr(dir + "/device/subsysnqn", "");
  auto nsid = sysfs.ReadUint(dir + "/nsid");
  out.nsid = nsid.ok() ? nsid.value() : parsed.head;
  ReadIds(sysfs, dir, out);
  const std::string device_name = LastComponent(device.value());
  out.is_head = device_name.rfind("nvme-subsys", 0) == 0;
  if (out.is_head) {
    ReadHead(sysfs, all, parsed, out);
  } else {
    ReadSingle(sysfs, device_name, out);
  }
  out.holders = sysfs.ListOrEmpty(dir + "/holders");
  out.mount_points = users.MountPoints(name, out.dev_number);
  out.partitions = ReadPartitions(sysfs, dir, users);
  return out;
}

}  // namespace

Result<std::vector<NvmeNamespace>> ListNvmeNamespaces(const Sysfs& sysfs) {
  auto users = Users::Read(sysfs);
  if (!users.ok()) return users.error();
  auto all = sysfs.List("/sys/block");
  if (!all.ok()) return all.error();
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, NvmeNamespace>> found;
  for (const std::string& name : all.value()) {
    const auto parsed = ParseName(name);
    const bool hidden =
        !parsed.has_value() || parsed->controller.has_value() || sysfs.ReadOr(kBlock + name + "/hidden", "0") == "1";
    if (hidden) continue;
    auto one = ReadNamespace(sysfs, all.value(), name, *parsed, users.value());
    if (one.has_value()) found.emplace_back(std::make_pair(parsed->instance, parsed->head), *std::move(one));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<NvmeNamespace> out;
  for (auto& entry : found) out.push_back(std::move(entry.second));
  return out;
}

}  // namespace meshstor
