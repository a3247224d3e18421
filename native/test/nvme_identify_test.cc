#include "native/core/nvme_identify.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/nvme_ioctl.h>

#include <cstring>

#include "native/test/scripted_syscalls.h"

namespace meshstor {
namespace {

constexpr char kAdmin[] = "0xc0484e41";
constexpr char kId[] = "0x4e40";

uint8_t* PageOf(void* argument) {
  const auto* command = static_cast<const struct nvme_passthru_cmd*>(argument);
  EXPECT_EQ(command->opcode, 6);
  EXPECT_EQ(command->data_len, 4096U);
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(command->addr));
}

TEST(IdentifyController, ReadsTheFieldsWeActOn) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/dev/nvme0").Return(3);
  sys.Expect("ioctl", kAdmin).Return(0).With([](void* argument, size_t) {
    uint8_t* page = PageOf(argument);
    EXPECT_EQ(static_cast<const struct nvme_passthru_cmd*>(argument)->cdw10, 1U);
    std::memset(page + 4, ' ', 68);
    std::memcpy(page + 4, "SN123", 5);
    std::memcpy(page + 24, "A Drive", 7);
    std::memcpy(page + 64, "FW1.0", 5);
    page[520] = 0x0C;
    page[525] = 0x07;
  });
  const auto identity = IdentifyController(sys, "/dev/nvme0");
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity.value().serial, "SN123");
  EXPECT_EQ(identity.value().model, "A Drive");
  EXPECT_EQ(identity.value().firmware, "FW1.0");
  EXPECT_TRUE(identity.value().deallocate);
  EXPECT_TRUE(identity.value().write_zeroes);
  EXPECT_TRUE(identity.value().volatile_write_cache);
}

TEST(IdentifyNamespace, ReadsDlfeatAndTheFormatInUse) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/dev/nvme0n1").Return(3);
  sys.Expect("ioctl", kId).Return(5);
  sys.Expect("ioctl", kAdmin).Fail(EINTR);
  sys.Expect("ioctl", kAdmin).Return(0).With([](void* argument, size_t) {
    uint8_t* page = PageOf(argument);
    EXPECT_EQ(static_cast<const struct nvme_passthru_cmd*>(argument)->nsid, 5U);
    EXPECT_EQ(static_cast<const struct nvme_passthru_cmd*>(argument)->cdw10, 0U);
    page[1] = 0x10;
    page[9] = 0x08;
    page[25] = 2;
    page[26] = 2;
    page[33] = 0x09;
    page[128 + 2] = 9;
    page[132 + 2] = 0;
    page[136] = 8;
    page[136 + 2] = 12;
    page[136 + 3] = 1;
  });
  const auto identity = IdentifyNamespace(sys, "/dev/nvme0n1");
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity.value().size_blocks, 4096U);
  EXPECT_EQ(identity.value().capacity_blocks, 2048U);
  EXPECT_EQ(identity.value().deallocated_reads, DeallocatedReads::kZeroes);
  EXPECT_TRUE(identity.value().write_zeroes_deallocates);
  ASSERT_EQ(identity.value().lba_formats.size(), 2U) << "a format without a size is not offered";
  EXPECT_EQ(identity.value().lba_formats[0].data_bytes, 512U);
  EXPECT_FALSE(identity.value().lba_formats[0].in_use);
  EXPECT_EQ(identity.value().lba_formats[1].data_bytes, 4096U);
  EXPECT_EQ(identity.value().lba_formats[1].metadata_bytes, 8U);
  EXPECT_EQ(identity.value().lba_formats[1].relative_performance, 1U);
  EXPECT_TRUE(identity.value().lba_formats[1].in_use);
}

TEST(Identify, TellsAnErrnoFromAStatusOfTheDrive) {
  ScriptedSyscalls sys;
  sys.Expect("open", "/dev/nvme0").Return(3);
  sys.Expect("ioctl", kAdmin).Fail(EACCES);
  EXPECT_EQ(IdentifyController(sys, "/dev/nvme0").error().err, EACCES);
  sys.Expect("open", "/dev/nvme0").Return(3);
  sys.Expect("ioctl", kAdmin).Return(0x2002);
  const auto failed = IdentifyController(sys, "/dev/nvme0");
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().err, EIO);
  EXPECT_NE(failed.error().message.find("8194"), std::string::npos);
  sys.Expect("open", "/dev/loop0").Return(3);
  sys.Expect("ioctl", kId).Fail(ENOTTY);
  EXPECT_EQ(IdentifyNamespace(sys, "/dev/loop0").error().err, ENOTTY);
}

}  // namespace
}  // namespace meshstor
