#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// Where a v1.2 superblock starts on its device, and the most it can take up (bytes).
inline constexpr uint64_t kMdSuperblockOffset = 4096;
inline constexpr size_t kMdSuperblockMaxBytes = 4096;

/// What a device is in the array that its superblock describes.
enum class MdRole { kSlot, kSpare, kFaulty, kJournal };

/// The facts of `struct mdp_superblock_1` (linux/raid/md_p.h) that decisions are made from. Bytes, not sectors.
struct MdSuperblock {
  std::string array_uuid;   ///< lower-case, dashed
  std::string device_uuid;  ///< lower-case, dashed
  std::string set_name;     ///< `homehost:name`
  uint64_t events = 0;
  int32_t level = 0;
  uint32_t raid_disks = 0;
  uint64_t data_offset_bytes = 0;
  uint64_t data_size_bytes = 0;
  uint64_t used_size_bytes = 0;
  MdRole role = MdRole::kSpare;
  uint32_t slot = 0;  ///< meaningful with `MdRole::kSlot`
  bool write_mostly = false;
  bool has_bitmap = false;
  uint64_t bitmap_offset_bytes = 0;  ///< from the start of the device, 0 without a bitmap
  bool has_bad_block_log = false;
  bool dirty = false;
  uint64_t updated_at_sec = 0;
};

/// What parsing found. At most one of the members is set; neither means that there is no superblock.
struct MdSuperblockParse {
  std::optional<MdSuperblock> superblock;
  /// The first field (by its name in md_p.h) that cannot be right, of a superblock that carries MD's magic.
  const char* damaged_field = nullptr;
};

/// Parses the bytes found at `kMdSuperblockOffset`. Pure and total: any bytes give an answer.
/// The checksum is verified before anything that it covers is believed.
/// `device_bytes` bounds the data area; 0 when the size of the device is not known.
MdSuperblockParse ParseMdSuperblock(const uint8_t* bytes, size_t length, uint64_t device_bytes);

/// Checksum that belongs into `sb_csum`: the kernel's sum over the header and `max_dev` roles.
/// `length` must hold 256 + 2 * max_dev bytes.
uint32_t MdSuperblockChecksum(const uint8_t* bytes, uint32_t max_dev);

/// Reads and parses the v1.2 superblock of `path` with O_DIRECT: the page cache of a partition whose bytes are written
/// through a device on top of it goes stale. Blocks for one read of 4 KiB. No superblock is an empty optional; a
/// damaged one is EBADMSG whose message names the field. Needs read access to the device.
Result<std::optional<MdSuperblock>> ReadMdSuperblock(Syscalls& sys, const std::string& path);

}  // namespace meshstor
