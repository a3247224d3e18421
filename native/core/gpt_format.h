#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "native/core/guid.h"
#include "native/core/result.h"

// What a GUID partition table looks like on disk (UEFI 2.10 §5.3) and what is right or wrong with one. Pure: bytes come
// from a reader, nothing is written here. gpt.h has the operations on a disk.

namespace meshstor {

/// PARTLABEL of every partition of ours begins with this (SPEC §1).
constexpr char kOwnLabelPrefix[] = "meshstor-";

/// Bytes [offset, offset + length) of the disk; both are multiples of the sector size and inside the device.
using BlockReader = std::function<Result<std::vector<uint8_t>>(uint64_t offset, size_t length)>;

struct GptGeometry {
  uint64_t size_bytes = 0;
  uint32_t sector_size = 512;

  uint64_t sectors() const { return size_bytes / sector_size; }
  uint64_t last_lba() const { return sectors() - 1; }
};

enum class GptCopyKind { kPrimary, kBackup, kProtectiveMbr };

/// `primary`, `backup`, `protective-mbr`.
const char* CopyName(GptCopyKind kind);

struct GptProblem {
  GptCopyKind copy;
  /// UEFI name of the field at fault.
  std::string field;
  std::string message;
};

struct GptHeader {
  uint64_t my_lba = 0;
  uint64_t alternate_lba = 0;
  uint64_t first_usable_lba = 0;
  uint64_t last_usable_lba = 0;
  Guid disk_guid = {};
  uint64_t entries_lba = 0;
  uint32_t entry_count = 0;
  uint32_t entry_size = 0;

  uint64_t entries_bytes() const { return uint64_t{entry_count} * entry_size; }
  /// Sectors that the entry array takes, the last one perhaps in part.
  uint64_t entries_sectors(uint32_t sector_size) const { return (entries_bytes() + sector_size - 1) / sector_size; }
};

struct GptEntry {
  /// From 1; the kernel's partition number.
  uint32_t number = 0;
  Guid type = {};
  Guid unique = {};
  uint64_t first_lba = 0;
  uint64_t last_lba = 0;
  std::string name;

  bool IsOurs() const { return name.rfind(kOwnLabelPrefix, 0) == 0; }
};

/// One of the two copies as it was read.
struct GptCopy {
  bool has_signature = false;
  /// The header's own fields are right; its entries may not be.
  bool header_good = false;
  /// Header and entries are right: the copy can be used.
  bool good = false;
  GptHeader header;
  /// Sector of the header and the whole sectors of the array, as they lie on the disk.
  std::vector<uint8_t> header_sector;
  std::vector<uint8_t> entries_raw;
  /// Used entries in order of their number.
  std::vector<GptEntry> entries;
};

enum class GptState { kValid, kPrimaryOnly, kBackupOnly, kDiffer, kBlank, kForeign, kDamaged };

/// The state's name in kernel.ts.
const char* StateName(GptState state);

struct LbaRange {
  uint64_t first = 0;
  /// Inclusive.
  uint64_t last = 0;
};

/// Everything that was found, and the verdict.
struct GptImage {
  GptGeometry geometry;
  GptState state = GptState::kDamaged;
  GptCopy primary;
  GptCopy backup;
  std::vector<uint8_t> mbr_sector;
  std::vector<GptProblem> problems;
  /// With kDiffer: GUIDs of entries that are in one copy only or not the same in both; the zero GUID stands for a
  /// header field, so that "all of them are ours" is false then.
  std::vector<Guid> differing;
  /// With kDiffer: every difference is in an entry that carries our label in each copy that has it.
  bool only_ours_differ = false;
  /// The protective MBR is right, too.
  bool mbr_good = false;

  /// The copy that counts: the primary, else the backup; nullptr unless the state says that one can be used.
  const GptCopy* Current() const;
};

/// Reads and judges the table. Fails only when reading does or the device has fewer than 8 sectors (EINVAL).
///
/// A copy is good when every header field, both CRCs and every used entry are right: inside the usable range, not
/// overlapping, with GUIDs that are set and unique. Which state follows is said at GptState in kernel.ts; beyond that:
/// a GPT counts only under a protective MBR as the kernel demands one, or under an all-zero first sector (a table whose
/// initialisation was cut short), so that what is left of a GPT under a filesystem or an MBR table is never taken for
/// one.
Result<GptImage> ReadGptImage(const GptGeometry& geometry, const BlockReader& read);

/// Free ranges aligned to 1 MiB at both ends, at least 1 MiB, in disk order; empty unless the table can be used. With
/// kDiffer what either copy uses is not free.
std::vector<LbaRange> FreeRanges(const GptImage& image);

/// The fields of a header sector, unjudged. At least 92 bytes.
GptHeader DecodeHeader(const std::vector<uint8_t>& sector);

/// The used entries of an array of at least `header.entries_bytes()`, unjudged. A label's lone surrogate becomes
/// U+FFFD.
std::vector<GptEntry> DecodeEntries(const GptHeader& header, const std::vector<uint8_t>& raw);

/// The header sector for one copy: `base` (a good copy's) with this header's fields and both CRCs put in.
std::vector<uint8_t> EncodeHeader(const std::vector<uint8_t>& base, const GptHeader& header,
                                  const std::vector<uint8_t>& entries_raw);

/// Header sector of revision 1.0 without any field but the constant ones, as base for EncodeHeader.
std::vector<uint8_t> BlankHeaderSector(uint32_t sector_size);

/// First sector with its partition records replaced by the protective one; boot code is kept.
std::vector<uint8_t> EncodeProtectiveMbr(const GptGeometry& geometry, const std::vector<uint8_t>& sector);

/// Puts an entry into the array (its number says where); attributes and bytes behind the name are zeroed.
void EncodeEntry(const GptHeader& header, const GptEntry& entry, std::vector<uint8_t>& entries_raw);

/// Zeroes an entry.
void ClearEntry(const GptHeader& header, uint32_t number, std::vector<uint8_t>& entries_raw);

/// Moves the end of an entry; everything else in it stays.
void SetEntryEnd(const GptHeader& header, uint32_t number, uint64_t last_lba, std::vector<uint8_t>& entries_raw);

/// UTF-8 to UTF-16 for a PARTLABEL; nullopt when it is longer than 36 units or no UTF-8.
std::optional<std::vector<uint16_t>> EncodeLabel(const std::string& utf8);

}  // namespace meshstor
