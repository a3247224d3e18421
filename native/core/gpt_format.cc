#include "native/core/gpt_format.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "native/core/gpt_layout.h"

namespace meshstor {

using namespace gpt_layout;  // NOLINT(google-build-using-namespace): its only two users

namespace {

void AppendUtf8(std::string& text, uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (code >> 18));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

/// PARTLABEL as UTF-8; a lone surrogate becomes U+FFFD.
std::string DecodeLabel(const std::vector<uint8_t>& bytes, size_t at) {
  std::string text;
  for (size_t i = 0; i < kLabelUnits; ++i) {
    const auto unit = static_cast<uint32_t>(GetLe(bytes, at + 2 * i, 2));
    if (unit == 0) break;
    const bool is_high = unit >= 0xD800 && unit < 0xDC00;
    const bool is_low = unit >= 0xDC00 && unit < 0xE000;
    const uint32_t next = is_high && i + 1 < kLabelUnits ? static_cast<uint32_t>(GetLe(bytes, at + 2 * i + 2, 2)) : 0;
    if (next >= 0xDC00 && next < 0xE000) {
      AppendUtf8(text, 0x10000 + ((unit - 0xD800) << 10) + (next - 0xDC00));
      ++i;
    } else {
      AppendUtf8(text, is_high || is_low ? 0xFFFD : unit);
    }
  }
  return text;
}

}  // namespace

const char* CopyName(GptCopyKind kind) {
  switch (kind) {
    case GptCopyKind::kPrimary:
      return "primary";
    case GptCopyKind::kBackup:
      return "backup";
    case GptCopyKind::kProtectiveMbr:
      return "protective-mbr";
  }
  return "primary";
}

const char* StateName(GptState state) {
  switch (state) {
    case GptState::kValid:
      return "valid";
    case GptState::kPrimaryOnly:
      return "primary-only";
    case GptState::kBackupOnly:
      return "backup-only";
    case GptState::kDiffer:
      return "differ";
    case GptState::kBlank:
      return "blank";
    case GptState::kForeign:
      return "foreign";
    case GptState::kDamaged:
      return "damaged";
  }
  return "damaged";
}

GptHeader DecodeHeader(const std::vector<uint8_t>& sector) {
  GptHeader header;
  header.my_lba = Get64(sector, kAtMyLba);
  header.alternate_lba = Get64(sector, kAtAlternateLba);
  header.first_usable_lba = Get64(sector, kAtFirstUsable);
  header.last_usable_lba = Get64(sector, kAtLastUsable);
  header.disk_guid = GetGuid(sector, kAtDiskGuid);
  header.entries_lba = Get64(sector, kAtEntriesLba);
  header.entry_count = Get32(sector, kAtEntryCount);
  header.entry_size = Get32(sector, kAtEntrySize);
  return header;
}

std::vector<GptEntry> DecodeEntries(const GptHeader& header, const std::vector<uint8_t>& raw) {
  std::vector<GptEntry> entries;
  for (uint32_t i = 0; i < header.entry_count; ++i) {
    const size_t at = static_cast<size_t>(i) * header.entry_size;
    GptEntry entry;
    entry.type = GetGuid(raw, at);
    if (IsZeroGuid(entry.type)) continue;
    entry.number = i + 1;
    entry.unique = GetGuid(raw, at + kAtUniqueGuid);
    entry.first_lba = Get64(raw, at + kAtFirstLba);
    entry.last_lba = Get64(raw, at + kAtLastLba);
    entry.name = DecodeLabel(raw, at + kAtName);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<uint8_t> BlankHeaderSector(uint32_t sector_size) {
  std::vector<uint8_t> sector(sector_size);
  std::memcpy(sector.data(), kSignature, 8);
  PutLe(sector, kAtRevision, 4, kRevision);
  PutLe(sector, kAtHeaderSize, 4, kMinHeaderSize);
  return sector;
}

std::vector<uint8_t> EncodeHeader(const std::vector<uint8_t>& base, const GptHeader& header,
                                  const std::vector<uint8_t>& entries_raw) {
  std::vector<uint8_t> sector = base;
  PutLe(sector, kAtMyLba, 8, header.my_lba);
  PutLe(sector, kAtAlternateLba, 8, header.alternate_lba);
  PutLe(sector, kAtFirstUsable, 8, header.first_usable_lba);
  PutLe(sector, kAtLastUsable, 8, header.last_usable_lba);
  PutGuid(sector, kAtDiskGuid, header.disk_guid);
  PutLe(sector, kAtEntriesLba, 8, header.entries_lba);
  PutLe(sector, kAtEntryCount, 4, header.entry_count);
  PutLe(sector, kAtEntrySize, 4, header.entry_size);
  PutLe(sector, kAtEntriesCrc, 4, Crc32(entries_raw.data(), header.entries_bytes()));
  PutLe(sector, kAtHeaderCrc, 4, 0);
  PutLe(sector, kAtHeaderCrc, 4, Crc32(sector.data(), Get32(sector, kAtHeaderSize)));
  return sector;
}

std::vector<uint8_t> EncodeProtectiveMbr(const GptGeometry& geometry, const std::vector<uint8_t>& sector) {
  std::vector<uint8_t> out = sector;
  std::fill_n(out.begin() + kAtRecords, 4 * kRecordSize, uint8_t{0});
  // First and last CHS address as UEFI table 5-4 has them; nobody reads them.
  PutLe(out, kAtRecords + 1, 3, 0x000200);
  out[kAtRecords + 4] = kProtectiveType;
  PutLe(out, kAtRecords + 5, 3, 0xFFFFFF);
  PutLe(out, kAtRecords + 8, 4, 1);
  PutLe(out, kAtRecords + 12, 4, std::min<uint64_t>(geometry.last_lba(), 0xFFFFFFFFU));
  out[kAtMbrSignature] = 0x55;
  out[kAtMbrSignature + 1] = 0xAA;
  return out;
}

void ClearEntry(const GptHeader& header, uint32_t number, std::vector<uint8_t>& entries_raw) {
  const size_t at = size_t{number - 1} * header.entry_size;
  std::fill_n(entries_raw.begin() + static_cast<std::ptrdiff_t>(at), header.entry_size, uint8_t{0});
}

void EncodeEntry(const GptHeader& header, const GptEntry& entry, std::vector<uint8_t>& entries_raw) {
  ClearEntry(header, entry.number, entries_raw);
  const size_t at = size_t{entry.number - 1} * header.entry_size;
  PutGuid(entries_raw, at, entry.type);
  PutGuid(entries_raw, at + kAtUniqueGuid, entry.unique);
  PutLe(entries_raw, at + kAtFirstLba, 8, entry.first_lba);
  PutLe(entries_raw, at + kAtLastLba, 8, entry.last_lba);
  const auto label = EncodeLabel(entry.name).value_or(std::vector<uint16_t>{});
  for (size_t i = 0; i < label.size(); ++i) PutLe(entries_raw, at + kAtName + 2 * i, 2, label[i]);
}

void SetEntryEnd(const GptHeader& header, uint32_t number, uint64_t last_lba, std::vector<uint8_t>& entries_raw) {
  PutLe(entries_raw, size_t{number - 1} * header.entry_size + kAtLastLba, 8, last_lba);
}

std::optional<std::vector<uint16_t>> EncodeLabel(const std::string& utf8) {
  std::vector<uint16_t> units;
  for (size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 && lead < 0xF8 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
    if (length == 0 || lead >= 0xF8 || length > utf8.size() - i) return std::nullopt;
    uint32_t code = length == 1 ? lead : lead & (0x7FU >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(utf8[i + k]);
      if ((next & 0xC0) != 0x80) return std::nullopt;
      code = (code << 6) | (next & 0x3F);
    }
    if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return std::nullopt;
    if (code < 0x10000) {
      units.push_back(static_cast<uint16_t>(code));
    } else {
      units.push_back(static_cast<uint16_t>(0xD800 + ((code - 0x10000) >> 10)));
      units.push_back(static_cast<uint16_t>(0xDC00 + ((code - 0x10000) & 0x3FF)));
    }
    i += length;
  }
  if (units.size() > kLabelUnits) return std::nullopt;
  return units;
}

}  // namespace meshstor
