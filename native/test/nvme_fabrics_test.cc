#include "native/core/nvme_fabrics.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>

#include "native/test/scripted_syscalls.h"
#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

const char kPart[] = "nqn.2025-12.io.meshstor:0f8fad5b-d9cb-469f-a165-70867728950e:7-a1b2";
const char kHost[] = "nqn.2025-12.io.meshstor:node1";

NvmeConnectOptions Options() {
  return {"tcp", "10.0.0.1", "4420", kPart, kHost, "6fa459ea-ee8a-3ca4-894e-db77e160355e", 1, 1, 3, 1, 2};
}

void Controller(const TempTree& tree, const std::string& name, const std::string& state, const std::string& nqn,
                const std::string& address = "traddr=10.0.0.1,trsvcid=4420,src_addr=10.0.0.2",
                const std::string& transport = "tcp") {
  const std::string dir = "/sys/class/nvme/" + name;
  tree.File(dir + "/state", state + "\n");
  tree.File(dir + "/transport", transport + "\n");
  tree.File(dir + "/subsysnqn", nqn + "\n");
  tree.File(dir + "/address", address + "\n");
  tree.File(dir + "/delete_controller", "");
  if (transport != "pcie") tree.File(dir + "/hostnqn", std::string(kHost) + "\n");
}

TEST(FabricsOptions, AreTheStringTheKernelParses) {
  EXPECT_EQ(FabricsOptions(Options()).value(),
            std::string("transport=tcp,traddr=10.0.0.1,trsvcid=4420,nqn=") + kPart + ",hostnqn=" + kHost +
                ",hostid=6fa459ea-ee8a-3ca4-894e-db77e160355e,keep_alive_tmo=1,fast_io_fail_tmo=1,ctrl_loss_tmo=3,"
                "reconnect_delay=1,nr_io_queues=2");
}

TEST(FabricsOptions, NeverLetAValueBecomeAnotherOption) {
  for (const char* bad : {"", "10.0.0.1,ctrl_loss_tmo=-1", "10.0.0.1\n"}) {
    for (std::string NvmeConnectOptions::*field :
         {&NvmeConnectOptions::traddr, &NvmeConnectOptions::trsvcid, &NvmeConnectOptions::nqn,
          &NvmeConnectOptions::host_nqn, &NvmeConnectOptions::host_id, &NvmeConnectOptions::transport}) {
      NvmeConnectOptions options = Options();
      options.*field = bad;
      EXPECT_EQ(FabricsOptions(options).error().err, EINVAL) << bad;
    }
  }
  NvmeConnectOptions longer = Options();
  longer.nqn = std::string(4096, 'x');
  EXPECT_EQ(FabricsOptions(longer).error().err, EINVAL);
}

TEST(FabricsReply, NamesTheController) {
  EXPECT_EQ(ParseFabricsReply("instance=12,cntlid=3\n").value(), "nvme12");
  EXPECT_EQ(ParseFabricsReply("cntlid=3,instance=0").value(), "nvme0");
  for (const char* bad : {"", "cntlid=3", "instance=,cntlid=1", "instance=1x", "no instance=1"}) {
    EXPECT_EQ(ParseFabricsReply(bad).error().err, EBADMSG) << bad;
  }
}

TEST(NvmeControllers, AreReadWithTheirAddresses) {
  TempTree tree;
  Controller(tree, "nvme0", "live", "nqn.drive", "0000:00:04.0", "pcie");
  Controller(tree, "nvme2", "deleting (no IO)", kPart, "traddr=fd00::1,trsvcid=4421", "rdma");
  tree.Dir("/sys/class/nvme/nvme3");
  tree.Dir("/sys/class/nvme/power");
  const Sysfs sysfs(RealSyscalls(), tree.root());
  const auto found = ReadNvmeControllers(sysfs).value();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].traddr, "0000:00:04.0");
  EXPECT_EQ(found[0].host_nqn, "");
  EXPECT_EQ(found[1].name, "nvme2");
  EXPECT_EQ(found[1].state, "deleting (no IO)");
  EXPECT_EQ(found[1].traddr, "fd00::1");
  EXPECT_EQ(found[1].trsvcid, "4421");
  TempTree empty;
  EXPECT_TRUE(ReadNvmeControllers(Sysfs(RealSyscalls(), empty.root())).value().empty());
}

