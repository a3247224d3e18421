#include "native/core/block_device.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

/// sysfs as drivers/nvme/host lays it out: nvme0 without multipath, nvme-subsys1 with a head over two hidden paths.
class NvmeTree : public testing::Test {
 protected:
  NvmeTree() {
    tree_.File("/proc/self/mountinfo",
               "21 1 259:2 / /var/lib/data rw,noatime - xfs /dev/nvme0n1p1 rw\n"
               "22 1 259:2 /sub /mnt/bind rw - xfs /dev/nvme0n1p1 rw\n"
               "23 1 0:40 / /btr rw - btrfs /dev/nvme1n1 rw\n");
    tree_.File("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p2 partition\t1\t0\t-2\n");
    Controller("/sys/class/nvme/nvme0", "pcie", "0000:01:00.0", "live");
    Controller("/sys/class/nvme/nvme1", "tcp", "traddr=10.0.0.1,trsvcid=4420", "connecting");
    Controller("/sys/class/nvme/nvme2", "tcp", "traddr=10.0.1.1,trsvcid=4420", "live");
    tree_.File("/sys/class/nvme/nvme1/hostnqn", "nqn.host\n");
    Ids("/sys/class/nvme-subsystem/nvme-subsys1");
    Block("nvme0n1", "259:1", "../../class/nvme/nvme0", 2097152);
    for (const char* queue : {"0", "1", "2", "3"}) tree_.Dir(std::string("/sys/block/nvme0n1/mq/") + queue);
    tree_.File("/sys/block/nvme0n1/nsid", "7\n");
    tree_.File("/sys/block/nvme0n1/uuid", "AABBCCDD-0000-0000-0000-0000000000EE\n");
    tree_.File("/sys/block/nvme0n1/nguid", "aabbccdd-0000-0000-0000-0000000000ee\n");
    tree_.File("/sys/block/nvme0n1/queue/write_cache", "write through\n");
    Partition("nvme0n1", 2, "259:3", 4096, 8192);
    Partition("nvme0n1", 1, "259:2", 2048, 2048);
    tree_.Dir("/sys/block/nvme0n1/nvme0n1p2/holders/dm-3");
    Block("nvme1n1", "259:9", "../../class/nvme-subsystem/nvme-subsys1", 8192);
    tree_.File("/sys/block/nvme1n1/nsid", "1\n");
    tree_.File("/sys/block/nvme1n1/uuid", "0c3f3a52-90cd-4d6e-8f4e-8b4a1f1a2b01\n");
    tree_.File("/sys/block/nvme1n1/queue/write_cache", "write through\n");
    tree_.Dir("/sys/block/nvme1n1/holders/md127");
    Hidden("nvme1c2n1", "../../class/nvme/nvme2", 3);
    Hidden("nvme1c1n1", "../../class/nvme/nvme1", 2);
    Hidden("nvme1c1n2", "../../class/nvme/nvme1", 9);
    tree_.File("/sys/block/sda/size", "1000\n");
  }

  void Ids(const std::string& dir) {
    tree_.File(dir + "/model", "A Drive             \n");
    tree_.File(dir + "/serial", "  SN1 \n");
    tree_.File(dir + "/subsysnqn", "nqn.sub\n");
  }
  void Controller(const std::string& dir, const char* transport, const char* address, const char* state) {
    Ids(dir);
    tree_.File(dir + "/transport", std::string(transport) + "\n");
    tree_.File(dir + "/address", std::string(address) + "\n");
    tree_.File(dir + "/state", std::string(state) + "\n");
  }
  void Block(const std::string& name, const char* dev, const char* device, uint64_t sectors) {
    const std::string dir = "/sys/block/" + name;
    tree_.File(dir + "/size", std::to_string(sectors) + "\n");
    tree_.File(dir + "/dev", std::string(dev) + "\n");
    tree_.File(dir + "/hidden", "0\n");
    tree_.File(dir + "/queue/logical_block_size", "512\n");
    tree_.File(dir + "/queue/physical_block_size", "4096\n");
    tree_.Link(dir + "/device", device);
  }
  void Hidden(const std::string& name, const char* device, int queues) {
    const std::string dir = "/sys/block/" + name;
    tree_.File(dir + "/hidden", "1\n");
    tree_.File(dir + "/size", "8192\n");
    tree_.File(dir + "/queue/write_cache", name == "nvme1c1n1" ? "write back\n" : "write through\n");
    tree_.Link(dir + "/device", device);
    for (int i = 0; i < queues; ++i) tree_.Dir(dir + "/mq/" + std::to_string(i));
  }
  void Partition(const std::string& disk, int number, const char* dev, int start, int size) {
    const std::string dir = "/sys/block/" + disk + "/" + disk + "p" + std::to_string(number);
    tree_.File(dir + "/partition", std::to_string(number) + "\n");
    tree_.File(dir + "/start", std::to_string(start) + "\n");
    tree_.File(dir + "/size", std::to_string(size) + "\n");
    tree_.File(dir + "/dev", std::string(dev) + "\n");
    tree_.Dir(dir + "/holders");
  }
  std::vector<NvmeNamespace> List() const {
    auto list = ListNvmeNamespaces(Sysfs(RealSyscalls(), tree_.root()));
    EXPECT_TRUE(list.ok());
    return list.ok() ? std::move(list).value() : std::vector<NvmeNamespace>{};
  }

