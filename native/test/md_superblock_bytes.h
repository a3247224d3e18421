#pragma once

#include <linux/raid/md_p.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "native/core/md_superblock.h"

namespace meshstor {

/// The 4 KiB at the place of a v1.2 superblock, as bytes that a test can set field by field.
class MdSuperblockBytes {
 public:
  /// Second of two members of a healthy RAID1 array: data from 8 MiB on, 64 MiB of it, a bitmap at 8 KiB.
  MdSuperblockBytes() : bytes_(kMdSuperblockMaxBytes) {
    Set32(offsetof(mdp_superblock_1, magic), MD_SB_MAGIC);
    Set32(offsetof(mdp_superblock_1, major_version), 1);
    Set32(offsetof(mdp_superblock_1, feature_map), MD_FEATURE_BITMAP_OFFSET);
    for (size_t i = 0; i < 16; ++i) {
      bytes_[offsetof(mdp_superblock_1, set_uuid) + i] = static_cast<uint8_t>(0x10 + i);
      bytes_[offsetof(mdp_superblock_1, device_uuid) + i] = static_cast<uint8_t>(0xf0 - i);
    }
    std::memcpy(&bytes_[offsetof(mdp_superblock_1, set_name)], "meshstor:pvc-1", 14);
    Set32(offsetof(mdp_superblock_1, level), 1);
    Set64(offsetof(mdp_superblock_1, size), 131072);
    Set32(offsetof(mdp_superblock_1, raid_disks), 2);
    Set32(offsetof(mdp_superblock_1, bitmap_offset), 8);
    Set64(offsetof(mdp_superblock_1, data_offset), 16384);
    Set64(offsetof(mdp_superblock_1, data_size), 131072);
    Set64(offsetof(mdp_superblock_1, super_offset), 8);
    Set32(offsetof(mdp_superblock_1, dev_number), 1);
    Set64(offsetof(mdp_superblock_1, utime), (uint64_t{123456} << 40) | 1700000000);
    Set64(offsetof(mdp_superblock_1, events), 42);
    Set64(offsetof(mdp_superblock_1, resync_offset), ~uint64_t{0});
    Set32(offsetof(mdp_superblock_1, max_dev), 3);
    SetRole(0, 0);
    SetRole(1, 1);
    SetRole(2, 0xfffe);
    Seal();
  }

  void Set(size_t offset, size_t width, uint64_t value) {
    for (size_t i = 0; i < width; ++i) bytes_[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  }
  void Set32(size_t offset, uint32_t value) { Set(offset, 4, value); }
  void Set64(size_t offset, uint64_t value) { Set(offset, 8, value); }
  void SetRole(size_t device, uint16_t role) { Set(256 + 2 * device, 2, role); }
  /// Makes the checksum right for what the bytes say now.
  void Seal() {
    uint32_t max_dev = 0;
    for (size_t i = 0; i < 4; ++i) max_dev |= uint32_t{bytes_[offsetof(mdp_superblock_1, max_dev) + i]} << (8 * i);
    if (max_dev > (bytes_.size() - 256) / 2) max_dev = 0;
    Set32(offsetof(mdp_superblock_1, sb_csum), MdSuperblockChecksum(bytes_.data(), max_dev));
  }

  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace meshstor
