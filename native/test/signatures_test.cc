#include "native/core/signatures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "native/test/memory_disk.h"

namespace meshstor {
namespace {

constexpr size_t kSize = 8 << 20;
constexpr size_t kEdge = 1 << 20;

using Names = std::vector<std::string>;

struct Mark {
  const char* name;
  size_t offset;
  std::string bytes;
};

std::string Repeat(const char* bytes, size_t length) { return std::string(bytes, length); }

Names FindIn(const std::vector<uint8_t>& disk) {
  DeviceEdges edges;
  edges.size_bytes = disk.size();
  const size_t edge = std::min(kEdge, disk.size());
  edges.head.assign(disk.begin(), disk.begin() + static_cast<std::ptrdiff_t>(edge));
  edges.tail.assign(disk.end() - static_cast<std::ptrdiff_t>(edge), disk.end());
  return FindSignatures(edges);
}

/// One byte string each, at the place where the format's own documentation has it.
std::vector<Mark> Marks() {
  const std::string md = Repeat("\xfc\x4e\x2b\xa9", 4);
  const std::string zfs = Repeat("\x0c\xb1\xba\x00\x00\x00\x00\x00", 8);
  return {
      {"xfs", 0, "XFSB"},
      {"btrfs", 65536 + 64, "_BHRfS_M"},
      {"LVM2_member", 512, "LABELONE"},
      {"ceph_bluestore", 0, "bluestore block device\n"},
      {"gpt", 512, "EFI PART"},
      {"gpt", 4096, "EFI PART"},
      {"gpt", kSize - 512, "EFI PART"},
      {"gpt", kSize - 4096, "EFI PART"},
      {"crypto_LUKS", 0, "LUKS\xba\xbe"},
      {"swap", 4096 - 10, "SWAPSPACE2"},
      {"swap", 65536 - 10, "SWAPSPACE2"},
      {"vfat", 82, "FAT32   "},
      {"exfat", 3, "EXFAT   "},
      {"ntfs", 3, "NTFS    "},
      {"linux_raid_member", 0, md},
      {"linux_raid_member", 4096, md},
      {"linux_raid_member", kSize - 8192, md},
      {"linux_raid_member", kSize - 65536, md},
      {"zfs_member", 128 * 1024, zfs},
      {"zfs_member", 256 * 1024 + 128 * 1024 + 8192, zfs},
      {"zfs_member", kSize - 256 * 1024 + 128 * 1024, zfs},
      {"bcache", 4096 + 24, Repeat("\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 16)},
      {"drbd", kSize - 4096 + 60, Repeat("\x83\x74\x02\x6d", 4)},
      {"isw_raid_member", kSize - 1024, "Intel Raid ISM Cfg Sig. 1.3"},
      {"ddf_raid_member", kSize - 512, Repeat("\xDE\x11\xDE\x11", 4)},
      {"ext2", 1024 + 56, Repeat("\x53\xEF", 2)},
  };
}

TEST(Signatures, FindEachFormatWhereItLies) {
  for (const Mark& mark : Marks()) {
    std::vector<uint8_t> disk(kSize);
    std::memcpy(disk.data() + mark.offset, mark.bytes.data(), mark.bytes.size());
    EXPECT_EQ(FindIn(disk), Names{mark.name}) << mark.offset;
    disk[mark.offset] ^= 0x40;
    EXPECT_NE(FindIn(disk), Names{mark.name}) << "damaged magic at " << mark.offset;
  }
}

TEST(Signatures, TellExt2Ext3AndExt4Apart) {
  std::vector<uint8_t> disk(kSize);
  disk[1080] = 0x53;
  disk[1081] = 0xEF;
  disk[1024 + 92] = 4;
  EXPECT_EQ(FindIn(disk), Names{"ext3"});
  disk[1024 + 96] = 0x42;
  EXPECT_EQ(FindIn(disk), Names{"ext4"});
}

TEST(Signatures, TellAPartitionTableFromABootSector) {
  std::vector<uint8_t> disk(kSize);
  disk[510] = 0x55;
  disk[511] = 0xAA;
  disk[446 + 4] = 0x83;
  EXPECT_EQ(FindIn(disk), Names{"dos"});
  std::memcpy(disk.data() + 3, "NTFS    ", 8);
  EXPECT_EQ(FindIn(disk), Names{"ntfs"});
}

TEST(Signatures, ListEverythingThatIsThere) {
  std::vector<uint8_t> disk(kSize);
  std::memcpy(disk.data() + 512, "LABELONE", 8);
  std::memcpy(disk.data() + kSize - 512, "EFI PART", 8);
  EXPECT_EQ(FindIn(disk), (Names{"LVM2_member", "gpt"}));
}

TEST(Signatures, SayUnknownForAnyByteAtEitherEndAndNothingForNone) {
  std::vector<uint8_t> disk(kSize);
  EXPECT_EQ(FindIn(disk), Names{});
  for (const size_t at : {size_t{700}, kEdge - 1, kSize - kEdge, kSize - 1}) {
    disk[at] = 1;
    EXPECT_EQ(FindIn(disk), Names{"unknown"}) << at;
    disk[at] = 0;
  }
  disk[kSize / 2] = 1;
  EXPECT_EQ(FindIn(disk), Names{}) << "the middle is not looked at";
}

TEST(Signatures, NeverReadBeyondATinyDevice) {
  for (size_t size = 0; size < 20000; size += 512) EXPECT_EQ(FindIn(std::vector<uint8_t>(size)), Names{});
}

TEST(Signatures, AreReadFromADevice) {
  std::vector<uint8_t> content(kSize);
  std::memcpy(content.data(), "XFSB", 4);
  MemoryDisk disk(content, 4096, true);
  EXPECT_EQ(ReadSignatures(disk, MemoryDisk::kPath).value(), Names{"xfs"});
}

}  // namespace
}  // namespace meshstor