/// /dev/nvme-fabrics scripted, sysfs read from a tree that has no controller at first.
TEST(NvmeConnect, WritesOnceAndReadsTheAnswerFromTheSameFile) {
  TempTree tree;
  ScriptedSyscalls sys;
  const std::string want = FabricsOptions(Options()).value();
  sys.Expect("open", tree.root() + "/dev/nvme-fabrics").Return(9);
  sys.Expect("write")
      .With([&](void* data, size_t length) { EXPECT_EQ(std::string(static_cast<char*>(data), length), want); })
      .Return(static_cast<long>(want.size()));
  const char reply[] = "instance=4,cntlid=1\n";
  sys.Expect("read")
      .With([&](void* data, size_t) { std::memcpy(data, reply, sizeof(reply) - 1); })
      .Return(sizeof(reply) - 1);
  sys.Expect("read").Return(0);
  EXPECT_EQ(NvmeConnect(Sysfs(sys, tree.root()), Options()).value(), "nvme4");
}

TEST(NvmeConnect, PassesOnWhatTheKernelAnswered) {
  for (const int err : {ECONNREFUSED, ETIMEDOUT, EIO, EINVAL, EALREADY}) {
    TempTree tree;
    ScriptedSyscalls sys;
    sys.Expect("open", tree.root() + "/dev/nvme-fabrics").Return(9);
    sys.Expect("write").Fail(err);
    auto done = NvmeConnect(Sysfs(sys, tree.root()), Options());
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().err, err);
    EXPECT_EQ(done.error().syscall, "write");
  }
  TempTree tree;
  ScriptedSyscalls sys;
  sys.Expect("open", tree.root() + "/dev/nvme-fabrics").Fail(ENOENT);
  EXPECT_EQ(NvmeConnect(Sysfs(sys, tree.root()), Options()).error().err, ENOENT);
}

TEST(NvmeConnect, TakesALiveControllerOfTheSameAddressAndHost) {
  TempTree tree;
  Controller(tree, "nvme1", "live", kPart);
  EXPECT_EQ(NvmeConnect(Sysfs(RealSyscalls(), tree.root()), Options()).value(), "nvme1");
}

TEST(NvmeConnect, TakesNoControllerOfAnotherAddressStateOrNqn) {
  TempTree tree;
  Controller(tree, "nvme1", "live", kPart, "traddr=10.0.0.3,trsvcid=4420");
  Controller(tree, "nvme2", "deleting", kPart);
  Controller(tree, "nvme3", "live", std::string(kPart) + "x");
  // No /dev/nvme-fabrics in the tree: going on to connect shows as ENOENT.
  EXPECT_EQ(NvmeConnect(Sysfs(RealSyscalls(), tree.root()), Options()).error().err, ENOENT);
}

/// The kernel's own, except that /dev/nvme-fabrics always answers EALREADY and time passes at once.
class AlreadyConnected final : public Syscalls {
 public:
  explicit AlreadyConnected(std::string root) : fabrics_(std::move(root) + "/dev/nvme-fabrics") {}
  std::function<void()> on_poll;
  int delete_error = 0;
  int polls = 0;

  int Open(const char* path, int flags, mode_t mode) override {
    if (path == fabrics_) return kFabricsFd;
    const bool is_delete = std::string(path).find("delete_controller") != std::string::npos;
    if (is_delete && delete_error != 0) return Fail(delete_error);
    return RealSyscalls().Open(path, flags, mode);
  }
  int Close(int fd) override { return fd == kFabricsFd ? 0 : RealSyscalls().Close(fd); }
  ssize_t Read(int fd, void* data, size_t length) override { return RealSyscalls().Read(fd, data, length); }
  ssize_t Write(int fd, const void* data, size_t length) override {
    return fd == kFabricsFd ? Fail(EALREADY) : RealSyscalls().Write(fd, data, length);
  }
  int Poll(struct pollfd*, nfds_t, int) override {
    ++polls;
    if (on_poll) on_poll();
    return 0;
  }
  int Lstat(const char* path, struct stat* out) override { return RealSyscalls().Lstat(path, out); }
  ssize_t Pread(int, void*, size_t, off_t) override { return Fail(ENOSYS); }
  ssize_t Pwrite(int, const void*, size_t, off_t) override { return Fail(ENOSYS); }
  int Fsync(int) override { return Fail(ENOSYS); }
  int Flock(int, int) override { return Fail(ENOSYS); }
  int Ioctl(int, unsigned long, void*) override { return Fail(ENOSYS); }
  int Fstat(int, struct stat*) override { return Fail(ENOSYS); }
  int Stat(const char*, struct stat*) override { return Fail(ENOSYS); }
  int Statfs(const char*, struct statfs*) override { return Fail(ENOSYS); }
  int Mount(const char*, const char*, const char*, unsigned long, const void*) override { return Fail(ENOSYS); }
  int Umount2(const char*, int) override { return Fail(ENOSYS); }
  int Mkdir(const char*, mode_t) override { return Fail(ENOSYS); }
  int Rmdir(const char*) override { return Fail(ENOSYS); }
  int Symlink(const char*, const char*) override { return Fail(ENOSYS); }
  ssize_t Readlink(const char*, char*, size_t) override { return Fail(ENOSYS); }
  int Unlink(const char*) override { return Fail(ENOSYS); }
  int Mknod(const char*, mode_t, dev_t) override { return Fail(ENOSYS); }
  int Socket(int, int, int) override { return Fail(ENOSYS); }
  int Bind(int, const struct sockaddr*, socklen_t) override { return Fail(ENOSYS); }
  ssize_t Recv(int, void*, size_t, int) override { return Fail(ENOSYS); }

