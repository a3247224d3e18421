#include "native/core/md_superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/raid/md_p.h>
#include <sys/stat.h>

#include <cstring>
#include <memory>
#include <utility>

namespace meshstor {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr size_t kHeaderBytes = 256;
constexpr uint64_t kNotResyncing = ~uint64_t{0};
constexpr uint64_t kSecondsMask = (uint64_t{1} << 40) - 1;
constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;
constexpr uint16_t kRoleSpare = 0xffff;
constexpr uint16_t kRoleFaulty = 0xfffe;
constexpr uint16_t kRoleJournal = 0xfffd;
/// Above every slot number that the kernel hands out (MD_DISK_ROLE_MAX).
constexpr uint16_t kRoleMax = 0xff00;

static_assert(sizeof(mdp_superblock_1) == kHeaderBytes, "the header is 256 bytes by its format");

/// Little-endian loads, so that parsing does not depend on the machine or on alignment.
uint64_t Load(const uint8_t* at, size_t width) {
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value |= uint64_t{at[i]} << (8 * i);
  return value;
}

#define MD_FIELD(bytes, name) Load((bytes) + offsetof(mdp_superblock_1, name), sizeof(mdp_superblock_1::name))

std::string UuidText(const uint8_t* bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kHex[bytes[i] >> 4];
    text += kHex[bytes[i] & 15];
  }
  return text;
}

/// Sectors to bytes when the result is still a safe integer.
bool ToBytes(uint64_t sectors, uint64_t* bytes) {
  if (sectors > kMaxSafeInteger / kSectorBytes) return false;
  *bytes = sectors * kSectorBytes;
  return true;
}

/// A position relative to the superblock (signed sectors) as bytes from the start of the device.
bool FromSuperblock(uint32_t offset_sectors, uint64_t* bytes) {
  const int64_t position =
      static_cast<int64_t>(kMdSuperblockOffset) + int64_t{static_cast<int32_t>(offset_sectors)} * int64_t{kSectorBytes};
  if (position < 0) return false;
  *bytes = static_cast<uint64_t>(position);
  return true;
}

const char* ReadLayout(const uint8_t* b, uint64_t device_bytes, MdSuperblock* out) {
  const uint64_t feature_map = MD_FIELD(b, feature_map);
  if ((feature_map & ~uint64_t{MD_FEATURE_ALL}) != 0) return "feature_map";
  out->level = static_cast<int32_t>(MD_FIELD(b, level));
  if (out->level < -4 || out->level > 10) return "level";
  out->raid_disks = static_cast<uint32_t>(MD_FIELD(b, raid_disks));
  if (out->raid_disks > kRoleMax) return "raid_disks";
  if (!ToBytes(MD_FIELD(b, data_offset), &out->data_offset_bytes)) return "data_offset";
  if (!ToBytes(MD_FIELD(b, data_size), &out->data_size_bytes)) return "data_size";
  if (device_bytes != 0) {
    if (out->data_offset_bytes > device_bytes) return "data_offset";
    if (out->data_size_bytes > device_bytes - out->data_offset_bytes) return "data_size";
  }
  if (!ToBytes(MD_FIELD(b, size), &out->used_size_bytes) || out->used_size_bytes > out->data_size_bytes) return "size";
  out->has_bitmap = (feature_map & MD_FEATURE_BITMAP_OFFSET) != 0;
  if (out->has_bitmap &&
      !FromSuperblock(static_cast<uint32_t>(MD_FIELD(b, bitmap_offset)), &out->bitmap_offset_bytes)) {
    return "bitmap_offset";
  }
  // Room reserved for a log is a log: from then on a failed write is noted there and the member stays in_sync.
  out->has_bad_block_log = (feature_map & MD_FEATURE_BAD_BLOCKS) != 0 || MD_FIELD(b, bblog_offset) != 0;
  return nullptr;
}

const char* ReadState(const uint8_t* b, uint64_t max_dev, MdSuperblock* out) {
  out->events = MD_FIELD(b, events);
  if (out->events > kMaxSafeInteger) return "events";
  out->dirty = MD_FIELD(b, resync_offset) != kNotResyncing;
  out->updated_at_sec = MD_FIELD(b, utime) & kSecondsMask;
  out->write_mostly = (MD_FIELD(b, devflags) & WriteMostly1) != 0;
  const uint64_t dev_number = MD_FIELD(b, dev_number);
  if (dev_number >= max_dev) return nullptr;  // md takes such a device for a spare
  const uint64_t role = Load(b + kHeaderBytes + 2 * dev_number, 2);
  if (role == kRoleSpare) {
    out->role = MdRole::kSpare;
  } else if (role == kRoleFaulty) {
    out->role = MdRole::kFaulty;
  } else if (role == kRoleJournal) {
    out->role = MdRole::kJournal;
  } else if (role < kRoleMax) {
    out->role = MdRole::kSlot;
    out->slot = static_cast<uint32_t>(role);
  } else {
    return "dev_roles";
  }
  return nullptr;
}

}  // namespace

