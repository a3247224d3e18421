#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "native/core/guid.h"

// Where the fields of a GPT lie (UEFI 2.10 §5.3), for gpt_format.cc and gpt_check.cc only.

namespace meshstor::gpt_layout {

inline constexpr char kSignature[] = "EFI PART";
inline constexpr uint32_t kRevision = 0x00010000;
inline constexpr uint32_t kMinHeaderSize = 92;
inline constexpr uint32_t kMinEntrySize = 128;
inline constexpr uint32_t kMaxEntrySize = 4096;
inline constexpr uint32_t kMaxEntries = 4096;
inline constexpr uint64_t kMaxEntriesBytes = uint64_t{1024} * 1024;
inline constexpr size_t kLabelUnits = 36;
inline constexpr uint64_t kMinSectors = 8;

// Offsets in the header (UEFI table 5-5).
inline constexpr size_t kAtRevision = 8;
inline constexpr size_t kAtHeaderSize = 12;
inline constexpr size_t kAtHeaderCrc = 16;
inline constexpr size_t kAtReserved = 20;
inline constexpr size_t kAtMyLba = 24;
inline constexpr size_t kAtAlternateLba = 32;
inline constexpr size_t kAtFirstUsable = 40;
inline constexpr size_t kAtLastUsable = 48;
inline constexpr size_t kAtDiskGuid = 56;
inline constexpr size_t kAtEntriesLba = 72;
inline constexpr size_t kAtEntryCount = 80;
inline constexpr size_t kAtEntrySize = 84;
inline constexpr size_t kAtEntriesCrc = 88;

// Offsets in an entry (UEFI table 5-6).
inline constexpr size_t kAtUniqueGuid = 16;
inline constexpr size_t kAtFirstLba = 32;
inline constexpr size_t kAtLastLba = 40;
inline constexpr size_t kAtName = 56;

// Offsets in the MBR.
inline constexpr size_t kAtRecords = 446;
inline constexpr size_t kRecordSize = 16;
inline constexpr size_t kAtMbrSignature = 510;
inline constexpr size_t kMbrBytes = 512;
inline constexpr uint8_t kProtectiveType = 0xEE;

inline uint64_t GetLe(const std::vector<uint8_t>& bytes, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}

inline uint32_t Get32(const std::vector<uint8_t>& bytes, size_t at) {
  return static_cast<uint32_t>(GetLe(bytes, at, 4));
}
inline uint64_t Get64(const std::vector<uint8_t>& bytes, size_t at) { return GetLe(bytes, at, 8); }

inline void PutLe(std::vector<uint8_t>& bytes, size_t at, size_t width, uint64_t value) {
  for (size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

inline Guid GetGuid(const std::vector<uint8_t>& bytes, size_t at) {
  Guid guid;
  std::memcpy(guid.data(), bytes.data() + at, guid.size());
  return guid;
}

inline void PutGuid(std::vector<uint8_t>& bytes, size_t at, const Guid& guid) {
  std::memcpy(bytes.data() + at, guid.data(), guid.size());
}

}  // namespace meshstor::gpt_layout
