#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "native/test/gpt_image.h"

namespace meshstor {
namespace {

using namespace gpt_layout;  // NOLINT(google-build-using-namespace): the names of the fields

class GptCheck : public testing::TestWithParam<uint32_t> {
 protected:
  uint32_t sector() const { return GetParam(); }
  std::vector<uint8_t> bytes_ = TableImage(GetParam());
};

using Bytes = std::vector<uint8_t>;

TEST(Crc32, MatchesTheStandardCheckValue) { EXPECT_EQ(Crc32("123456789", 9), 0xCBF43926U); }

TEST(Guid, StoresTheFirstThreeGroupsLittleEndian) {
  const Guid guid = MakeGuid("A19D880F-05FC-4D3B-A006-743F0F84911E");
  EXPECT_EQ(guid,
            (Guid{0x0F, 0x88, 0x9D, 0xA1, 0xFC, 0x05, 0x3B, 0x4D, 0xA0, 0x06, 0x74, 0x3F, 0x0F, 0x84, 0x91, 0x1E}));
  EXPECT_EQ(FormatGuid(guid), kLinuxRaid);
  for (const char* bad : {"", "a19d880f05fc4d3ba006743f0f84911e", "a19d880f-05fc-4d3b-a006-743f0f84911g",
                          "a19d880f-05fc-4d3b-a006-743f0f84911e0", "{19d880f-05fc-4d3b-a006-743f0f84911e}"}) {
    EXPECT_FALSE(ParseGuid(bad).has_value()) << bad;
  }
}

TEST(Label, IsAtMost36UnitsOfUtf16) {
  EXPECT_EQ(EncodeLabel(std::string(36, 'x')).value().size(), 36U);
  EXPECT_FALSE(EncodeLabel(std::string(37, 'x')).has_value());
  EXPECT_EQ(EncodeLabel("é✓𝄞").value(), (std::vector<uint16_t>{0xE9, 0x2713, 0xD834, 0xDD1E}));
  for (const char* bad : {"\x80", "\xC3", "\xE2\x9C", "\xC0\x80", "\xED\xA0\x80", "\xF8\x88\x80\x80\x80"}) {
    EXPECT_FALSE(EncodeLabel(bad).has_value());
  }
}

TEST_P(GptCheck, AcceptsATableAndListsWhatIsUsedAndFree) {
  const GptImage image = Judge(bytes_, sector());
  ASSERT_EQ(image.state, GptState::kValid);
  EXPECT_TRUE(image.problems.empty());
  EXPECT_TRUE(image.mbr_good);
  ASSERT_EQ(image.primary.entries.size(), 3U);
  EXPECT_EQ(image.primary.entries[1].name, "root ✓");
  EXPECT_TRUE(image.primary.entries[2].IsOurs());
  const uint64_t step = kTestMiB / sector();
  const auto free = FreeRanges(image);
  ASSERT_EQ(free.size(), 3U);
  EXPECT_EQ(free[0].first, 3 * step);
  EXPECT_EQ(free[0].last, 4 * step - 1);
  EXPECT_EQ(free[1].first, 6 * step);
  EXPECT_EQ(free[1].last, 8 * step - 1);
  EXPECT_EQ(free[2].first, 9 * step);
  EXPECT_EQ(free[2].last, 15 * step - 1);
}

struct FieldDamage {
  const char* field;
  std::function<void(Bytes& sector, Bytes& entries)> change;
};

void Put(Bytes& sector, size_t at, size_t width, uint64_t value) { PutLe(sector, at, width, value); }

std::vector<FieldDamage> FieldDamages() {
  return {
      {"HeaderSize", [](Bytes& s, Bytes&) { Put(s, kAtHeaderSize, 4, 91); }},
      {"HeaderSize", [](Bytes& s, Bytes&) { Put(s, kAtHeaderSize, 4, 0x7FFFFFFF); }},
      {"Revision", [](Bytes& s, Bytes&) { Put(s, kAtRevision, 4, 0x00020000); }},
      {"Reserved", [](Bytes& s, Bytes&) { Put(s, kAtReserved, 4, 1); }},
      {"MyLBA", [](Bytes& s, Bytes&) { Put(s, kAtMyLba, 8, 3); }},
      {"AlternateLBA", [](Bytes& s, Bytes&) { Put(s, kAtAlternateLba, 8, 77); }},
      {"FirstUsableLBA", [](Bytes& s, Bytes&) { Put(s, kAtFirstUsable, 8, 1); }},
      {"FirstUsableLBA", [](Bytes& s, Bytes&) { Put(s, kAtFirstUsable, 8, UINT64_MAX); }},
      {"LastUsableLBA", [](Bytes& s, Bytes&) { Put(s, kAtLastUsable, 8, UINT64_MAX); }},
      {"DiskGUID", [](Bytes& s, Bytes&) { std::fill_n(s.begin() + kAtDiskGuid, 16, uint8_t{0}); }},
      {"PartitionEntryLBA", [](Bytes& s, Bytes&) { Put(s, kAtEntriesLba, 8, 1); }},
      {"PartitionEntryLBA", [](Bytes& s, Bytes&) { Put(s, kAtEntriesLba, 8, UINT64_MAX - 3); }},
      {"NumberOfPartitionEntries", [](Bytes& s, Bytes&) { Put(s, kAtEntryCount, 4, 0); }},
      {"NumberOfPartitionEntries", [](Bytes& s, Bytes&) { Put(s, kAtEntryCount, 4, UINT32_MAX); }},
      {"SizeOfPartitionEntry", [](Bytes& s, Bytes&) { Put(s, kAtEntrySize, 4, 64); }},
      {"SizeOfPartitionEntry", [](Bytes& s, Bytes&) { Put(s, kAtEntrySize, 4, 192); }},
      {"UniquePartitionGUID", [](Bytes&, Bytes& e) { std::fill_n(e.begin() + kAtUniqueGuid, 16, uint8_t{0}); }},
      {"UniquePartitionGUID",
       [](Bytes&, Bytes& e) { std::copy_n(e.begin() + 128 + kAtUniqueGuid, 16, e.begin() + kAtUniqueGuid); }},
      {"StartingLBA", [](Bytes&, Bytes& e) { PutLe(e, kAtFirstLba, 8, 2); }},
      {"StartingLBA", [](Bytes&, Bytes& e) { PutLe(e, 256 + kAtFirstLba, 8, Get64(e, kAtLastLba)); }},
      {"EndingLBA", [](Bytes&, Bytes& e) { PutLe(e, kAtLastLba, 8, Get64(e, kAtFirstLba) - 1); }},
      {"EndingLBA", [](Bytes&, Bytes& e) { PutLe(e, 128 + kAtLastLba, 8, UINT64_MAX); }},
  };
}

TEST_P(GptCheck, NamesTheFieldThatIsWrongInEitherCopy) {
  for (const FieldDamage& damage : FieldDamages()) {
    for (const bool primary : {true, false}) {
      Bytes bytes = bytes_;
      ChangeCopy(bytes, sector(), primary, damage.change);
      const GptImage image = Judge(bytes, sector());
      const GptCopyKind kind = primary ? GptCopyKind::kPrimary : GptCopyKind::kBackup;
      EXPECT_TRUE(HasProblem(image, kind, damage.field)) << damage.field << (primary ? " primary" : " backup");
      EXPECT_EQ(image.state, primary ? GptState::kBackupOnly : GptState::kPrimaryOnly) << damage.field;
    }
  }
}

TEST_P(GptCheck, NamesChecksumsAndSignature) {
  const uint64_t last = bytes_.size() / sector() - 1;
  for (const bool primary : {true, false}) {
    const GptCopyKind kind = primary ? GptCopyKind::kPrimary : GptCopyKind::kBackup;
    const size_t header = (primary ? 1 : last) * sector();
    Bytes bytes = bytes_;
    bytes[header + kAtDiskGuid] ^= 1;
    EXPECT_TRUE(HasProblem(Judge(bytes, sector()), kind, "HeaderCRC32"));
    bytes = bytes_;
    bytes[header] ^= 1;
    EXPECT_TRUE(HasProblem(Judge(bytes, sector()), kind, "Signature"));
    bytes = bytes_;
    const size_t entries = (primary ? 2 : last - 128 * 128 / sector()) * sector();
    bytes[entries + 60] ^= 1;
    EXPECT_TRUE(HasProblem(Judge(bytes, sector()), kind, "PartitionEntryArrayCRC32"));
  }
}

TEST_P(GptCheck, CallsATableDamagedWhenBothCopiesAre) {
  bytes_[sector() + kAtDiskGuid] ^= 1;
  bytes_[bytes_.size() - sector() + kAtDiskGuid] ^= 1;
  const GptImage image = Judge(bytes_, sector());
  EXPECT_EQ(image.state, GptState::kDamaged);
  EXPECT_EQ(image.Current(), nullptr);
  EXPECT_TRUE(FreeRanges(image).empty());
}

TEST_P(GptCheck, TellsATruncatedAndAGrownImage) {
  Bytes truncated(bytes_.begin(), bytes_.end() - static_cast<std::ptrdiff_t>(2 * kTestMiB));
  GptImage image = Judge(truncated, sector());
  EXPECT_EQ(image.state, GptState::kDamaged);
  EXPECT_TRUE(HasProblem(image, GptCopyKind::kPrimary, "AlternateLBA"));
  EXPECT_TRUE(HasProblem(image, GptCopyKind::kBackup, "Signature"));
  Bytes grown = bytes_;
  grown.resize(grown.size() + 2 * kTestMiB);
  EXPECT_EQ(Judge(grown, sector()).state, GptState::kDamaged);
}

TEST_P(GptCheck, SaysThatTheTableIsForTheOtherSectorSize) {
  const uint32_t other = sector() == 512 ? 4096 : 512;
  const GptImage image = Judge(bytes_, other);
  EXPECT_EQ(image.state, GptState::kDamaged);
  bool said = false;
  for (const GptProblem& problem : image.problems) {
    said = said || problem.message.find("sectors of " + std::to_string(sector()) + " bytes") != std::string::npos;
  }
  EXPECT_TRUE(said);
}

TEST_P(GptCheck, TakesAnMbrTableForForeignEvenOverAGoodGpt) {
  bytes_[446 + 4] = 0x83;
  EXPECT_EQ(Judge(bytes_, sector()).state, GptState::kForeign);
  Bytes mbr_only(16 * kTestMiB);
  mbr_only[446 + 4] = 0x83;
  mbr_only[510] = 0x55;
  mbr_only[511] = 0xAA;
  const GptImage image = Judge(mbr_only, sector());
  EXPECT_EQ(image.state, GptState::kForeign);
  EXPECT_TRUE(HasProblem(image, GptCopyKind::kProtectiveMbr, "OSType"));
  EXPECT_EQ(image.Current(), nullptr);
}

TEST_P(GptCheck, TakesAHybridMbrForForeign) {
  bytes_[446 + 16 + 4] = 0x0C;
  const GptImage image = Judge(bytes_, sector());
  EXPECT_EQ(image.state, GptState::kForeign);
  EXPECT_TRUE(HasProblem(image, GptCopyKind::kProtectiveMbr, "PartitionRecord"));
}

TEST_P(GptCheck, NeverRevivesTheBackupUnderAFilesystem) {
  // What mke2fs leaves: boot block zeroed, superblock at 1024, the old backup at the end untouched.
  Bytes ext = bytes_;
  std::fill_n(ext.begin(), 1024, uint8_t{0});
  std::fill_n(ext.begin() + 1024, 8192, uint8_t{7});
  ext[1080] = 0x53;
  ext[1081] = 0xEF;
  EXPECT_EQ(Judge(ext, sector()).state, GptState::kForeign);
  Bytes kept_mbr = bytes_;
  std::fill_n(kept_mbr.begin() + sector(), 8, uint8_t{0});
  EXPECT_EQ(Judge(kept_mbr, sector()).state, GptState::kBackupOnly);
  kept_mbr[1080] = 0x53;
  kept_mbr[1081] = 0xEF;
  EXPECT_EQ(Judge(kept_mbr, sector()).state, GptState::kForeign);
  Bytes xfs = bytes_;
  std::fill_n(xfs.begin(), 32768, uint8_t{0});
  std::memcpy(xfs.data(), "XFSB", 4);
  EXPECT_EQ(Judge(xfs, sector()).state, GptState::kForeign);
  Bytes rubbish = bytes_;
  std::fill_n(rubbish.begin(), 512, uint8_t{0});
  std::fill_n(rubbish.begin() + sector(), 2 * sector(), uint8_t{9});
  EXPECT_EQ(Judge(rubbish, sector()).state, GptState::kForeign);
}

TEST_P(GptCheck, TellsBlankFromUsed) {
  Bytes bytes(16 * kTestMiB);
  EXPECT_EQ(Judge(bytes, sector()).state, GptState::kBlank);
  EXPECT_TRUE(Judge(bytes, sector()).problems.empty());
  for (const size_t at : {size_t{0}, size_t{kTestMiB - 1}, bytes.size() - kTestMiB, bytes.size() - 1}) {
    bytes[at] = 1;
    EXPECT_EQ(Judge(bytes, sector()).state, GptState::kForeign) << at;
    bytes[at] = 0;
  }
}

TEST_P(GptCheck, ListsWhatDiffersAndWhoseItIs) {
  Bytes bytes = bytes_;
  ChangeCopy(bytes, sector(), false, [](Bytes&, Bytes& e) { std::fill_n(e.begin() + 256, 128, uint8_t{0}); });
  GptImage image = Judge(bytes, sector());
  EXPECT_EQ(image.state, GptState::kDiffer);
  EXPECT_EQ(image.differing, std::vector<Guid>{NumberedGuid(3)});
  EXPECT_TRUE(image.only_ours_differ);
  EXPECT_EQ(image.Current()->entries.size(), 3U);

  ChangeCopy(bytes, sector(), false, [](Bytes&, Bytes& e) { e[48] ^= 4; });
  image = Judge(bytes, sector());
  EXPECT_EQ(image.differing, (std::vector<Guid>{NumberedGuid(1), NumberedGuid(3)}));
  EXPECT_FALSE(image.only_ours_differ);
}

TEST_P(GptCheck, DoesNotTakeAnEntryForOursThatIsSomebodyElsesInOneCopy) {
  ChangeCopy(bytes_, sector(), false, [](Bytes&, Bytes& e) { PutLe(e, 256 + kAtName, 2, 'X'); });
  const GptImage image = Judge(bytes_, sector());
  EXPECT_EQ(image.state, GptState::kDiffer);
  EXPECT_FALSE(image.only_ours_differ);
}

TEST_P(GptCheck, MarksADifferenceOfTheHeadersWithTheZeroGuid) {
  ChangeCopy(bytes_, sector(), false, [](Bytes& s, Bytes&) { s[kAtDiskGuid] ^= 1; });
  const GptImage image = Judge(bytes_, sector());
  EXPECT_EQ(image.state, GptState::kDiffer);
  EXPECT_EQ(image.differing, std::vector<Guid>{Guid{}});
  EXPECT_FALSE(image.only_ours_differ);
  EXPECT_TRUE(HasProblem(image, GptCopyKind::kBackup, "DiskGUID"));
}

TEST_P(GptCheck, CountsAsUsedWhatEitherCopyUses) {
  ChangeCopy(bytes_, sector(), true, [](Bytes&, Bytes& e) { std::fill_n(e.begin() + 256, 128, uint8_t{0}); });
  const auto free = FreeRanges(Judge(bytes_, sector()));
  ASSERT_EQ(free.size(), 3U);
  EXPECT_EQ(free[0].last, 4 * kTestMiB / sector() - 1);
}

TEST_P(GptCheck, IgnoresRubbishInUnusedEntries) {
  ChangeCopy(bytes_, sector(), false, [](Bytes&, Bytes& e) { e[5 * 128 + 40] = 1; });
  EXPECT_EQ(Judge(bytes_, sector()).state, GptState::kValid);
}

TEST(GptGeometry, RefusesADeviceWithoutRoom) {
  auto image = ReadGptImage({4096, 4096}, [](uint64_t, size_t length) { return std::vector<uint8_t>(length); });
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.error().err, EINVAL);
}

INSTANTIATE_TEST_SUITE_P(SectorSizes, GptCheck, testing::Values(512U, 4096U));

}  // namespace
}  // namespace meshstor