 private:
  static constexpr int kFabricsFd = 1 << 20;
  static int Fail(int err) {
    errno = err;
    return -1;
  }
  std::string fabrics_;
};

TEST(NvmeConnect, TakesTheReconnectingControllerBehindEalready) {
  TempTree tree;
  AlreadyConnected sys(tree.root());
  Controller(tree, "nvme1", "deleting", kPart);
  Controller(tree, "nvme2", "connecting", kPart);
  EXPECT_EQ(NvmeConnect(Sysfs(sys, tree.root()), Options()).value(), "nvme2");
  tree.File("/sys/class/nvme/nvme2/state", "dead\n");
  EXPECT_EQ(NvmeConnect(Sysfs(sys, tree.root()), Options()).error().err, EALREADY);
}

TEST(NvmeDisconnect, DeletesEveryControllerOfTheNqnAndNoOther) {
  TempTree tree;
  AlreadyConnected sys(tree.root());
  Controller(tree, "nvme0", "live", kPart, "0000:00:04.0", "pcie");
  Controller(tree, "nvme1", "live", kPart);
  Controller(tree, "nvme2", "connecting", kPart, "traddr=10.0.0.1,trsvcid=4421", "rdma");
  Controller(tree, "nvme3", "live", "nqn.other");
  sys.on_poll = [&] {
    for (const char* name : {"nvme1", "nvme2"}) {
      if (tree.Content(std::string("/sys/class/nvme/") + name + "/delete_controller") != "1") continue;
      std::filesystem::remove_all(tree.root() + "/sys/class/nvme/" + name);
    }
  };
  ASSERT_TRUE(NvmeDisconnect(Sysfs(sys, tree.root()), kPart).ok());
  EXPECT_EQ(sys.polls, 1);
  EXPECT_EQ(tree.Content("/sys/class/nvme/nvme0/delete_controller"), "");
  EXPECT_EQ(tree.Content("/sys/class/nvme/nvme3/delete_controller"), "");
  EXPECT_TRUE(NvmeDisconnect(Sysfs(sys, tree.root()), kPart).ok());
}

TEST(NvmeDisconnect, GivesUpAfterItsLimitAndNamesTheController) {
  TempTree tree;
  AlreadyConnected sys(tree.root());
  Controller(tree, "nvme1", "deleting", kPart);
  Status done = NvmeDisconnect(Sysfs(sys, tree.root()), kPart, {5, 1});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().err, ETIMEDOUT);
  EXPECT_NE(done.error().path.find("nvme1"), std::string::npos);
  EXPECT_EQ(sys.polls, 5);
  EXPECT_EQ(tree.Content("/sys/class/nvme/nvme1/delete_controller"), "");
}

TEST(NvmeDisconnect, WaitsForOneThatIsBusyOrGoingAndReportsAnyOtherFailure) {
  TempTree tree;
  AlreadyConnected sys(tree.root());
  for (const int err : {ENOENT, ENODEV, EBUSY}) {
    Controller(tree, "nvme1", "live", kPart);
    sys.delete_error = err;
    sys.on_poll = [&] { std::filesystem::remove_all(tree.root() + "/sys/class/nvme/nvme1"); };
    EXPECT_TRUE(NvmeDisconnect(Sysfs(sys, tree.root()), kPart).ok()) << err;
  }
  Controller(tree, "nvme1", "live", kPart);
  sys.delete_error = EACCES;
  EXPECT_EQ(NvmeDisconnect(Sysfs(sys, tree.root()), kPart).error().err, EACCES);
}

}  // namespace
}  // namespace meshstor
