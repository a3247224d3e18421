#include <errno.h>
#include <gtest/gtest.h>
#include <linux/dm-ioctl.h>
#include <sys/sysmacros.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "native/core/device_mapper.h"
#include "native/core/dm_buffers.h"
#include "native/test/device_mapper_fixture.h"

namespace meshstor {
namespace {

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
