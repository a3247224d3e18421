// Input: changes to a good superblock (2 bytes of place, 1 byte to xor), then parsed with the checksum as it is and
// made right.

#include <cstdlib>

#include "native/test/md_superblock_bytes.h"

namespace {

void Check(const meshstor::MdSuperblockParse& parse) {
  constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;
  if (!parse.superblock.has_value()) return;
  const meshstor::MdSuperblock& found = *parse.superblock;
  const bool sound = parse.damaged_field == nullptr && found.events <= kMaxSafeInteger &&
                     found.data_offset_bytes <= kMaxSafeInteger && found.data_size_bytes <= kMaxSafeInteger &&
                     found.used_size_bytes <= found.data_size_bytes && found.bitmap_offset_bytes <= kMaxSafeInteger &&
                     found.set_name.size() <= 32 && found.array_uuid.size() == 36;
  if (!sound) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check(meshstor::ParseMdSuperblock(data, size, 0));
  meshstor::MdSuperblockBytes block;
  auto& bytes = block.bytes();
  for (size_t i = 0; i + 3 <= size; i += 3) bytes[(data[i] | (data[i + 1] << 8)) % bytes.size()] ^= data[i + 2];
  Check(meshstor::ParseMdSuperblock(bytes.data(), bytes.size(), 0));
  block.Seal();
  Check(meshstor::ParseMdSuperblock(bytes.data(), bytes.size(), uint64_t{1} << 30));
  return 0;
}