uint32_t MdSuperblockChecksum(const uint8_t* bytes, uint32_t max_dev) {
  const size_t length = kHeaderBytes + size_t{2} * max_dev;
  const size_t skip = offsetof(mdp_superblock_1, sb_csum);
  uint64_t sum = 0;
  size_t at = 0;
  for (; at + 4 <= length; at += 4) {
    if (at != skip) sum += Load(bytes + at, 4);
  }
  if (at + 2 <= length) sum += Load(bytes + at, 2);
  return static_cast<uint32_t>((sum & 0xffffffff) + (sum >> 32));
}

MdSuperblockParse ParseMdSuperblock(const uint8_t* bytes, size_t length, uint64_t device_bytes) {
  MdSuperblockParse parse;
  if (length < kHeaderBytes || MD_FIELD(bytes, magic) != MD_SB_MAGIC) return parse;
  const auto damaged = [&parse](const char* field) {
    parse.damaged_field = field;
    return parse;
  };
  if (MD_FIELD(bytes, major_version) != 1) return damaged("major_version");
  const uint64_t max_dev = MD_FIELD(bytes, max_dev);
  if (max_dev > (length - kHeaderBytes) / 2) return damaged("max_dev");
  if (MD_FIELD(bytes, sb_csum) != MdSuperblockChecksum(bytes, static_cast<uint32_t>(max_dev))) {
    return damaged("sb_csum");
  }
  if (MD_FIELD(bytes, super_offset) != kMdSuperblockOffset / kSectorBytes) return damaged("super_offset");

  MdSuperblock found;
  found.array_uuid = UuidText(bytes + offsetof(mdp_superblock_1, set_uuid));
  found.device_uuid = UuidText(bytes + offsetof(mdp_superblock_1, device_uuid));
  const char* name = reinterpret_cast<const char*>(bytes + offsetof(mdp_superblock_1, set_name));
  found.set_name.assign(name, strnlen(name, sizeof(mdp_superblock_1::set_name)));
  const char* field = ReadLayout(bytes, device_bytes, &found);
  if (field == nullptr) field = ReadState(bytes, max_dev, &found);
  if (field != nullptr) return damaged(field);
  parse.superblock = std::move(found);
  return parse;
}

Result<std::optional<MdSuperblock>> ReadMdSuperblock(Syscalls& sys, const std::string& path) {
  auto fd = OpenFile(sys, path, O_RDONLY | O_DIRECT);
  if (!fd.ok()) return fd.error();
  struct stat info = {};
  const int stat_result = sys.Fstat(fd.value().get(), &info);
  const int stat_err = errno;
  if (stat_result != 0) return Failed(stat_err, "fstat", path);
  auto device_bytes = static_cast<uint64_t>(info.st_size);
  if (S_ISBLK(info.st_mode)) {
    auto sized = IoctlFd(sys, fd.value().get(), BLKGETSIZE64, &device_bytes, "BLKGETSIZE64", path);
    if (!sized.ok()) return sized.error();
  }
  if (device_bytes < kMdSuperblockOffset + kMdSuperblockMaxBytes) return std::optional<MdSuperblock>();

  // O_DIRECT wants memory, offset and length aligned to the logical block, which is at most 4 KiB here.
  struct alignas(kMdSuperblockMaxBytes) Block {
    uint8_t bytes[kMdSuperblockMaxBytes] = {};
  };
  const auto block = std::make_unique<Block>();
  auto read = PreadFull(sys, fd.value().get(), block->bytes, sizeof(block->bytes), kMdSuperblockOffset, path);
  if (!read.ok()) return read.error();
  auto parse = ParseMdSuperblock(block->bytes, sizeof(block->bytes), device_bytes);
  if (parse.damaged_field != nullptr) {
    return Failed(EBADMSG, "parse", path, std::string("damaged md superblock: ") + parse.damaged_field);
  }
  return std::move(parse.superblock);
}

}  // namespace meshstor
