#include "native/core/gpt.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "native/test/gpt_image.h"

namespace meshstor {
namespace {

constexpr char kPath[] = "/dev/memory-disk";

/// On a block device that has the three partitions of TableImage in its kernel.
class GptOnDisk : public testing::TestWithParam<uint32_t> {
 protected:
  GptOnDisk() {
    disk_.Put(1, {1 * kTestMiB, 2 * kTestMiB, true});
    disk_.Put(2, {8 * kTestMiB, 1 * kTestMiB, true});
    disk_.Put(3, {4 * kTestMiB, 2 * kTestMiB});
  }
  uint32_t sector() const { return GetParam(); }
  int AddError(const NewPartition& wanted) {
    auto added = AddGptPartition(disk_, kPath, wanted, options_);
    return added.ok() ? 0 : added.error().err;
  }
  static int ErrorOf(const Status& status) { return status.ok() ? 0 : status.error().err; }
  GptImage Now() const { return Judge(disk_.content, sector()); }
  std::string Events() const {
    std::string text;
    for (const std::string& event : disk_.events) text += event + "; ";
    return text;
  }

  MemoryDisk disk_{TableImage(GetParam()), GetParam(), true};
  GptOptions options_ = OptionsFor(disk_, GetParam());
};

TEST_P(GptOnDisk, WritesBackupThenPrimaryWithASyncBetweenAndTellsTheKernelLast) {
  auto node = AddGptPartition(disk_, kPath, Wanted(9, 6, 2, "meshstor-new"), options_);
  ASSERT_TRUE(node.ok());
  EXPECT_EQ(node.value(), "/dev/nvme9n1p4");
  const uint64_t last = disk_.content.size() / sector() - 1;
  const auto lba = [](uint64_t value) { return std::to_string(value); };
  const std::string wipe =
      "write " + lba(6 * kTestMiB / sector()) + "; write " + lba(7 * kTestMiB / sector()) + "; sync; ";
  const std::string backup = "write " + lba(last - 16384 / sector()) + "; write " + lba(last) + "; sync; ";
  EXPECT_EQ(Events(), "lock; " + wipe + backup + "write 2; write 1; sync; kernel add 4; ");
  EXPECT_EQ(disk_.parts.at(4).start_bytes, 6 * kTestMiB);
  EXPECT_EQ(disk_.parts.at(4).size_bytes, 2 * kTestMiB);
}

TEST_P(GptOnDisk, WipesBothEndsOfANewPartitionBeforeItAppears) {
  std::fill_n(disk_.content.begin() + 9 * kTestMiB, 4 * kTestMiB, uint8_t{0xAB});
  ASSERT_EQ(AddError(Wanted(9, 9, 4, "meshstor-new")), 0);
  const auto at = disk_.content.begin() + 9 * kTestMiB;
  EXPECT_TRUE(std::all_of(at, at + kTestMiB, [](uint8_t b) { return b == 0; }));
  EXPECT_EQ(at[2 * kTestMiB], 0xAB);
  EXPECT_TRUE(std::all_of(at + 3 * kTestMiB, at + 4 * kTestMiB, [](uint8_t b) { return b == 0; }));
  EXPECT_EQ(at[-1], 0xF2);
  EXPECT_EQ(at[4 * kTestMiB], 0);
}

TEST_P(GptOnDisk, TakesTheSamePartitionForSuccessAndOnlyCompletesTheKernel) {
  const NewPartition wanted = Wanted(9, 6, 2, "meshstor-new");
  disk_.blkpg_add_errno = ENOMEM;
  EXPECT_EQ(AddError(wanted), ENOMEM);
  disk_.blkpg_add_errno = 0;
  disk_.events.clear();
  EXPECT_EQ(AddError(wanted), 0);
  EXPECT_EQ(Events(), "lock; kernel add 4; ");
  disk_.events.clear();
  EXPECT_EQ(AddError(wanted), 0);
  EXPECT_EQ(Events(), "lock; ");
}

TEST_P(GptOnDisk, RefusesWhatIsTakenMisalignedOrTooLong) {
  const auto before = disk_.content;
  EXPECT_EQ(AddError(Wanted(3, 6, 2, "meshstor-abc")), EEXIST);
  EXPECT_EQ(AddError(Wanted(9, 2, 2, "meshstor-x")), ENOSPC);
  EXPECT_EQ(AddError(Wanted(9, 7, 2, "meshstor-x")), ENOSPC);
  EXPECT_EQ(AddError(Wanted(9, 14, 2, "meshstor-x")), ENOSPC);
  EXPECT_EQ(AddError(Wanted(9, 0, 1, "meshstor-x")), ENOSPC);
  EXPECT_EQ(AddError(Wanted(9, 6, 0, "meshstor-x")), EINVAL);
  EXPECT_EQ(AddError(Wanted(9, 6, 1, std::string(37, 'x'))), EINVAL);
  NewPartition odd = Wanted(9, 6, 1, "meshstor-x");
  odd.start_bytes += sector();
  EXPECT_EQ(AddError(odd), EINVAL);
  odd = Wanted(9, 6, 1, "meshstor-x");
  odd.size_bytes += 1;
  EXPECT_EQ(AddError(odd), EINVAL);
  odd = Wanted(9, 6, 1, "meshstor-x");
  odd.unique = {};
  EXPECT_EQ(AddError(odd), EINVAL);
  EXPECT_EQ(disk_.content, before);
}

TEST_P(GptOnDisk, StaysOffWhatOnlyTheKernelHas) {
  disk_.Put(7, {11 * kTestMiB, 1 * kTestMiB});
  const auto before = disk_.content;
  EXPECT_EQ(AddError(Wanted(9, 10, 3, "meshstor-x")), EBUSY);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(2), 4 * kTestMiB, options_)), EBUSY);
  EXPECT_EQ(disk_.content, before);
  disk_.Put(4, {12 * kTestMiB, 1 * kTestMiB});
  auto node = AddGptPartition(disk_, kPath, Wanted(9, 6, 1, "meshstor-x"), options_);
  ASSERT_TRUE(node.ok());
  EXPECT_EQ(node.value(), "/dev/nvme9n1p5") << "number 4 is the kernel's";
}

