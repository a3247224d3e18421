#include "native/core/device_mapper.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>

#include "native/test/scripted_syscalls.h"

namespace meshstor {
namespace {

constexpr char kName[] = "meshstor-p1-3";
constexpr char kUuid[] = "MESHSTOR-p1-3";
/// Flags in the cookie's upper half: no subsystem, disk or other rules; a primary event.
constexpr uint32_t kCookie = (0x02u | 0x04u | 0x08u | 0x40u) << 16;
const std::vector<DmTarget> kTable = {
    {0, 2048, "multipath", "3 queue_if_no_path queue_mode bio 0 1 1 service-time 0 1 1 259:4 1"}};

dm_ioctl& Header(void* data) { return *static_cast<dm_ioctl*>(data); }

/// Puts targets into a reply the way the kernel does: `next` counts from the first one.
void PutTargets(void* data, const std::vector<DmTarget>& targets) {
  auto* start = static_cast<uint8_t*>(data) + sizeof(dm_ioctl);
  uint8_t* at = start;
  for (const DmTarget& target : targets) {
    dm_target_spec spec = {};
    spec.sector_start = target.start_sectors;
    spec.length = target.length_sectors;
    std::memcpy(spec.target_type, target.type.c_str(), target.type.size());
    uint8_t* after = at + ((sizeof(spec) + target.params.size() + 1 + 7) & ~size_t{7});
    spec.next = static_cast<uint32_t>(after - start);
    std::memcpy(at, &spec, sizeof(spec));
    std::memcpy(at + sizeof(spec), target.params.c_str(), target.params.size() + 1);
    at = after;
  }
  Header(data).data_start = sizeof(dm_ioctl);
  Header(data).data_size = static_cast<uint32_t>(sizeof(dm_ioctl) + static_cast<size_t>(at - start));
  Header(data).target_count = static_cast<uint32_t>(targets.size());
}

void PutDevice(void* data, uint32_t flags) {
  std::memcpy(Header(data).name, kName, sizeof(kName));
  std::memcpy(Header(data).uuid, kUuid, sizeof(kUuid));
  Header(data).dev = gnu_dev_makedev(253, 3);
  Header(data).open_count = 1;
  Header(data).flags = flags;
}

class Dm : public ::testing::Test {
 protected:
  Dm() : dm_(Sysfs(sys_)) {}

