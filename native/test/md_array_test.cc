#include "native/core/md_array.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

constexpr char kMd[] = "/sys/block/md127";

/// A healthy two-way mirror `md127` of `dm-3` and `dm-4`, mounted, as sysfs of a 6.1 kernel shows it.
class MdTree : public ::testing::Test {
 protected:
  MdTree() : sysfs_(RealSyscalls(), tree_.root()) {
    tree_.File("/proc/self/mountinfo",
               "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
               "90 21 9:127 / /var/lib/kubelet/x rw,noatime shared:5 - xfs /dev/md127 rw,noquota\n");
    tree_.File("/sys/block/sda/size", "8\n");
    Attribute("/dev", "9:127\n");
    Attribute("/size", "131072\n");
    tree_.Dir(std::string(kMd) + "/holders");
    for (const auto& [name, value] :
         std::vector<std::pair<std::string, std::string>>{{"array_state", "clean"},
                                                          {"level", "raid1"},
                                                          {"raid_disks", "2"},
                                                          {"degraded", "0"},
                                                          {"metadata_version", "1.2"},
                                                          {"sync_action", "idle"},
                                                          {"sync_completed", "none"},
                                                          {"sync_speed", "none"},
                                                          {"sync_max", "max"},
                                                          {"resync_start", "none"},
                                                          {"uuid", "10111213-1415-1617-1819-1a1b1c1d1e1f"}}) {
      Attribute("/md/" + name, value + "\n");
    }
    Member("dm-3", "253:3", "in_sync", "0");
    Member("dm-4", "253:4", "in_sync,write_mostly", "1");
  }

  void Attribute(const std::string& path, const std::string& text) { tree_.File(kMd + path, text); }
  void Member(const std::string& name, const std::string& number, const std::string& state, const std::string& slot) {
    const std::string directory = "/md/dev-" + name;
    Attribute(directory + "/state", state + "\n");
    Attribute(directory + "/slot", slot + "\n");
    Attribute(directory + "/errors", "0\n");
    tree_.File("/sys/block/" + name + "/dev", number + "\n");
    tree_.Link(kMd + directory + "/block", "../../../" + name);
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(tree_.root() + kMd + path); }
  MdArray One() {
    auto arrays = ReadMdArrays(sysfs_);
    EXPECT_TRUE(arrays.ok());
    EXPECT_EQ(arrays.value().size(), 1u);
    return arrays.value().empty() ? MdArray() : arrays.value()[0];
  }

  TempTree tree_;
  Sysfs sysfs_;
};

TEST_F(MdTree, ConcludesNothingFromWhatCannotBeRead) {
  Remove("/md/resync_start");
  Remove("/md/sync_action");
  const MdArray array = One();
  EXPECT_EQ(array.resync_start, "unknown");
  EXPECT_EQ(array.sync_action, "unknown");
}

TEST_F(MdTree, AnIdleArrayHasItsMembersInTheirSlotsAndNothingUnderWay) {
  const MdArray array = One();
  EXPECT_EQ(array.name, "md127");
  EXPECT_EQ(array.path, "/dev/md127");
  EXPECT_EQ(array.dev_number, "9:127");
  EXPECT_EQ(array.uuid, "10111213-1415-1617-1819-1a1b1c1d1e1f");
  EXPECT_EQ(array.array_state, "clean");
  EXPECT_EQ(array.level, "raid1");
  EXPECT_EQ(array.raid_disks, 2u);
  EXPECT_EQ(array.degraded, 0u);
  EXPECT_EQ(array.metadata_version, "1.2");
  EXPECT_EQ(array.size_bytes, 64u << 20);
  EXPECT_EQ(array.sync_action, "idle");
  EXPECT_EQ(array.sync_max, "max");
  EXPECT_EQ(array.resync_start, "none");
  EXPECT_FALSE(array.sync_done_sectors.has_value());
  EXPECT_FALSE(array.sync_total_sectors.has_value());
  EXPECT_FALSE(array.sync_speed.has_value());
  EXPECT_EQ(array.mount_points, (std::vector<std::string>{"/var/lib/kubelet/x"}));
  ASSERT_EQ(array.members.size(), 2u);
  EXPECT_EQ(array.members[1].name, "dm-4");
  EXPECT_EQ(array.members[1].path, "/dev/dm-4");
  EXPECT_EQ(array.members[1].dev_number, "253:4");
  EXPECT_EQ(array.members[1].slot, 1u);
  EXPECT_EQ(array.members[1].state, (std::vector<std::string>{"in_sync", "write_mostly"}));
}