TEST_P(GptOnDisk, RemovesFromTheKernelFirstAndWritesNothingWhileItIsBusy) {
  disk_.Put(3, {4 * kTestMiB, 2 * kTestMiB, true});
  const auto before = disk_.content;
  EXPECT_EQ(ErrorOf(RemoveGptPartition(disk_, kPath, NumberedGuid(3), options_)), EBUSY);
  EXPECT_EQ(disk_.content, before);
  disk_.Put(3, {4 * kTestMiB, 2 * kTestMiB});
  disk_.events.clear();
  EXPECT_EQ(ErrorOf(RemoveGptPartition(disk_, kPath, NumberedGuid(3), options_)), 0);
  EXPECT_EQ(Events().rfind("lock; kernel del 3; write ", 0), 0U) << Events();
  EXPECT_EQ(Now().primary.entries.size(), 2U);
  EXPECT_EQ(ErrorOf(RemoveGptPartition(disk_, kPath, NumberedGuid(3), options_)), 0) << "gone already";
}

TEST_P(GptOnDisk, RefusesToRemoveWhenTheKernelHasSomethingElseUnderTheNumber) {
  disk_.Put(3, {12 * kTestMiB, 1 * kTestMiB});
  const auto before = disk_.content;
  EXPECT_EQ(ErrorOf(RemoveGptPartition(disk_, kPath, NumberedGuid(3), options_)), EBUSY);
  EXPECT_EQ(disk_.content, before);
  EXPECT_EQ(disk_.parts.count(3), 1U);
}

TEST_P(GptOnDisk, GrowsTheTableBeforeTheKernelAndShrinksTheKernelBeforeTheTable) {
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 4 * kTestMiB, options_)), 0);
  EXPECT_EQ(disk_.events.back(), "kernel resize 3");
  EXPECT_EQ(disk_.parts.at(3).size_bytes, 4 * kTestMiB);
  disk_.events.clear();
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 1 * kTestMiB, options_)), 0);
  EXPECT_EQ(Events().rfind("lock; kernel resize 3; write ", 0), 0U) << Events();
  EXPECT_EQ(disk_.parts.at(3).size_bytes, 1 * kTestMiB);
  disk_.events.clear();
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 1 * kTestMiB, options_)), 0);
  EXPECT_EQ(Events(), "lock; ");
}

