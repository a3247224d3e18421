#include "native/core/signatures.h"

#include <algorithm>
#include <cstring>

#include "native/core/disk.h"

namespace meshstor {
namespace {

constexpr size_t kMbrSignatureAt = 510;
constexpr uint32_t kMdMagic = 0xa92b4efc;
constexpr uint64_t kZfsMagic = 0x00bab10c;
constexpr size_t kZfsLabel = size_t{256} * 1024;

/// The device's bytes by offset, as far as they were read.
class View {
 public:
  explicit View(const DeviceEdges& edges) : edges_(edges), tail_start_(edges.size_bytes - edges.tail.size()) {}

  uint64_t size() const { return edges_.size_bytes; }

  /// `length` bytes at `offset`, or nullptr when they were not read or do not exist.
  const uint8_t* At(uint64_t offset, size_t length) const {
    if (length > size() || offset > size() - length) return nullptr;
    if (offset + length <= edges_.head.size()) return edges_.head.data() + offset;
    if (offset >= tail_start_) return edges_.tail.data() + (offset - tail_start_);
    return nullptr;
  }
  bool Has(uint64_t offset, const char* magic, size_t length) const {
    const uint8_t* bytes = At(offset, length);
    return bytes != nullptr && std::memcmp(bytes, magic, length) == 0;
  }
  /// Little-endian number of up to 8 bytes; 0 when not there.
  uint64_t Le(uint64_t offset, size_t width) const {
    const uint8_t* bytes = At(offset, width);
    uint64_t value = 0;
    for (size_t i = 0; bytes != nullptr && i < width; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    return value;
  }

 private:
  const DeviceEdges& edges_;
  uint64_t tail_start_;
};

/// A constant at a constant place.
struct Magic {
  const char* name;
  uint64_t offset;
  const char* bytes;
  size_t length;
};

constexpr Magic kMagics[] = {
    {"xfs", 0, "XFSB", 4},
    {"btrfs", 0x10040, "_BHRfS_M", 8},
    {"LVM2_member", 0, "LABELONE", 8},
    {"LVM2_member", 512, "LABELONE", 8},
    {"LVM2_member", 1024, "LABELONE", 8},
    {"LVM2_member", 1536, "LABELONE", 8},
    {"ceph_bluestore", 0, "bluestore block device", 22},
    {"gpt", 512, "EFI PART", 8},
    {"gpt", 4096, "EFI PART", 8},
    {"crypto_LUKS", 0, "LUKS\xba\xbe", 6},
    {"crypto_LUKS", 0x4000, "SKUL\xba\xbe", 6},
    {"bcache", 0x1018, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 16},
    {"bcachefs", 0x1018, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", 16},
    {"vfat", 54, "FAT12   ", 8},
    {"vfat", 54, "FAT16   ", 8},
    {"vfat", 82, "FAT32   ", 8},
    {"exfat", 3, "EXFAT   ", 8},
    {"ntfs", 3, "NTFS    ", 8},
    {"f2fs", 1024, "\x10\x20\xf5\xf2", 4},
    {"jfs", 0x8000, "JFS1", 4},
    {"reiserfs", 0x10034, "ReIsEr", 6},
    {"reiserfs", 0x2034, "ReIsEr", 6},
    {"hfsplus", 1024, "H+\0\4", 4},
    {"hfsplus", 1024, "HX\0\5", 4},
    {"nilfs2", 1030, "\x34\x34", 2},
    {"iso9660", 0x8001, "CD001", 5},
    {"udf", 0x8001, "BEA01", 5},
    {"squashfs", 0, "hsqs", 4},
    {"erofs", 1024, "\xe2\xe1\xf5\xe0", 4},
    {"stratis", 516, "!Stra0tis\x86\xff\x02^\x41rh", 16},
    {"stratis", 4612, "!Stra0tis\x86\xff\x02^\x41rh", 16},
    {"gfs2", 0x10000, "\x01\x16\x19\x70", 4},
    {"ocfs2", 0x800, "OCFSV2", 6},
};

bool IsSwap(const View& view) {
  for (const uint64_t page : {4096U, 8192U, 16384U, 32768U, 65536U}) {
    if (view.Has(page - 10, "SWAPSPACE2", 10) || view.Has(page - 10, "SWAP-SPACE", 10)) return true;
  }
  return false;
}

/// ext2, ext3 and ext4 share a superblock: a journal makes it 3, extents or another newer feature 4.
const char* ExtName(const View& view) {
  constexpr uint64_t kSuper = 1024;
  if (view.Le(kSuper + 56, 2) != 0xEF53) return nullptr;
  const uint64_t compatible = view.Le(kSuper + 92, 4);
  const uint64_t incompatible = view.Le(kSuper + 96, 4);
  const uint64_t read_only = view.Le(kSuper + 100, 4);
  if ((incompatible & 0x0008) != 0) return "jbd";
  const bool newer = (incompatible & ~uint64_t{0x0016}) != 0 || (read_only & ~uint64_t{0x0007}) != 0;
  if (newer) return "ext4";
  return (compatible & 0x0004) != 0 ? "ext3" : "ext2";
}

/// MD: 0.90 and 1.0 lie near the end (md_p.h, super-intro), 1.1 at 0, 1.2 at 4 KiB. 0.90 is in the writer's byte order.
bool IsMdMember(const View& view) {
  const uint64_t size = view.size();
  constexpr uint64_t k64K = 65536;
  if (view.Le(0, 4) == kMdMagic || view.Le(4096, 4) == kMdMagic) return true;
  if (size >= 2 * k64K) {
    const uint64_t at = (size & ~(k64K - 1)) - k64K;
    if (view.Le(at, 4) == kMdMagic || view.Has(at, "\xa9\x2b\x4e\xfc", 4)) return true;
  }
  if (size < size_t{16} * 512) return false;
  const uint64_t at = (size / 512 - 16) / 8 * 8 * 512;
  return view.Le(at, 4) == kMdMagic;
}

/// ZFS keeps four labels, two at each end; the second half of a label is a ring of uberblocks, each 1 KiB or more
/// apart.
bool IsZfsMember(const View& view) {
  const uint64_t aligned = view.size() / kZfsLabel * kZfsLabel;
  if (aligned < 4 * kZfsLabel) return false;
  for (const uint64_t label : {uint64_t{0}, uint64_t{kZfsLabel}, aligned - 2 * kZfsLabel, aligned - kZfsLabel}) {
    for (uint64_t at = label + kZfsLabel / 2; at < label + kZfsLabel; at += 1024) {
      if (view.Le(at, 8) == kZfsMagic || view.Has(at, "\0\0\0\0\0\xba\xb1\x0c", 8)) return true;
    }
  }
  return false;
}

bool IsGptBackup(const View& view) {
  const uint64_t size = view.size();
  return (size >= 512 && view.Has(size - 512, "EFI PART", 8)) || (size >= 4096 && view.Has(size - 4096, "EFI PART", 8));
}

bool IsDos(const View& view) {
  if (view.Le(kMbrSignatureAt, 2) != 0xAA55) return false;
  for (uint64_t record = 446; record < kMbrSignatureAt; record += 16) {
    const uint64_t status = view.Le(record, 1);
    if (status != 0 && status != 0x80) return false;
  }
  for (uint64_t record = 446; record < kMbrSignatureAt; record += 16) {
    const uint64_t type = view.Le(record + 4, 1);
    if (type != 0 && type != 0xEE) return true;
  }
  return false;
}

/// DRBD keeps its meta data in the last 4 KiB (internal, flexible): md_magic at +60, version 08 or 09.
bool IsDrbd(const View& view) {
  if (view.size() < 8192) return false;
  const uint64_t at = view.size() / 4096 * 4096 - 4096;
  return view.Has(at + 60, "\x83\x74\x02\x6b", 4) || view.Has(at + 60, "\x83\x74\x02\x6c", 4) ||
         view.Has(at + 60, "\x83\x74\x02\x6d", 4);
}

bool IsIntelRaid(const View& view) {
  return view.size() >= 1024 && view.Has(view.size() - 1024, "Intel Raid ISM Cfg Sig. ", 24);
}

bool IsDdfRaid(const View& view) {
  if (view.size() < 512) return false;
  return view.Has(view.size() - 512, "\xDE\x11\xDE\x11", 4) || view.Has(view.size() - 512, "\x11\xDE\x11\xDE", 4);
}

}  // namespace

std::vector<std::string> FindSignatures(const DeviceEdges& edges) {
  const View view(edges);
  std::vector<std::string> found;
  const auto add = [&found](const char* name) {
    if (std::find(found.begin(), found.end(), name) == found.end()) found.emplace_back(name);
  };
  for (const Magic& magic : kMagics) {
    if (view.Has(magic.offset, magic.bytes, magic.length)) add(magic.name);
  }
  if (const char* ext = ExtName(view)) add(ext);
  if (IsSwap(view)) add("swap");
  if (IsMdMember(view)) add("linux_raid_member");
  if (IsZfsMember(view)) add("zfs_member");
  if (IsDrbd(view)) add("drbd");
  if (IsIntelRaid(view)) add("isw_raid_member");
  if (IsDdfRaid(view)) add("ddf_raid_member");
  if (IsGptBackup(view)) add("gpt");
  // A boot sector of a filesystem has the MBR's last two bytes, too: it is `dos` only when nothing else claims it.
  const bool boot_sector = std::any_of(found.begin(), found.end(), [](const std::string& name) {
    return name == "vfat" || name == "exfat" || name == "ntfs";
  });
  if (!boot_sector && IsDos(view)) add("dos");
  if (!found.empty()) return found;
  const auto is_set = [](uint8_t byte) { return byte != 0; };
  const bool any = std::any_of(edges.head.begin(), edges.head.end(), is_set) ||
                   std::any_of(edges.tail.begin(), edges.tail.end(), is_set);
  if (any) add("unknown");
  return found;
}

Result<std::vector<std::string>> ReadSignatures(Syscalls& sys, const std::string& path) {
  auto opened = Disk::Open(sys, path, Disk::Access::kRead);
  if (!opened.ok()) return opened.error();
  const Disk& disk = opened.value();
  const auto length = static_cast<size_t>(std::min<uint64_t>(kMiB, disk.size_bytes()));
  DeviceEdges edges;
  edges.size_bytes = disk.size_bytes();
  auto head = disk.Read(0, length);
  if (!head.ok()) return head.error();
  edges.head = std::move(head).value();
  auto tail = disk.Read(disk.size_bytes() - length, length);
  if (!tail.ok()) return tail.error();
  edges.tail = std::move(tail).value();
  return FindSignatures(edges);
}

}  // namespace meshstor