TEST_F(MdTree, ARecoveringArraySaysHowFarItIs) {
  Attribute("/md/sync_action", "recover\n");
  Attribute("/md/sync_completed", "4096 / 131072\n");
  Attribute("/md/sync_speed", "51200\n");
  Attribute("/md/sync_max", "130944\n");
  Attribute("/md/resync_start", "4096\n");
  Attribute("/md/degraded", "1\n");
  Attribute("/md/dev-dm-4/state", "spare\n");
  const MdArray array = One();
  EXPECT_EQ(array.sync_action, "recover");
  EXPECT_EQ(array.sync_done_sectors, 4096u);
  EXPECT_EQ(array.sync_total_sectors, 131072u);
  EXPECT_EQ(array.sync_speed, 51200u);
  EXPECT_EQ(array.sync_max, "130944");
  EXPECT_EQ(array.resync_start, "4096");
}

TEST_F(MdTree, ARecoveryThatIsHeldBackHasNoProgress) {
  Attribute("/md/sync_action", "recover\n");
  Attribute("/md/sync_completed", "delayed\n");
  EXPECT_FALSE(One().sync_done_sectors.has_value());
}

TEST_F(MdTree, AOneCopyArrayIsDegradedInMdsOwnWords) {
  Remove("/md/dev-dm-4");
  Attribute("/md/degraded", "1\n");
  EXPECT_EQ(One().degraded, 1u);
  EXPECT_EQ(One().members.size(), 1u);
}

TEST_F(MdTree, AReplacementSharesTheSlotAndAFaultyMemberHasNone) {
  Attribute("/md/dev-dm-3/state", "in_sync,want_replacement\n");
  Member("dm-5", "253:5", "spare,replacement", "0");
  Member("dm-6", "253:6", "faulty", "none");
  Attribute("/md/dev-dm-6/errors", "7\n");
  const MdArray array = One();
  ASSERT_EQ(array.members.size(), 4u);
  EXPECT_EQ(array.members[2].slot, 0u);
  EXPECT_EQ(array.members[2].state, (std::vector<std::string>{"spare", "replacement"}));
  EXPECT_FALSE(array.members[3].slot.has_value());
  EXPECT_EQ(array.members[3].errors, 7u);
}

TEST_F(MdTree, AMemberWhoseDeviceIsGoneKeepsTheNameItWasAddedWith) {
  Remove("/md/dev-dm-4/block");
  const MdArray array = One();
  ASSERT_EQ(array.members.size(), 2u);
  EXPECT_EQ(array.members[1].name, "dm-4");
  EXPECT_EQ(array.members[1].dev_number, "");
}

TEST_F(MdTree, AMemberThatVanishesWhileBeingReadIsLeftOut) {
  Remove("/md/dev-dm-4/state");
  EXPECT_EQ(One().members.size(), 1u);
}

TEST_F(MdTree, AnArrayThatVanishesWhileBeingReadIsLeftOut) {
  Remove("/md/array_state");
  EXPECT_TRUE(ReadMdArrays(sysfs_).value().empty());
  Attribute("/md/array_state", "clean\n");
  Remove("/dev");
  EXPECT_TRUE(ReadMdArrays(sysfs_).value().empty());
}

TEST_F(MdTree, AReshapeNamesOldAndNewNumberOfDisksAndTheNewOneCounts) {
  Attribute("/md/raid_disks", "3 (2)\n");
  EXPECT_EQ(One().raid_disks, 3u);
}

TEST_F(MdTree, HoldersAndMountsOfPartitionsAreHoldersAndMountsOfTheArray) {
  Attribute("/md127p1/partition", "1\n");
  Attribute("/md127p1/dev", "259:9\n");
  tree_.Dir(std::string(kMd) + "/md127p1/holders/dm-9");
  tree_.Dir(std::string(kMd) + "/holders/dm-8");
  tree_.File("/proc/self/mountinfo", "90 21 259:9 / /mnt rw - xfs /dev/md127p1 rw\n");
  EXPECT_EQ(One().holders, (std::vector<std::string>{"dm-8", "dm-9"}));
  EXPECT_EQ(One().mount_points, (std::vector<std::string>{"/mnt"}));
}

TEST_F(MdTree, AnAllZeroUuidIsNone) {
  Attribute("/md/uuid", "00000000-0000-0000-0000-000000000000\n");
  EXPECT_FALSE(One().uuid.has_value());
}