  TempTree tree_;
};

TEST_F(NvmeTree, ListsADeviceThatIsItsOwnPath) {
  const auto list = List();
  ASSERT_EQ(list.size(), 2U);
  const NvmeNamespace& ns = list[0];
  EXPECT_EQ(ns.name, "nvme0n1");
  EXPECT_FALSE(ns.is_head);
  EXPECT_EQ(ns.model, "A Drive");
  EXPECT_EQ(ns.serial, "SN1");
  EXPECT_EQ(ns.nsid, 7U);
  EXPECT_EQ(ns.size_bytes, 1024U * 1024 * 1024);
  EXPECT_EQ(ns.logical_block_size, 512U);
  EXPECT_EQ(ns.physical_block_size, 4096U);
  EXPECT_EQ(ns.hardware_queues, 4U);
  EXPECT_FALSE(ns.write_back);
  EXPECT_EQ(ns.transport, "pcie");
  ASSERT_EQ(ns.paths.size(), 1U);
  EXPECT_EQ(ns.paths[0].controller, "nvme0");
  EXPECT_EQ(ns.paths[0].address, "0000:01:00.0");
  EXPECT_FALSE(ns.paths[0].host_nqn.has_value());
}

TEST_F(NvmeTree, DoesNotTakeTheNguidForAUuid) {
  const NvmeNamespace ns = List()[0];
  EXPECT_FALSE(ns.uuid.has_value());
  EXPECT_EQ(ns.nguid.value_or(""), "aabbccdd0000000000000000000000ee");
}

TEST_F(NvmeTree, ListsPartitionsInOrderWithWhoUsesThem) {
  const NvmeNamespace ns = List()[0];
  ASSERT_EQ(ns.partitions.size(), 2U);
  EXPECT_EQ(ns.partitions[0].number, 1U);
  EXPECT_EQ(ns.partitions[0].start_bytes, 1024U * 1024);
  EXPECT_EQ(ns.partitions[0].mount_points, (std::vector<std::string>{"/var/lib/data", "/mnt/bind"}));
  EXPECT_EQ(ns.partitions[1].holders, std::vector<std::string>{"dm-3"});
  EXPECT_EQ(ns.partitions[1].mount_points, std::vector<std::string>{"[SWAP]"});
}

TEST_F(NvmeTree, ListsAHeadWithItsHiddenPaths) {
  const NvmeNamespace ns = List()[1];
  EXPECT_EQ(ns.name, "nvme1n1");
  EXPECT_TRUE(ns.is_head);
  EXPECT_EQ(ns.subsystem_nqn, "nqn.sub");
  EXPECT_EQ(ns.uuid.value_or(""), "0c3f3a52-90cd-4d6e-8f4e-8b4a1f1a2b01");
  EXPECT_EQ(ns.transport, "tcp");
  ASSERT_EQ(ns.paths.size(), 2U) << "nvme1c1n2 belongs to another head";
  EXPECT_EQ(ns.paths[0].controller, "nvme1");
  EXPECT_EQ(ns.paths[0].state, "connecting");
  EXPECT_EQ(ns.paths[0].host_nqn.value_or(""), "nqn.host");
  EXPECT_EQ(ns.paths[1].controller, "nvme2");
  EXPECT_EQ(ns.hardware_queues, 3U);
  EXPECT_TRUE(ns.write_back) << "one path says write back";
  EXPECT_EQ(ns.holders, std::vector<std::string>{"md127"});
  EXPECT_EQ(ns.mount_points, std::vector<std::string>{"/btr"});
}

TEST_F(NvmeTree, NeverCallsAHeadLocalWhenItsPathsDiffer) {
  tree_.File("/sys/class/nvme/nvme2/transport", "pcie\n");
  EXPECT_EQ(List()[1].transport, "unknown");
}

TEST_F(NvmeTree, LeavesOutWhatDisappears) {
  std::filesystem::remove(tree_.root() + "/sys/block/nvme1n1/size");
  EXPECT_EQ(List().size(), 1U);
}

}  // namespace
}  // namespace meshstor