TEST_P(GptOnDisk, KeepsTypeNameAndAttributesWhenItResizes) {
  ChangeCopy(disk_.content, sector(), true, [](std::vector<uint8_t>&, std::vector<uint8_t>& e) { e[256 + 48] = 5; });
  ChangeCopy(disk_.content, sector(), false, [](std::vector<uint8_t>&, std::vector<uint8_t>& e) { e[256 + 48] = 5; });
  ASSERT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 3 * kTestMiB, options_)), 0);
  EXPECT_EQ(disk_.content[2 * sector() + 256 + 48], 5);
  EXPECT_EQ(Now().primary.entries[2].name, "meshstor-abc");
}

TEST_P(GptOnDisk, RefusesToResizeOverANeighbourOrTheEnd) {
  const auto before = disk_.content;
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 5 * kTestMiB, options_)), ENOSPC);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(2), 8 * kTestMiB, options_)), ENOSPC);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 0, options_)), EINVAL);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), 1000, options_)), EINVAL);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(99), kTestMiB, options_)), ENOENT);
  EXPECT_EQ(disk_.content, before);
}

TEST_P(GptOnDisk, RepairsTheBadCopyBeforeItChangesAnything) {
  for (const bool primary : {true, false}) {
    MemoryDisk disk(TableImage(sector()), sector(), false);
    const size_t header = primary ? sector() : disk.content.size() - sector();
    disk.content[header + 60] ^= 1;
    auto added = AddGptPartition(disk, kPath, Wanted(9, 6, 2, "meshstor-new"), OptionsFor(disk, sector()));
    ASSERT_TRUE(added.ok());
    EXPECT_EQ(Judge(disk.content, sector()).state, GptState::kValid);
    EXPECT_EQ(Judge(disk.content, sector()).primary.entries.size(), 4U);
  }
}

TEST_P(GptOnDisk, RefusesTablesThatAreNotOursToRepair) {
  ChangeCopy(disk_.content, sector(), false, [](std::vector<uint8_t>&, std::vector<uint8_t>& e) { e[48] ^= 4; });
  const auto before = disk_.content;
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), EUCLEAN);
  EXPECT_EQ(AddError(Wanted(9, 6, 2, "meshstor-new")), EUCLEAN);
  EXPECT_EQ(ErrorOf(RemoveGptPartition(disk_, kPath, NumberedGuid(3), options_)), EUCLEAN);
  EXPECT_EQ(ErrorOf(ResizeGptPartition(disk_, kPath, NumberedGuid(3), kTestMiB, options_)), EUCLEAN);
  EXPECT_EQ(disk_.content, before);
  disk_.content.assign(disk_.content.size(), 0);
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), EUCLEAN) << "blank";
}

TEST_P(GptOnDisk, RepairsFromThePrimaryWhenOnlyOurEntriesDiffer) {
  ChangeCopy(disk_.content, sector(), false,
             [](std::vector<uint8_t>&, std::vector<uint8_t>& e) { std::fill_n(e.begin() + 256, 128, uint8_t{0}); });
  ASSERT_EQ(Now().state, GptState::kDiffer);
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), 0);
  EXPECT_EQ(Now().state, GptState::kValid);
  EXPECT_EQ(Now().backup.entries.size(), 3U);
}

TEST_P(GptOnDisk, AddsToTheKernelWhatItLacksAndOtherwiseDoesNothing) {
  disk_.Drop(1);
  disk_.Drop(3);
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), 0);
  EXPECT_EQ(Events(), "lock; kernel add 1; kernel add 3; ");
  disk_.events.clear();
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), 0);
  EXPECT_EQ(Events(), "lock; ");
}

TEST_P(GptOnDisk, PutsBackAMissingProtectiveMbr) {
  std::fill_n(disk_.content.begin(), 512, uint8_t{0});
  EXPECT_EQ(Now().state, GptState::kValid);
  EXPECT_FALSE(Now().mbr_good);
  EXPECT_EQ(ErrorOf(RepairGpt(disk_, kPath, options_)), 0);
  EXPECT_TRUE(Now().mbr_good);
}