TEST_F(MdTree, ADiskThatOnlySoundsLikeAnArrayIsNone) {
  tree_.File("/sys/block/mdfoo/size", "8\n");
  EXPECT_EQ(ReadMdArrays(sysfs_).value().size(), 1u);
}

TEST_F(MdTree, WritesGoToTheMembersStateAndTheArraysAttribute) {
  Attribute("/md/dev-dm-4/state", "");
  Attribute("/md/sync_max", "");
  EXPECT_TRUE(SetMdMemberState(sysfs_, "md127", "dm-4", "want_replacement").ok());
  EXPECT_EQ(tree_.Content(std::string(kMd) + "/md/dev-dm-4/state"), "want_replacement");
  EXPECT_TRUE(SetMdAttribute(sysfs_, "md127", "sync_max", "1024").ok());
  EXPECT_EQ(tree_.Content(std::string(kMd) + "/md/sync_max"), "1024");
}

TEST_F(MdTree, WordsAreWrittenAsMdTakesThemNotAsItShowsThem) {
  for (const auto& [word, text] :
       std::vector<std::pair<std::string, std::string>>{{"write_mostly", "writemostly"},
                                                        {"-write_mostly", "-writemostly"},
                                                        {"in_sync", "insync"},
                                                        {"-in_sync", "-insync"},
                                                        {"-want_replacement", "-want_replacement"}}) {
    Attribute("/md/dev-dm-4/state", "");
    EXPECT_TRUE(SetMdMemberState(sysfs_, "md127", "dm-4", word).ok());
    EXPECT_EQ(tree_.Content(std::string(kMd) + "/md/dev-dm-4/state"), text);
  }
}

TEST_F(MdTree, WritesNameWhatIsMissingAndNeverLeaveSysfs) {
  auto missing = SetMdMemberState(sysfs_, "md127", "dm-9", "faulty");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().err, ENOENT);
  EXPECT_EQ(missing.error().syscall, "open");
  EXPECT_EQ(missing.error().path, tree_.root() + kMd + "/md/dev-dm-9/state");
  EXPECT_EQ(SetMdAttribute(sysfs_, "md127", "../dev", "x").error().err, EINVAL);
  EXPECT_EQ(SetMdAttribute(sysfs_, "..", "dev", "x").error().err, EINVAL);
  EXPECT_EQ(StopMdArray(sysfs_, "a/b").error().err, EINVAL);
}

TEST_F(MdTree, StoppingAnArrayThatIsGoneTouchesNoDevice) {
  tree_.File("/dev/md9", "");
  EXPECT_TRUE(StopMdArray(sysfs_, "md9").ok());
  Attribute("/md/array_state", "clear\n");
  EXPECT_TRUE(StopMdArray(sysfs_, "md127").ok());
}

TEST_F(MdTree, AStopThatTheKernelRefusesIsAnError) {
  tree_.File("/dev/md127", "");  // a plain file knows no STOP_ARRAY
  auto stopped = StopMdArray(sysfs_, "md127");
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().err, ENOTTY);
  EXPECT_EQ(stopped.error().syscall, "ioctl STOP_ARRAY");
}

TEST_F(MdTree, AnArrayThatIsStillInSysfsIsNotStopped) {
  auto stopped = StopMdArray(sysfs_, "md127", std::chrono::milliseconds(50));  // no node: gone, says open
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().err, ETIMEDOUT);
}

TEST(NormalizeMdUuid, FoldsEveryNotation) {
  const std::string expected = "10111213-1415-1617-1819-1a1b1c1d1e1f";
  EXPECT_EQ(NormalizeMdUuid("10111213:14151617:18191A1B:1C1D1E1F"), expected);
  EXPECT_EQ(NormalizeMdUuid("101112131415161718191a1b1c1d1e1f"), expected);
  EXPECT_EQ(NormalizeMdUuid(expected), expected);
  for (const char* bad :
       {"", "xyz", "1011", "00000000-0000-0000-0000-000000000000", "10111213:14151617:18191a1b:1c1d1e1f0"}) {
    EXPECT_EQ(NormalizeMdUuid(bad), "") << bad;
  }
}

TEST(ReadMdArrays, SaysWhenThereIsNoSysfs) {
  TempTree tree;
  EXPECT_EQ(ReadMdArrays(Sysfs(RealSyscalls(), tree.root())).error().err, ENOENT);
}

}  // namespace
}  // namespace meshstor
