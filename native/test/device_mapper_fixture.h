#pragma once

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "native/core/device_mapper.h"
#include "native/test/scripted_syscalls.h"

namespace meshstor {

inline constexpr char kName[] = "meshstor-p1-3";
inline constexpr char kUuid[] = "MESHSTOR-p1-3";
/// Flags in the cookie's upper half: no subsystem, disk or other rules; a primary event.
inline constexpr uint32_t kCookie = (0x02u | 0x04u | 0x08u | 0x40u) << 16;
inline const std::vector<DmTarget> kTable = {
    {0, 2048, "multipath", "3 queue_if_no_path queue_mode bio 0 1 1 service-time 0 1 1 259:4 1"}};

inline dm_ioctl& Header(void* data) { return *static_cast<dm_ioctl*>(data); }

/// Puts targets into a reply the way the kernel does: `next` counts from the first one.
inline void PutTargets(void* data, const std::vector<DmTarget>& targets) {
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

inline void PutDevice(void* data, uint32_t flags) {
  std::memcpy(Header(data).name, kName, sizeof(kName));
  std::memcpy(Header(data).uuid, kUuid, sizeof(kUuid));
  Header(data).dev = gnu_dev_makedev(253, 3);
  Header(data).open_count = 1;
  Header(data).flags = flags;
}

/// A device mapper whose kernel answers as scripted.
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

}  // namespace meshstor
