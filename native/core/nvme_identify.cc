#include "native/core/nvme_identify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>

#include "native/core/disk.h"
#include "native/core/sysfs.h"

namespace meshstor {
namespace {

constexpr size_t kIdentifyBytes = 4096;
constexpr uint8_t kOpcodeIdentify = 0x06;
constexpr uint32_t kCnsNamespace = 0x00;
constexpr uint32_t kCnsController = 0x01;

uint64_t Le(const AlignedBuffer& page, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value |= static_cast<uint64_t>(page.data()[at + i]) << (8 * i);
  return value;
}

/// ASCII field, padded with spaces.
std::string Text(const AlignedBuffer& page, size_t at, size_t length) {
  return Trim(std::string(reinterpret_cast<const char*>(page.data()) + at, length));
}

Status Identify(Syscalls& sys, const UniqueFd& fd, const std::string& path, uint32_t nsid, uint32_t cns,
                AlignedBuffer& page) {
  struct nvme_passthru_cmd command = {};
  command.opcode = kOpcodeIdentify;
  command.nsid = nsid;
  command.addr = reinterpret_cast<uintptr_t>(page.data());
  command.data_len = static_cast<uint32_t>(page.size());
  command.cdw10 = cns;
  auto status = IoctlFd(sys, fd.get(), NVME_IOCTL_ADMIN_CMD, &command, "NVME_IOCTL_ADMIN_CMD", path);
  if (!status.ok()) return status.error();
  if (status.value() == 0) return Ok();
  return Failed(EIO, "ioctl NVME_IOCTL_ADMIN_CMD", path,
                "Identify failed with NVMe status " + std::to_string(status.value()));
}

}  // namespace

Result<ControllerIdentity> IdentifyController(Syscalls& sys, const std::string& path) {
  auto fd = OpenFile(sys, path, O_RDONLY);
  if (!fd.ok()) return fd.error();
  AlignedBuffer page(kIdentifyBytes);
  auto done = Identify(sys, fd.value(), path, 0, kCnsController, page);
  if (!done.ok()) return done.error();
  ControllerIdentity out;
  out.serial = Text(page, 4, 20);
  out.model = Text(page, 24, 40);
  out.firmware = Text(page, 64, 8);
  const uint64_t oncs = Le(page, 520, 2);
  out.deallocate = (oncs & (1U << 2)) != 0;
  out.write_zeroes = (oncs & (1U << 3)) != 0;
  out.volatile_write_cache = (Le(page, 525, 1) & 1) != 0;
  return out;
}

Result<NamespaceIdentity> IdentifyNamespace(Syscalls& sys, const std::string& path) {
  auto fd = OpenFile(sys, path, O_RDONLY);
  if (!fd.ok()) return fd.error();
  auto nsid = IoctlFd(sys, fd.value().get(), NVME_IOCTL_ID, nullptr, "NVME_IOCTL_ID", path);
  if (!nsid.ok()) return nsid.error();
  AlignedBuffer page(kIdentifyBytes);
  auto done = Identify(sys, fd.value(), path, static_cast<uint32_t>(nsid.value()), kCnsNamespace, page);
  if (!done.ok()) return done.error();
  NamespaceIdentity out;
  out.size_blocks = Le(page, 0, 8);
  out.capacity_blocks = Le(page, 8, 8);
  const uint64_t dlfeat = Le(page, 33, 1);
  constexpr std::array<DeallocatedReads, 3> kReads = {DeallocatedReads::kNotReported, DeallocatedReads::kZeroes,
                                                      DeallocatedReads::kOnes};
  out.deallocated_reads = (dlfeat & 7) < kReads.size() ? kReads[dlfeat & 7] : DeallocatedReads::kNotReported;
  out.write_zeroes_deallocates = (dlfeat & 8) != 0;
  const uint64_t flbas = Le(page, 26, 1);
  const uint64_t formats = std::min<uint64_t>(Le(page, 25, 1) + 1, 64);
  // Bits 6:5 extend the index where there are more than 16 formats.
  const uint64_t current = (flbas & 0xF) | (formats > 16 ? (flbas & 0x60) >> 1 : 0);
  for (uint64_t i = 0; i < formats; ++i) {
    const size_t at = 128 + 4 * i;
    const uint64_t shift = Le(page, at + 2, 1);
    if (shift < 9 || shift > 31) continue;
    out.lba_formats.push_back({uint64_t{1} << shift, Le(page, at, 2), Le(page, at + 3, 1) & 3, i == current});
  }
  return out;
}

}  // namespace meshstor