  ScriptedSyscalls::Step& ExpectIoctl(unsigned long request) {
    char text[32];
    std::snprintf(text, sizeof(text), "0x%lx", request);
    return sys_.Expect("ioctl", text);
  }
  void ExpectControl() {
    sys_.Expect("open", "/dev/mapper/control").Return(5);
    ExpectIoctl(DM_VERSION).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).version[0], 4u);
      EXPECT_EQ(Header(data).version[1], 0u) << "a kernel refuses a minor version above its own";
      EXPECT_EQ(Header(data).data_size, sizeof(dm_ioctl));
    });
  }
  ScriptedSyscalls::Step& ExpectCreate() {
    return ExpectIoctl(DM_DEV_CREATE).Return(0).With([](void* data, size_t) {
      EXPECT_STREQ(Header(data).name, kName);
      EXPECT_STREQ(Header(data).uuid, kUuid);
    });
  }
  ScriptedSyscalls::Step& ExpectLoad() {
    return ExpectIoctl(DM_TABLE_LOAD).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).target_count, 1u);
      const auto* spec = reinterpret_cast<const dm_target_spec*>(static_cast<uint8_t*>(data) + sizeof(dm_ioctl));
      EXPECT_EQ(spec->length, 2048u);
      EXPECT_STREQ(spec->target_type, "multipath");
      EXPECT_EQ(reinterpret_cast<const char*>(spec + 1), kTable[0].params);
      EXPECT_EQ(spec->next % 8, 0u);
    });
  }
  ScriptedSyscalls::Step& ExpectResume() {
    return ExpectIoctl(DM_DEV_SUSPEND).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).flags & DM_SUSPEND_FLAG, 0u);
      EXPECT_EQ(Header(data).event_nr, kCookie);
    });
  }
  ScriptedSyscalls::Step& ExpectSuspend() {
    return ExpectIoctl(DM_DEV_SUSPEND).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).flags, DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG);
    });
  }
  ScriptedSyscalls::Step& ExpectRemove() {
    return ExpectIoctl(DM_DEV_REMOVE).Return(0).With([](void* data, size_t) {
      EXPECT_STREQ(Header(data).name, kName);
      EXPECT_EQ(Header(data).event_nr, kCookie);
    });
  }
  /// Table, then status, of a running device.
  void ExpectDescribe() {
    ExpectIoctl(DM_TABLE_STATUS).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).flags, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG);
      PutDevice(data, DM_ACTIVE_PRESENT_FLAG);
      PutTargets(data, kTable);
    });
    ExpectIoctl(DM_TABLE_STATUS).Return(0).With([](void* data, size_t) {
      EXPECT_EQ(Header(data).flags, DM_NOFLUSH_FLAG);
      PutDevice(data, DM_ACTIVE_PRESENT_FLAG);
      PutTargets(data, {{0, 2048, "multipath", "2 0 0 0 1 1 A 0 1 2 259:4 A 0 0 1 "}});
    });
  }
  void ExpectLink() {
    sys_.Expect("stat", "/dev/dm-3").Return(0);
    sys_.Expect("stat", "/dev/mapper/meshstor-p1-3").Fail(ENOENT);
    sys_.Expect("unlink", "/dev/mapper/meshstor-p1-3").Fail(ENOENT);
    sys_.Expect("symlink", "/dev/mapper/meshstor-p1-3").Return(0).With([](void* target, size_t) {
      EXPECT_STREQ(static_cast<const char*>(target), "../dm-3");
    });
  }

  ScriptedSyscalls sys_;
  DeviceMapper dm_;
};

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

/// A reply to DM_LIST_DEVICES with these names.
void PutNames(void* data, const std::vector<std::string>& names) {
  auto* start = static_cast<uint8_t*>(data) + sizeof(dm_ioctl);
  uint8_t* at = start;
  for (size_t i = 0; i < names.size(); ++i) {
    const size_t length = (offsetof(dm_name_list, name) + names[i].size() + 1 + 8 + 7) & ~size_t{7};
    dm_name_list entry = {};
    entry.dev = gnu_dev_makedev(253, static_cast<unsigned>(i));
    entry.next = i + 1 < names.size() ? static_cast<uint32_t>(length) : 0;
    std::memcpy(at, &entry, offsetof(dm_name_list, name));
    std::memcpy(at + offsetof(dm_name_list, name), names[i].c_str(), names[i].size() + 1);
    at += length;
  }
  Header(data).data_start = sizeof(dm_ioctl);
  Header(data).data_size = static_cast<uint32_t>(sizeof(dm_ioctl) + static_cast<size_t>(at - start));
}

TEST_F(Dm, ListsDevicesOfAPrefixWithoutThoseThatVanish) {
  ExpectControl();
  ExpectIoctl(DM_LIST_DEVICES).Return(0).With([](void* data, size_t) {
    PutNames(data, {"root", "meshstor-p1-3", "meshstor-gone-1", "home"});
  });
  ExpectDescribe();
  ExpectIoctl(DM_TABLE_STATUS).Fail(ENXIO);
  auto devices = dm_.List("meshstor-");
  ASSERT_TRUE(devices.ok());
  ASSERT_EQ(devices.value().size(), 1u);
  EXPECT_EQ(devices.value()[0].name, kName);
}

TEST_F(Dm, AsksAgainWithABiggerBufferUntilTheReplyFits) {
  ExpectControl();
  ExpectIoctl(DM_LIST_DEVICES).Return(0).With([](void* data, size_t) { Header(data).flags |= DM_BUFFER_FULL_FLAG; });
  ExpectIoctl(DM_LIST_DEVICES).Return(0).With([](void* data, size_t) {
    EXPECT_GT(Header(data).data_size, 60000u);
    PutNames(data, {"root"});
  });
  EXPECT_TRUE(dm_.List("meshstor-").value().empty());
}

