#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "native/core/gpt_format.h"

// The first byte chooses the sector size and whether checksums are made right, so that the fuzzer gets behind them; the
// rest is the start of a 4 MiB disk: MBR, primary header and entries, then, from byte 32 KiB of the input on, its end.

namespace {

constexpr size_t kDiskBytes = 4 << 20;
constexpr size_t kHeadBytes = 32 * 1024;

void FixChecksums(std::vector<uint8_t>& disk, uint32_t sector, size_t header_at) {
  std::vector<uint8_t> header(disk.begin() + static_cast<std::ptrdiff_t>(header_at),
                              disk.begin() + static_cast<std::ptrdiff_t>(header_at + sector));
  const meshstor::GptHeader fields = meshstor::DecodeHeader(header);
  const uint64_t last = disk.size() / sector;
  if (fields.entries_lba >= last || fields.entries_bytes() > disk.size() - fields.entries_lba * sector) return;
  uint32_t size = 0;
  std::memcpy(&size, header.data() + 12, 4);
  if (size < 92 || size > sector) return;
  const uint32_t entries_crc = meshstor::Crc32(disk.data() + fields.entries_lba * sector, fields.entries_bytes());
  std::memcpy(header.data() + 88, &entries_crc, 4);
  std::memset(header.data() + 16, 0, 4);
  const uint32_t header_crc = meshstor::Crc32(header.data(), size);
  std::memcpy(header.data() + 16, &header_crc, 4);
  std::copy(header.begin(), header.end(), disk.begin() + static_cast<std::ptrdiff_t>(header_at));
}

/// What every caller relies on.
void Check(const meshstor::GptImage& image) {
  const meshstor::GptCopy* table = image.Current();
  if (table == nullptr) return;
  const auto inside = [table](uint64_t first, uint64_t last) {
    return first <= last && first >= table->header.first_usable_lba && last <= table->header.last_usable_lba;
  };
  if (!table->good || table->header.last_usable_lba >= image.geometry.last_lba()) std::abort();
  for (const auto& entry : table->entries) {
    if (!inside(entry.first_lba, entry.last_lba)) std::abort();
    if (entry.number < 1 || entry.number > table->header.entry_count) std::abort();
    for (const auto& free : meshstor::FreeRanges(image)) {
      if (entry.first_lba <= free.last && entry.last_lba >= free.first) std::abort();
    }
  }
  for (const auto& free : meshstor::FreeRanges(image)) {
    if (!inside(free.first, free.last)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const uint32_t sector = (data[0] & 1) != 0 ? 4096 : 512;
  static std::vector<uint8_t> disk(kDiskBytes);
  std::fill_n(disk.begin(), kHeadBytes, uint8_t{0});
  std::fill(disk.end() - static_cast<std::ptrdiff_t>(kHeadBytes), disk.end(), uint8_t{0});
  const size_t head = std::min(size - 1, kHeadBytes);
  const size_t tail = std::min(size - 1 - head, kHeadBytes);
  std::memcpy(disk.data(), data + 1, head);
  std::memcpy(disk.data() + disk.size() - tail, data + 1 + head, tail);
  if ((data[0] & 2) != 0) FixChecksums(disk, sector, sector);
  if ((data[0] & 4) != 0) FixChecksums(disk, sector, disk.size() - sector);
  const meshstor::GptGeometry geometry{disk.size(), sector};
  const auto image =
      meshstor::ReadGptImage(geometry, [](uint64_t offset, size_t length) -> meshstor::Result<std::vector<uint8_t>> {
        if (offset > disk.size() || length > disk.size() - offset) std::abort();
        const auto at = disk.begin() + static_cast<std::ptrdiff_t>(offset);
        return std::vector<uint8_t>(at, at + static_cast<std::ptrdiff_t>(length));
      });
  if (image.ok()) Check(image.value());
  return 0;
}
