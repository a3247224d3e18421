#include "native/core/device_mapper.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/dm-ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "native/test/device_mapper_fixture.h"

namespace meshstor {
namespace {

TEST_F(Dm, CreatesLoadsResumesWithoutUdevAndMakesTheLink) {
  ExpectControl();
  ExpectCreate();
  ExpectLoad();
  ExpectResume();
  ExpectDescribe();
  ExpectLink();
  auto device = dm_.Create(kName, kUuid, kTable);
  ASSERT_TRUE(device.ok()) << device.error().syscall;
  EXPECT_EQ(device.value().name, kName);
  EXPECT_EQ(device.value().uuid, kUuid);
  EXPECT_EQ(device.value().kernel_name, "dm-3");
  EXPECT_EQ(device.value().path, "/dev/dm-3");
  EXPECT_EQ(device.value().dev_number, "253:3");
  EXPECT_EQ(device.value().open_count, 1u);
  EXPECT_FALSE(device.value().suspended);
  ASSERT_EQ(device.value().table.size(), 1u);
  EXPECT_EQ(device.value().table[0].params, kTable[0].params);
  ASSERT_EQ(device.value().status.size(), 1u);
  EXPECT_EQ(device.value().status[0].params, "2 0 0 0 1 1 A 0 1 2 259:4 A 0 0 1");
}

TEST_F(Dm, ARefusedTableLeavesNoDevice) {
  ExpectControl();
  ExpectCreate();
  ExpectLoad().Fail(EINVAL);
  ExpectRemove();
  sys_.Expect("unlink", "/dev/mapper/meshstor-p1-3").Fail(ENOENT);
  auto device = dm_.Create(kName, kUuid, kTable);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().err, EINVAL);
  EXPECT_EQ(device.error().syscall, "ioctl DM_TABLE_LOAD");
  EXPECT_EQ(device.error().path, "/dev/mapper/meshstor-p1-3");
}

TEST_F(Dm, AFailedResumeLeavesNoDeviceAndReportsItself) {
  ExpectControl();
  ExpectCreate();
  ExpectLoad();
  ExpectResume().Fail(ENOMEM);
  ExpectRemove().Fail(EBUSY);
  sys_.Expect("unlink").Fail(ENOENT);
  EXPECT_EQ(dm_.Create(kName, kUuid, kTable).error().err, ENOMEM);
}

TEST_F(Dm, FinishesADeviceThatNeverGotATable) {
  ExpectControl();
  ExpectCreate().Fail(EBUSY);
  ExpectIoctl(DM_DEV_STATUS).Return(0).With([](void* data, size_t) {
    PutDevice(data, DM_SUSPEND_FLAG | DM_INACTIVE_PRESENT_FLAG);
  });
  ExpectLoad();
  ExpectResume();
  ExpectDescribe();
  ExpectLink();
  EXPECT_TRUE(dm_.Create(kName, kUuid, kTable).ok());
}

TEST_F(Dm, ADeviceWithALiveTableIsNotTakenOver) {
  ExpectControl();
  ExpectCreate().Fail(EBUSY);
  ExpectIoctl(DM_DEV_STATUS).Return(0).With([](void* data, size_t) { PutDevice(data, DM_ACTIVE_PRESENT_FLAG); });
  EXPECT_EQ(dm_.Create(kName, kUuid, kTable).error().err, EEXIST);
}

TEST_F(Dm, AnUnfinishedDeviceOfSomebodyElseIsNotTakenOver) {
  ExpectControl();
  ExpectIoctl(DM_DEV_CREATE).Fail(EBUSY);
  ExpectIoctl(DM_DEV_STATUS).Return(0).With([](void* data, size_t) { PutDevice(data, DM_SUSPEND_FLAG); });
  EXPECT_EQ(dm_.Create(kName, "LVM-x", kTable).error().err, EEXIST);
}

TEST_F(Dm, UdevMayMakeTheLinkFirst) {
  ExpectControl();
  ExpectCreate();
  ExpectLoad();
  ExpectResume();
  ExpectDescribe();
  sys_.Expect("stat", "/dev/dm-3").Return(0);
  sys_.Expect("stat", "/dev/mapper/meshstor-p1-3").Fail(ENOENT);
  sys_.Expect("unlink").Fail(ENOENT);
  sys_.Expect("symlink").Fail(EEXIST);
  sys_.Expect("stat", "/dev/mapper/meshstor-p1-3").Return(0).With([](void* data, size_t) {
    static_cast<struct stat*>(data)->st_mode = S_IFBLK;
    static_cast<struct stat*>(data)->st_rdev = gnu_dev_makedev(253, 3);
  });
  EXPECT_TRUE(dm_.Create(kName, kUuid, kTable).ok());
}

TEST_F(Dm, WithoutDevtmpfsItMakesANode) {
  ExpectControl();
  ExpectCreate();
  ExpectLoad();
  ExpectResume();
  ExpectDescribe();
  sys_.Expect("stat", "/dev/dm-3").Fail(ENOENT);
  sys_.Expect("stat", "/dev/mapper/meshstor-p1-3").Return(0).With([](void* data, size_t) {
    static_cast<struct stat*>(data)->st_mode = S_IFBLK;
    static_cast<struct stat*>(data)->st_rdev = gnu_dev_makedev(253, 9);
  });
  sys_.Expect("unlink", "/dev/mapper/meshstor-p1-3").Return(0);
  sys_.Expect("mknod", "/dev/mapper/meshstor-p1-3").Return(0);
  EXPECT_TRUE(dm_.Create(kName, kUuid, kTable).ok());
}

TEST_F(Dm, ReloadsByLoadSuspendWithoutFlushResume) {
  ExpectControl();
  ExpectLoad();
  ExpectSuspend();
  ExpectResume();
  EXPECT_TRUE(dm_.Reload(kName, kTable).ok());
}

TEST_F(Dm, AReloadThatCannotSuspendDropsTheNewTable) {
  ExpectControl();
  ExpectLoad();
  ExpectSuspend().Fail(ENXIO);
  ExpectIoctl(DM_TABLE_CLEAR).Return(0);
  EXPECT_EQ(dm_.Reload(kName, kTable).error().err, ENXIO);
}

TEST_F(Dm, AReloadWhoseTableIsRefusedLastRunsOnWithTheOldOne) {
  ExpectControl();
  ExpectLoad();
  ExpectSuspend();
  ExpectResume().Fail(EINVAL);
  ExpectResume();
  auto reloaded = dm_.Reload(kName, kTable);
  ASSERT_FALSE(reloaded.ok());
  EXPECT_EQ(reloaded.error().err, EINVAL);
}

TEST_F(Dm, AnInterruptedSuspendIsTriedAgain) {
  ExpectControl();
  ExpectSuspend().Fail(EINTR);
  ExpectSuspend();
  EXPECT_TRUE(dm_.Suspend(kName).ok());
}

TEST_F(Dm, ResumeKeepsUdevOut) {
  ExpectControl();
  ExpectResume();
  EXPECT_TRUE(dm_.Resume(kName).ok());
}

TEST_F(Dm, AMessageGoesToSectorZero) {
  ExpectControl();
  ExpectIoctl(DM_TARGET_MSG).Return(0).With([](void* data, size_t) {
    const auto* message = reinterpret_cast<const dm_target_msg*>(static_cast<uint8_t*>(data) + sizeof(dm_ioctl));
    EXPECT_EQ(message->sector, 0u);
    EXPECT_STREQ(message->message, "fail_if_no_path");
    EXPECT_EQ(Header(data).data_size, sizeof(dm_ioctl) + 8 + sizeof("fail_if_no_path"));
  });
  EXPECT_TRUE(dm_.Message(kName, "fail_if_no_path").ok());
}

TEST_F(Dm, RemovesDeviceAndNode) {
  ExpectControl();
  ExpectRemove();
  sys_.Expect("unlink", "/dev/mapper/meshstor-p1-3").Return(0);
  EXPECT_TRUE(dm_.Remove(kName).ok());
}

TEST_F(Dm, ADeviceThatIsGoneIsRemovedAndItsNodeToo) {
  ExpectControl();
  ExpectRemove().Fail(ENXIO);
  sys_.Expect("unlink", "/dev/mapper/meshstor-p1-3").Return(0);
  EXPECT_TRUE(dm_.Remove(kName).ok());
}

TEST_F(Dm, AnOpenDeviceIsBusyAndKeepsItsNode) {
  ExpectControl();
  ExpectRemove().Fail(EBUSY);
  EXPECT_EQ(dm_.Remove(kName).error().err, EBUSY);
}

TEST_F(Dm, AnotherInterfaceVersionIsRefused) {
  sys_.Expect("open", "/dev/mapper/control").Return(5);
  ExpectIoctl(DM_VERSION).Fail(EINVAL);
  EXPECT_EQ(dm_.Remove(kName).error().err, EINVAL);
}

}  // namespace
}  // namespace meshstor
