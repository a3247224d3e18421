#include "native/core/md_superblock.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "native/test/md_superblock_bytes.h"
#include "native/test/scripted_syscalls.h"

namespace meshstor {
namespace {

constexpr uint64_t kDeviceBytes = uint64_t{131072 + 16384} * 512;

MdSuperblockParse Parse(MdSuperblockBytes& block) {
  return ParseMdSuperblock(block.bytes().data(), block.bytes().size(), kDeviceBytes);
}

TEST(MdSuperblock, SaysWhatMdWrote) {
  MdSuperblockBytes block;
  const auto parse = Parse(block);
  ASSERT_TRUE(parse.superblock.has_value()) << parse.damaged_field;
  const MdSuperblock& found = *parse.superblock;
  EXPECT_EQ(found.array_uuid, "10111213-1415-1617-1819-1a1b1c1d1e1f");
  EXPECT_EQ(found.device_uuid, "f0efeeed-eceb-eae9-e8e7-e6e5e4e3e2e1");
  EXPECT_EQ(found.set_name, "meshstor:pvc-1");
  EXPECT_EQ(found.events, 42u);
  EXPECT_EQ(found.level, 1);
  EXPECT_EQ(found.raid_disks, 2u);
  EXPECT_EQ(found.data_offset_bytes, 8u << 20);
  EXPECT_EQ(found.data_size_bytes, 64u << 20);
  EXPECT_EQ(found.used_size_bytes, 64u << 20);
  EXPECT_EQ(found.role, MdRole::kSlot);
  EXPECT_EQ(found.slot, 1u);
  EXPECT_FALSE(found.write_mostly);
  EXPECT_TRUE(found.has_bitmap);
  EXPECT_EQ(found.bitmap_offset_bytes, 8192u);
  EXPECT_FALSE(found.has_bad_block_log);
  EXPECT_FALSE(found.dirty);
  EXPECT_EQ(found.updated_at_sec, 1700000000u);
}

TEST(MdSuperblock, TellsWhatADeviceIsInsteadOfAMember) {
  struct Case {
    uint16_t role;
    MdRole expected;
  };
  for (const Case& c : {Case{0xffff, MdRole::kSpare}, Case{0xfffe, MdRole::kFaulty}, Case{0xfffd, MdRole::kJournal}}) {
    MdSuperblockBytes block;
    block.SetRole(1, c.role);
    block.Seal();
    ASSERT_TRUE(Parse(block).superblock.has_value());
    EXPECT_EQ(Parse(block).superblock->role, c.expected) << c.role;
  }
}

TEST(MdSuperblock, TakesADeviceBeyondTheRolesForASpareAsMdDoes) {
  MdSuperblockBytes block;
  block.Set32(offsetof(mdp_superblock_1, dev_number), 3);
  block.Seal();
  ASSERT_TRUE(Parse(block).superblock.has_value());
  EXPECT_EQ(Parse(block).superblock->role, MdRole::kSpare);
}

TEST(MdSuperblock, ReservedRoomIsABadBlockLogEvenWhenItIsEmpty) {
  MdSuperblockBytes block;
  block.Set32(offsetof(mdp_superblock_1, bblog_offset), 16);
  block.Seal();
  EXPECT_TRUE(Parse(block).superblock->has_bad_block_log);
}

TEST(MdSuperblock, AResyncOffsetMeansDirty) {
  MdSuperblockBytes block;
  block.Set64(offsetof(mdp_superblock_1, resync_offset), 0);
  block.bytes()[offsetof(mdp_superblock_1, devflags)] = WriteMostly1;
  block.Seal();
  EXPECT_TRUE(Parse(block).superblock->dirty);
  EXPECT_TRUE(Parse(block).superblock->write_mostly);
}

TEST(MdSuperblock, FindsABitmapBeforeTheSuperblock) {
  MdSuperblockBytes block;
  block.Set32(offsetof(mdp_superblock_1, bitmap_offset), static_cast<uint32_t>(-6));
  block.Seal();
  EXPECT_EQ(Parse(block).superblock->bitmap_offset_bytes, 4096u - 6 * 512);
}

TEST(MdSuperblock, WithoutTheMagicThereIsNone) {
  MdSuperblockBytes block;
  block.bytes()[0] ^= 1;
  EXPECT_FALSE(Parse(block).superblock.has_value());
  EXPECT_EQ(Parse(block).damaged_field, nullptr);
  EXPECT_EQ(ParseMdSuperblock(block.bytes().data(), 100, 0).damaged_field, nullptr);
}

TEST(MdSuperblock, NamesTheFieldThatIsDamaged) {
  struct Case {
    const char* field;
    size_t offset;
    size_t width;
    uint64_t value;
  };
  const Case cases[] = {
      {"major_version", offsetof(mdp_superblock_1, major_version), 4, 0},
      {"max_dev", offsetof(mdp_superblock_1, max_dev), 4, 1921},
      {"super_offset", offsetof(mdp_superblock_1, super_offset), 8, 0},
      {"feature_map", offsetof(mdp_superblock_1, feature_map), 4, 1 << 20},
      {"level", offsetof(mdp_superblock_1, level), 4, 77},
      {"raid_disks", offsetof(mdp_superblock_1, raid_disks), 4, 0xffffffff},
      {"data_offset", offsetof(mdp_superblock_1, data_offset), 8, ~uint64_t{0}},
      {"data_offset", offsetof(mdp_superblock_1, data_offset), 8, kDeviceBytes / 512 + 1},
      {"data_size", offsetof(mdp_superblock_1, data_size), 8, ~uint64_t{0}},
      {"data_size", offsetof(mdp_superblock_1, data_size), 8, 131073},
      {"size", offsetof(mdp_superblock_1, size), 8, 131073},
      {"bitmap_offset", offsetof(mdp_superblock_1, bitmap_offset), 4, 0xffff0000},
      {"events", offsetof(mdp_superblock_1, events), 8, uint64_t{1} << 53},
      {"dev_roles", 256 + 2, 2, 0xff00},
  };
  for (const Case& c : cases) {
    MdSuperblockBytes block;
    block.Set(c.offset, c.width, c.value);
    block.Seal();
    EXPECT_FALSE(Parse(block).superblock.has_value()) << c.field;
    EXPECT_STREQ(Parse(block).damaged_field, c.field);
  }
}

TEST(MdSuperblock, AnyFlippedBitBeforeTheEndOfTheRolesBreaksTheChecksum) {
  for (size_t at = 0; at < 256 + 3 * 2; ++at) {
    MdSuperblockBytes block;
    block.bytes()[at] ^= 0x10;
    EXPECT_FALSE(Parse(block).superblock.has_value()) << "byte " << at;
  }
}

class ReadSuperblock : public ::testing::Test {
 protected:
  void ExpectOpenOf(uint64_t size) {
    sys_.Expect("open", "/dev/dm-3").Return(4);
    sys_.Expect("fstat").Return(0).With([size](void* data, size_t) {
      static_cast<struct stat*>(data)->st_mode = S_IFREG;
      static_cast<struct stat*>(data)->st_size = static_cast<off_t>(size);
    });
  }
  ScriptedSyscalls sys_;
};

TEST_F(ReadSuperblock, ReadsFourKibAtFourKib) {
  ExpectOpenOf(kDeviceBytes);
  sys_.Expect("pread", "4096").Return(4096).With([](void* data, size_t length) {
    ASSERT_EQ(length, 4096u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 4096, 0u) << "O_DIRECT wants aligned memory";
    MdSuperblockBytes block;
    std::memcpy(data, block.bytes().data(), length);
  });
  auto found = ReadMdSuperblock(sys_, "/dev/dm-3");
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found.value().has_value());
}

TEST_F(ReadSuperblock, ATooSmallDeviceHasNone) {
  ExpectOpenOf(8191);
  auto found = ReadMdSuperblock(sys_, "/dev/dm-3");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found.value().has_value());
}

TEST_F(ReadSuperblock, DamageIsAnErrorThatNamesTheField) {
  ExpectOpenOf(kDeviceBytes);
  sys_.Expect("pread", "4096").Return(4096).With([](void* data, size_t length) {
    MdSuperblockBytes block;
    block.bytes()[offsetof(mdp_superblock_1, events)] ^= 1;
    std::memcpy(data, block.bytes().data(), length);
  });
  auto found = ReadMdSuperblock(sys_, "/dev/dm-3");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().err, EBADMSG);
  EXPECT_NE(found.error().message.find("sb_csum"), std::string::npos);
}

TEST_F(ReadSuperblock, AReadErrorIsReported) {
  ExpectOpenOf(kDeviceBytes);
  sys_.Expect("pread", "4096").Fail(EIO);
  EXPECT_EQ(ReadMdSuperblock(sys_, "/dev/dm-3").error().err, EIO);
}

}  // namespace
}  // namespace meshstor