TEST_P(GptOnDisk, InitializesOnlyABlankDisk) {
  EXPECT_EQ(ErrorOf(InitializeGpt(disk_, kPath, NumberedGuid(1), options_)), EEXIST);
  MemoryDisk blank(std::vector<uint8_t>(16 * kTestMiB), sector(), true);
  const GptOptions options = OptionsFor(blank, sector());
  EXPECT_EQ(ErrorOf(InitializeGpt(blank, kPath, Guid{}, options)), EINVAL);
  blank.Put(1, {kTestMiB, kTestMiB});
  EXPECT_EQ(ErrorOf(InitializeGpt(blank, kPath, NumberedGuid(1), options)), EBUSY);
  blank.Drop(1);
  EXPECT_TRUE(blank.writes.empty());
  EXPECT_EQ(ErrorOf(InitializeGpt(blank, kPath, NumberedGuid(1), options)), 0);
  EXPECT_EQ(Judge(blank.content, sector()).state, GptState::kValid);
  EXPECT_EQ(ErrorOf(InitializeGpt(blank, kPath, NumberedGuid(1), options)), EEXIST);
  MemoryDisk small(std::vector<uint8_t>(3 * kTestMiB), sector(), true);
  EXPECT_EQ(ErrorOf(InitializeGpt(small, kPath, NumberedGuid(1), OptionsFor(small, sector()))), ENOSPC);
}

TEST_P(GptOnDisk, GivesUpOnALockedDiskAndReadsItNevertheless) {
  disk_.locked_by_other = true;
  EXPECT_EQ(AddError(Wanted(9, 6, 2, "meshstor-new")), EAGAIN);
  EXPECT_TRUE(disk_.writes.empty());
  disk_.content[sector() + 60] ^= 1;
  auto image = ReadGpt(disk_, kPath, options_);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image.value().state, GptState::kBackupOnly);
}

TEST_P(GptOnDisk, LooksAgainUnderTheLockBeforeItReportsDamage) {
  ASSERT_TRUE(ReadGpt(disk_, kPath, options_).ok());
  EXPECT_EQ(Events(), "");
  disk_.content[sector() + 60] ^= 1;
  ASSERT_TRUE(ReadGpt(disk_, kPath, options_).ok());
  EXPECT_EQ(Events(), "lock shared; ");
}

TEST_P(GptOnDisk, StopsAtTheFirstFailedWriteWithOneCopyWhole) {
  for (int failing = 0; failing < 6; ++failing) {
    MemoryDisk disk(TableImage(sector()), sector(), false);
    disk.fail_write_in = failing;
    disk.fail_write_errno = EIO;
    auto added = AddGptPartition(disk, kPath, Wanted(9, 6, 2, "meshstor-new"), OptionsFor(disk, sector()));
    ASSERT_FALSE(added.ok());
    EXPECT_EQ(added.error().err, EIO);
    EXPECT_EQ(added.error().syscall, "pwrite");
    EXPECT_EQ(added.error().path, kPath);
    EXPECT_EQ(static_cast<int>(disk.writes.size()), failing);
    EXPECT_NE(Judge(disk.content, sector()).Current(), nullptr);
  }
}

TEST_P(GptOnDisk, SaysSoWhenTheTableIsFull) {
  MemoryDisk disk(std::vector<uint8_t>(160 * kTestMiB), sector(), false);
  const GptOptions options = OptionsFor(disk, sector());
  ASSERT_TRUE(InitializeGpt(disk, kPath, NumberedGuid(250), options).ok());
  std::vector<uint8_t> entries(16384);
  const GptHeader header = Judge(disk.content, sector()).primary.header;
  for (uint32_t number = 1; number <= 128; ++number) {
    const uint64_t first = number * kTestMiB / sector();
    EncodeEntry(header,
                {number, MakeGuid(kForeignType), NumberedGuid(static_cast<uint8_t>(number)), first, first, "data"},
                entries);
  }
  for (const bool primary : {true, false}) {
    ChangeCopy(disk.content, sector(), primary,
               [&entries](std::vector<uint8_t>&, std::vector<uint8_t>& e) { e = entries; });
  }
  ASSERT_EQ(Judge(disk.content, sector()).state, GptState::kValid);
  auto added = AddGptPartition(disk, kPath, Wanted(222, 140, 1, "meshstor-x"), options);
  ASSERT_FALSE(added.ok());
  EXPECT_EQ(added.error().err, ENOSPC);
  EXPECT_NE(added.error().message.find("no free entry"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(SectorSizes, GptOnDisk, testing::Values(512U, 4096U));

}  // namespace
}  // namespace meshstor