TEST_F(Dm, AKernelWithoutDevicesListsNone) {
  ExpectControl();
  ExpectIoctl(DM_LIST_DEVICES).Return(0).With([](void* data, size_t) {
    Header(data).data_size = Header(data).data_start;
  });
  EXPECT_TRUE(dm_.List("").value().empty());
}

TEST_F(Dm, ADeviceWithoutTableIsListedWithAnEmptyOne) {
  ExpectControl();
  ExpectIoctl(DM_LIST_DEVICES).Return(0).With([](void* data, size_t) { PutNames(data, {kName}); });
  for (int i = 0; i < 2; ++i) {
    ExpectIoctl(DM_TABLE_STATUS).Return(0).With([](void* data, size_t) {
      PutDevice(data, DM_SUSPEND_FLAG | DM_INACTIVE_PRESENT_FLAG);
      Header(data).data_size = offsetof(dm_ioctl, data);  // as the kernel answers without a table
    });
  }
  auto devices = dm_.List("meshstor-");
  ASSERT_TRUE(devices.ok());
  ASSERT_EQ(devices.value().size(), 1u);
  EXPECT_TRUE(devices.value()[0].table.empty());
  EXPECT_TRUE(devices.value()[0].suspended);
}

TEST_F(Dm, WithoutTheModuleItSaysSo) {
  sys_.Expect("open", "/dev/mapper/control").Fail(ENODEV);
  auto devices = dm_.List("");
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.error().err, ENODEV);
  EXPECT_EQ(devices.error().path, "/dev/mapper/control");
}

TEST_F(Dm, AnotherInterfaceVersionIsRefused) {
  sys_.Expect("open", "/dev/mapper/control").Return(5);
  ExpectIoctl(DM_VERSION).Fail(EINVAL);
  EXPECT_EQ(dm_.Remove(kName).error().err, EINVAL);
}

TEST(DmBuffer, RefusesNamesThatDoNotFitOrAreNotNames) {
  EXPECT_EQ(MakeDmBuffer(std::string(128, 'a'), "", 0).error().err, ENAMETOOLONG);
  EXPECT_EQ(MakeDmBuffer("a", std::string(129, 'a'), 0).error().err, ENAMETOOLONG);
  EXPECT_TRUE(MakeDmBuffer(std::string(127, 'a'), std::string(128, 'a'), 0).ok());
  for (const char* bad : {"a/b", "..", ".", "control"}) EXPECT_EQ(MakeDmBuffer(bad, "", 0).error().err, EINVAL) << bad;
  EXPECT_EQ(MakeDmTableBuffer("a", {{0, 1, "a-name-of-16-chr", ""}}).error().err, EINVAL);
}

TEST(DmBuffer, OffsetsThatLeadOutsideAreMalformed) {
  std::vector<uint8_t> buffer(sizeof(dm_ioctl) + 256);
  PutTargets(buffer.data(), {{0, 1, "linear", "a"}, {1, 1, "linear", "b"}});
  ASSERT_EQ(ParseDmTargets(buffer).value().size(), 2u);
  auto* first = reinterpret_cast<dm_target_spec*>(buffer.data() + sizeof(dm_ioctl));
  const uint32_t good = first->next;
  for (const uint32_t bad : {uint32_t{0}, uint32_t{0xfffffff0}, uint32_t{250}}) {
    first->next = bad;
    EXPECT_EQ(ParseDmTargets(buffer).error().err, EBADMSG) << bad;
  }
  first->next = good;
  Header(buffer.data()).target_count = 3;
  EXPECT_FALSE(ParseDmTargets(buffer).ok());
  Header(buffer.data()).data_start = 100000;
  EXPECT_FALSE(ParseDmTargets(buffer).ok());
  EXPECT_FALSE(ParseDmNames({1, 2, 3}).ok());
}

}  // namespace
}  // namespace meshstor
