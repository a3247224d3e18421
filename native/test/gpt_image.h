#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "native/core/gpt.h"
#include "native/core/gpt_layout.h"
#include "native/test/memory_disk.h"

namespace meshstor {

constexpr uint64_t kTestMiB = 1024 * 1024;
constexpr char kLinuxRaid[] = "a19d880f-05fc-4d3b-a006-743f0f84911e";
constexpr char kForeignType[] = "0fc63daf-8483-4772-8e79-3d69d8477de4";

inline Guid MakeGuid(const std::string& text) { return ParseGuid(text).value(); }

/// A GUID of its own for each number.
inline Guid NumberedGuid(uint8_t number) {
  Guid guid = {};
  guid.fill(0x40);
  guid[0] = number;
  return guid;
}

inline GptOptions OptionsFor(const MemoryDisk& disk, uint32_t sector_size) {
  GptOptions options;
  options.root = disk.root();
  options.image_sector_size = sector_size;
  options.lock_limit_ms = 50;
  return options;
}

inline NewPartition Wanted(uint8_t guid, uint64_t start_mib, uint64_t size_mib, const std::string& name,
                           const char* type = kLinuxRaid) {
  return {MakeGuid(type), NumberedGuid(guid), name, start_mib * kTestMiB, size_mib * kTestMiB};
}

/// Judges bytes without any disk.
inline GptImage Judge(const std::vector<uint8_t>& bytes, uint32_t sector_size) {
  const GptGeometry geometry{bytes.size() / sector_size * sector_size, sector_size};
  auto image = ReadGptImage(geometry, [&bytes](uint64_t offset, size_t length) -> Result<std::vector<uint8_t>> {
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return std::vector<uint8_t>(at, at + static_cast<std::ptrdiff_t>(length));
  });
  return std::move(image).value();
}

/// 16 MiB image: two foreign partitions (1 at 1+2 MiB full of 0xF1, 2 at 8+1 MiB full of 0xF2) and ours, number 3, at
/// 4+2 MiB; free: 3, 6 … 8 and from 9 MiB on.
inline std::vector<uint8_t> TableImage(uint32_t sector_size) {
  MemoryDisk disk(std::vector<uint8_t>(16 * kTestMiB), sector_size, false);
  const GptOptions options = OptionsFor(disk, sector_size);
  const std::string path = MemoryDisk::kPath;
  bool ok = InitializeGpt(disk, path, NumberedGuid(200), options).ok();
  ok = ok && AddGptPartition(disk, path, Wanted(1, 1, 2, "EFI System", kForeignType), options).ok();
  ok = ok && AddGptPartition(disk, path, Wanted(2, 8, 1, "root ✓", kForeignType), options).ok();
  ok = ok && AddGptPartition(disk, path, Wanted(3, 4, 2, "meshstor-abc"), options).ok();
  if (!ok) return {};
  const auto fill = [&disk](uint64_t start_mib, uint64_t size_mib, uint8_t byte) {
    std::fill_n(disk.content.begin() + static_cast<std::ptrdiff_t>(start_mib * kTestMiB), size_mib * kTestMiB, byte);
  };
  fill(1, 2, 0xF1);
  fill(8, 1, 0xF2);
  fill(4, 2, 0x33);
  return disk.content;
}

/// Both copies' headers with right CRCs after `change` of the header sector and the entries.
template <typename F>
void ChangeCopy(std::vector<uint8_t>& bytes, uint32_t sector_size, bool primary, F change) {
  const uint64_t lba = primary ? 1 : bytes.size() / sector_size - 1;
  const auto header_at = bytes.begin() + static_cast<std::ptrdiff_t>(lba * sector_size);
  std::vector<uint8_t> sector(header_at, header_at + sector_size);
  const GptHeader before = DecodeHeader(sector);
  const auto entries_at = bytes.begin() + static_cast<std::ptrdiff_t>(before.entries_lba * sector_size);
  const auto length = static_cast<std::ptrdiff_t>(before.entries_sectors(sector_size) * sector_size);
  std::vector<uint8_t> entries(entries_at, entries_at + length);
  change(sector, entries);
  const uint32_t claimed = gpt_layout::Get32(sector, gpt_layout::kAtHeaderSize);
  const uint32_t covered = claimed >= 92 && claimed <= sector_size ? claimed : 92;
  gpt_layout::PutLe(sector, gpt_layout::kAtEntriesCrc, 4, Crc32(entries.data(), before.entries_bytes()));
  gpt_layout::PutLe(sector, gpt_layout::kAtHeaderCrc, 4, 0);
  gpt_layout::PutLe(sector, gpt_layout::kAtHeaderCrc, 4, Crc32(sector.data(), covered));
  std::copy(entries.begin(), entries.end(), entries_at);
  std::copy(sector.begin(), sector.end(), header_at);
}

inline bool HasProblem(const GptImage& image, GptCopyKind copy, const std::string& field) {
  return std::any_of(image.problems.begin(), image.problems.end(),
                     [&](const GptProblem& problem) { return problem.copy == copy && problem.field == field; });
}

}  // namespace meshstor
