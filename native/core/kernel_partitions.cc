#include "native/core/kernel_partitions.h"

#include <errno.h>
#include <linux/blkpg.h>

#include <algorithm>
#include <cctype>

namespace meshstor {
namespace {

/// sysfs counts in 512 bytes whatever the sector size.
constexpr uint64_t kSysfsSector = 512;

std::string SysfsDir(const Disk& disk) { return "/sys/dev/block/" + disk.dev_number(); }

}  // namespace

Result<std::vector<KernelPart>> KernelPartitions::List() const {
  std::vector<KernelPart> parts;
  if (!disk_->is_block()) return parts;
  const std::string dir = SysfsDir(*disk_);
  auto names = sysfs_.List(dir);
  if (!names.ok()) return names.error();
  for (const std::string& name : names.value()) {
    auto number = sysfs_.ReadUint(dir + "/" + name + "/partition");
    if (!number.ok()) continue;
    auto start = sysfs_.ReadUint(dir + "/" + name + "/start");
    if (!start.ok()) return start.error();
    auto size = sysfs_.ReadUint(dir + "/" + name + "/size");
    if (!size.ok()) return size.error();
    parts.push_back({static_cast<uint32_t>(number.value()), start.value() * kSysfsSector, size.value() * kSysfsSector});
  }
  std::sort(parts.begin(), parts.end(), [](const KernelPart& a, const KernelPart& b) { return a.number < b.number; });
  return parts;
}

Result<std::string> KernelPartitions::NodePath(uint32_t number) const {
  if (!disk_->is_block()) return disk_->path() + "p" + std::to_string(number);
  auto link = sysfs_.ReadLink(SysfsDir(*disk_));
  if (!link.ok()) return link.error();
  const std::string name = link.value().substr(link.value().rfind('/') + 1);
  const bool ends_in_digit = !name.empty() && std::isdigit(static_cast<unsigned char>(name.back())) != 0;
  return "/dev/" + name + (ends_in_digit ? "p" : "") + std::to_string(number);
}

Status KernelPartitions::Tell(int operation, const char* name, const KernelPart& part) const {
  if (!disk_->is_block()) return Ok();
  struct blkpg_partition detail = {};
  detail.pno = static_cast<int>(part.number);
  detail.start = static_cast<long long>(part.start_bytes);
  detail.length = static_cast<long long>(part.size_bytes);
  struct blkpg_ioctl_arg argument = {};
  argument.op = operation;
  argument.datalen = sizeof(detail);
  argument.data = &detail;
  auto told = IoctlFd(disk_->sys(), disk_->fd(), BLKPG, &argument, name, disk_->path());
  if (!told.ok()) return told.error();
  return Ok();
}

Status KernelPartitions::Add(const KernelPart& part) const {
  return Tell(BLKPG_ADD_PARTITION, "BLKPG_ADD_PARTITION", part);
}

Status KernelPartitions::Remove(uint32_t number) const {
  auto told = Tell(BLKPG_DEL_PARTITION, "BLKPG_DEL_PARTITION", {number, 0, 0});
  if (!told.ok() && told.error().err == ENXIO) return Ok();
  return told;
}

Status KernelPartitions::Resize(const KernelPart& part) const {
  return Tell(BLKPG_RESIZE_PARTITION, "BLKPG_RESIZE_PARTITION", part);
}

}  // namespace meshstor
