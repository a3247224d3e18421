#include "native/core/nvmet.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "native/test/fake_configfs.h"
#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

const char kPart[] = "nqn.2025-12.io.meshstor:0f8fad5b-d9cb-469f-a165-70867728950e:7-a1b2";
const char kOther[] = "nqn.2025-12.io.meshstor:7c9e6679-7425-40de-944b-e07fc1f90ae7:3-c3d4";
const char kHost[] = "nqn.2025-12.io.meshstor:node1";
const char kUuid[] = "6fa459ea-ee8a-3ca4-894e-db77e160355e";

NvmetExportWanted Wanted() { return {kPart, 17, "/dev/mapper/meshstor-x-7", kUuid, kHost, {1, 2}}; }

class Nvmet : public ::testing::Test {
 protected:
  Nvmet() : sys_(tree_.root()), sysfs_(sys_, tree_.root()) {}

  void MakePorts() {
    ASSERT_TRUE(EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.1", "4420"}).ok());
    ASSERT_TRUE(EnsureNvmetPort(sysfs_, {2, "rdma", "fd00::1", "4421"}).ok());
    sys_.ClearLog();
  }
  NvmetState State() { return ReadNvmetState(sysfs_).value(); }
  std::string Below(const std::string& path) const { return "/sys/kernel/config/nvmet/" + path; }

  /// No port may ever offer the subsystem to anybody but the one host.
  void ExpectNobodyElseCanConnect() {
    const NvmetState state = State();
    for (const NvmetPort& port : state.ports) {
      for (const std::string& nqn : port.subsystems) {
        for (const NvmetSubsystem& subsystem : state.subsystems) {
          if (subsystem.nqn != nqn || nqn != kPart) continue;
          EXPECT_FALSE(subsystem.allow_any_host);
          EXPECT_EQ(subsystem.allowed_hosts, std::vector<std::string>{kHost});
          ASSERT_EQ(subsystem.namespaces.size(), 1u);
          EXPECT_EQ(subsystem.namespaces[0].uuid, kUuid);
          EXPECT_TRUE(subsystem.namespaces[0].enabled);
        }
      }
    }
  }

  TempTree tree_;
  FakeConfigfs sys_;
  Sysfs sysfs_;
};

TEST_F(Nvmet, CreatesAPortWithTheAddressFamilyOfItsAddress) {
  MakePorts();
  const NvmetState state = State();
  ASSERT_EQ(state.ports.size(), 2u);
  EXPECT_EQ(state.ports[0].adrfam, "ipv4");
  EXPECT_EQ(state.ports[0].traddr, "10.0.0.1");
  EXPECT_EQ(state.ports[0].trsvcid, "4420");
  EXPECT_EQ(state.ports[1].trtype, "rdma");
  EXPECT_EQ(state.ports[1].adrfam, "ipv6");
}

TEST_F(Nvmet, ChangesThePortOfAnIdlePortOnly) {
  MakePorts();
  EXPECT_TRUE(EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.9", "4420"}).ok());
  EXPECT_EQ(State().ports[0].traddr, "10.0.0.9");
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  Status moved = EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.1", "4420"});
  ASSERT_FALSE(moved.ok());
  EXPECT_EQ(moved.error().err, EEXIST);
  EXPECT_EQ(State().ports[0].traddr, "10.0.0.9");
  sys_.ClearLog();
  EXPECT_TRUE(EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.9", "4420"}).ok());
  EXPECT_TRUE(sys_.log().empty());
}

TEST_F(Nvmet, LinksThePortsLastWhenItExports) {
  MakePorts();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  const std::string sub = std::string("subsystems/") + kPart;
  const auto& log = sys_.log();
  ASSERT_EQ(log.size(), 11u);
  EXPECT_EQ(log[0], "mkdir " + sub);
  EXPECT_EQ(log[1].rfind("write " + sub + "/attr_serial MS", 0), 0u);
  EXPECT_EQ(log[2], "write " + sub + "/attr_model MeshStor");
  EXPECT_EQ(log[3], "mkdir " + sub + "/namespaces/17");
  EXPECT_EQ(log[4], "write " + sub + "/namespaces/17/device_path /dev/mapper/meshstor-x-7");
  EXPECT_EQ(log[5], "write " + sub + "/namespaces/17/device_uuid " + kUuid);
  EXPECT_EQ(log[6], "write " + sub + "/namespaces/17/enable 1");
  EXPECT_EQ(log[7], std::string("mkdir hosts/") + kHost);
  EXPECT_EQ(log[8], "symlink " + sub + "/allowed_hosts/" + kHost);
  EXPECT_EQ(log[9], std::string("symlink ports/1/subsystems/") + kPart);
  EXPECT_EQ(log[10], std::string("symlink ports/2/subsystems/") + kPart);
  sys_.ClearLog();
  EXPECT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  EXPECT_TRUE(sys_.log().empty());
}

TEST_F(Nvmet, UnlinksThePortsFirstWhenItRemoves) {
  MakePorts();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  sys_.ClearLog();
  ASSERT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
  const std::string sub = std::string("subsystems/") + kPart;
  EXPECT_EQ(sys_.log(), (std::vector<std::string>{
                            std::string("unlink ports/1/subsystems/") + kPart,
                            std::string("unlink ports/2/subsystems/") + kPart,
                            "unlink " + sub + "/allowed_hosts/" + kHost,
                            "write " + sub + "/namespaces/17/enable 0",
                            "rmdir " + sub + "/namespaces/17",
                            "rmdir " + sub,
                            std::string("rmdir hosts/") + kHost,
                        }));
  sys_.ClearLog();
  EXPECT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
  EXPECT_TRUE(sys_.log().empty());
}

TEST_F(Nvmet, ConvergesAfterADeathBehindEveryStepOfAnExport) {
  MakePorts();
  sys_.OnChange([this] { ExpectNobodyElseCanConnect(); });
  for (size_t steps = 0; steps <= 11; ++steps) {
    sys_.DieAfter(steps);
    EXPECT_EQ(EnsureNvmetExport(sysfs_, Wanted()).ok(), steps == 11) << steps;
    sys_.Revive();
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok()) << steps;
    const NvmetState state = State();
    ASSERT_EQ(state.subsystems.size(), 1u);
    EXPECT_EQ(state.subsystems[0].allowed_hosts, std::vector<std::string>{kHost});
    EXPECT_EQ(state.subsystems[0].namespaces[0].device_path, "/dev/mapper/meshstor-x-7");
    EXPECT_EQ(state.ports[0].subsystems, std::vector<std::string>{kPart});
    EXPECT_EQ(state.ports[1].subsystems, std::vector<std::string>{kPart});
    ASSERT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
  }
}

TEST_F(Nvmet, ConvergesAfterADeathBehindEveryStepOfARemoval) {
  MakePorts();
  for (size_t steps = 0; steps <= 7; ++steps) {
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
    sys_.DieAfter(steps);
    EXPECT_EQ(RemoveNvmetExport(sysfs_, kPart).ok(), steps == 7) << steps;
    sys_.Revive();
    ASSERT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok()) << steps;
    const NvmetState state = State();
    EXPECT_TRUE(state.subsystems.empty());
    EXPECT_TRUE(state.hosts.empty());
    EXPECT_TRUE(state.ports[0].subsystems.empty());
  }
}

TEST_F(Nvmet, ExportsAgainAfterAnUnfinishedRemoval) {
  MakePorts();
  for (size_t steps = 0; steps < 7; ++steps) {
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
    sys_.DieAfter(steps);
    EXPECT_FALSE(RemoveNvmetExport(sysfs_, kPart).ok());
    sys_.Revive();
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok()) << steps;
    ExpectNobodyElseCanConnect();
    EXPECT_EQ(State().ports[1].subsystems.size(), 1u);
  }
}

TEST_F(Nvmet, RefusesToTurnAnExportIntoAnother) {
  MakePorts();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  NvmetExportWanted device = Wanted();
  device.device_path = "/dev/mapper/meshstor-x-8";
  NvmetExportWanted uuid = Wanted();
  uuid.uuid = "6fa459ea-ee8a-3ca4-894e-db77e160355f";
  NvmetExportWanted host = Wanted();
  host.host_nqn = "nqn.2025-12.io.meshstor:node2";
  NvmetExportWanted nsid = Wanted();
  nsid.nsid = 18;
  sys_.ClearLog();
  for (const NvmetExportWanted& other : {device, uuid, host, nsid}) {
    Status done = EnsureNvmetExport(sysfs_, other);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().err, EEXIST);
    EXPECT_FALSE(done.error().message.empty());
  }
  EXPECT_TRUE(sys_.log().empty());
}

TEST_F(Nvmet, RefusesALinkedSubsystemThatAdmitsEverybody) {
  MakePorts();
  NvmetExportWanted wanted = Wanted();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, wanted).ok());
  tree_.File(Below(std::string("subsystems/") + kPart + "/attr_allow_any_host"), "1\n");
  EXPECT_EQ(EnsureNvmetExport(sysfs_, wanted).error().err, EEXIST);
}

TEST_F(Nvmet, SaysThatAPortCannotListenAndFinishesOnceItCan) {
  MakePorts();
  const std::string link = std::string("symlink ports/1/subsystems/") + kPart;
  for (const int err : {EADDRINUSE, EADDRNOTAVAIL}) {
    sys_.FailOn(link, err);
    Status done = EnsureNvmetExport(sysfs_, Wanted());
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().err, err);
    EXPECT_EQ(done.error().syscall, "symlink");
  }
  sys_.ClearFaults();
  EXPECT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
}

TEST_F(Nvmet, LinksNothingWhenTheDeviceCannotBeOpened) {
  MakePorts();
  sys_.FailOn(std::string("write subsystems/") + kPart + "/namespaces/17/enable 1", ENXIO);
  EXPECT_EQ(EnsureNvmetExport(sysfs_, Wanted()).error().err, ENXIO);
  EXPECT_TRUE(State().ports[0].subsystems.empty());
  EXPECT_TRUE(State().hosts.empty());
}

TEST_F(Nvmet, TouchesNothingWhenAPortOfTheListIsMissing) {
  ASSERT_TRUE(EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.1", "4420"}).ok());
  sys_.ClearLog();
  EXPECT_EQ(EnsureNvmetExport(sysfs_, Wanted()).error().err, ENOENT);
  EXPECT_TRUE(sys_.log().empty());
}

TEST_F(Nvmet, KeepsAHostThatAnotherExportAdmitsAndHostsOfOthers) {
  MakePorts();
  NvmetExportWanted other = Wanted();
  other.nqn = kOther;
  other.nsid = 18;
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, other).ok());
  tree_.Dir(Below("hosts/nqn.2014-08.org.nvmexpress:uuid:1"));
  ASSERT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
  EXPECT_EQ(State().hosts, (std::vector<std::string>{"nqn.2014-08.org.nvmexpress:uuid:1", kHost}));
  ASSERT_TRUE(RemoveNvmetExport(sysfs_, kOther).ok());
  EXPECT_EQ(State().hosts, std::vector<std::string>{"nqn.2014-08.org.nvmexpress:uuid:1"});
}

TEST_F(Nvmet, FindsTheSubsystemBehindALinkOfAnotherName) {
  MakePorts();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  const std::string port = Below("ports/1/subsystems/");
  std::filesystem::rename(tree_.root() + port + kPart, tree_.root() + port + "by-hand");
  EXPECT_EQ(State().ports[0].subsystems, std::vector<std::string>{kPart});
  ASSERT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
  EXPECT_TRUE(State().ports[0].subsystems.empty());
}

TEST_F(Nvmet, ReadsAnUnsetDevicePathAsEmpty) {
  MakePorts();
  sys_.DieAfter(4);
  EXPECT_FALSE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  ASSERT_EQ(State().subsystems.size(), 1u);
  EXPECT_EQ(State().subsystems[0].namespaces[0].device_path, "");
  EXPECT_FALSE(State().subsystems[0].namespaces[0].enabled);
}

TEST_F(Nvmet, RefusesNamesThatLeaveTheDirectory) {
  MakePorts();
  for (const char* bad : {"", ".", "..", "../hosts/x", "nqn.x\n", "nqn. x"}) {
    EXPECT_EQ(RemoveNvmetExport(sysfs_, bad).error().err, EINVAL) << bad;
    NvmetExportWanted wanted = Wanted();
    wanted.host_nqn = bad;
    EXPECT_EQ(EnsureNvmetExport(sysfs_, wanted).error().err, EINVAL) << bad;
  }
  EXPECT_EQ(EnsureNvmetPort(sysfs_, {1, "tcp", "10.0.0.1\n", "4420"}).error().err, EINVAL);
  EXPECT_TRUE(sys_.log().empty());
}

NvmetExportWanted Other() {
  NvmetExportWanted other = Wanted();
  other.nqn = kOther;
  other.nsid = 18;
  return other;
}

constexpr std::chrono::seconds kSoon{10};

/// A drive that hangs: the removal of its export does not come back from the drain. `step` is where the kernel waits:
/// in the write (most releases) or in the rmdir (about 6.14).
class NvmetDrain : public Nvmet, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    MakePorts();
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
    ASSERT_TRUE(EnsureNvmetExport(sysfs_, Other()).ok());
    const std::string ns = std::string("subsystems/") + kPart + "/namespaces/17";
    step_ = std::string(GetParam()) == "write" ? "write " + ns + "/enable 0" : "rmdir " + ns;
    sys_.HangOn(step_);
    removal_ = std::async(std::launch::async, [this] { return RemoveNvmetExport(sysfs_, kPart); });
    ASSERT_TRUE(sys_.AwaitHang(step_));
  }
  void TearDown() override {
    sys_.LetGo(step_);
    for (auto& work : works_) work.wait();
    if (removal_.valid()) removal_.wait();
  }
  /// What the work gives; ETIME when it does not come back.
  int ErrorOf(std::function<Status()> work) {
    auto task = std::make_shared<std::packaged_task<int()>>([work = std::move(work)] {
      Status done = work();
      return done.ok() ? 0 : done.error().err;
    });
    works_.push_back(task->get_future().share());
    std::thread([task] { (*task)(); }).detach();
    return works_.back().wait_for(kSoon) == std::future_status::ready ? works_.back().get() : ETIME;
  }

  std::string step_;
  std::future<Status> removal_;
  std::vector<std::shared_future<int>> works_;
};

TEST_P(NvmetDrain, HoldsUpNoRemovalOfAnotherExport) {
  EXPECT_EQ(ErrorOf([this] { return RemoveNvmetExport(sysfs_, kOther); }), 0);
}

TEST_P(NvmetDrain, HoldsUpNoGrantOfAnotherExportAndNoPort) {
  NvmetExportWanted third = Wanted();
  third.nqn = std::string(kOther) + "-3";
  third.host_nqn = "nqn.2025-12.io.meshstor:node3";
  EXPECT_EQ(ErrorOf([this, third] { return EnsureNvmetExport(sysfs_, third); }), 0);
  EXPECT_EQ(ErrorOf([this] { return EnsureNvmetPort(sysfs_, {3, "tcp", "10.0.0.3", "4420"}); }), 0);
  const NvmetState state = State();
  EXPECT_EQ(state.ports.size(), 3u);
  EXPECT_EQ(state.subsystems.size(), 3u);
}

TEST_P(NvmetDrain, AnswersEverybodyElseWithBusyAtOnce) {
  EXPECT_EQ(ErrorOf([this] { return RemoveNvmetExport(sysfs_, kPart); }), EBUSY);
  EXPECT_EQ(ErrorOf([this] { return EnsureNvmetExport(sysfs_, Wanted()); }), EBUSY);
  sys_.LetGo(step_);
  ASSERT_EQ(removal_.wait_for(kSoon), std::future_status::ready);
  EXPECT_TRUE(removal_.get().ok());
  EXPECT_EQ(State().subsystems.size(), 1u);
  EXPECT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
}

TEST_P(NvmetDrain, ShowsTheNamespaceAsItWasInsteadOfLookingAtIt) {
  const std::string dir = Below(std::string("subsystems/") + kPart + "/namespaces/17");
  tree_.File(dir + "/device_path", "a look that would hang\n");
  const NvmetState state = State();
  ASSERT_EQ(state.subsystems.size(), 2u);
  const NvmetSubsystem& shown = state.subsystems[0].nqn == kPart ? state.subsystems[0] : state.subsystems[1];
  ASSERT_EQ(shown.namespaces.size(), 1u);
  EXPECT_EQ(shown.namespaces[0].device_path, "/dev/mapper/meshstor-x-7");
  EXPECT_FALSE(shown.namespaces[0].enabled);
  EXPECT_TRUE(shown.allowed_hosts.empty());
}

INSTANTIATE_TEST_SUITE_P(Waiting, NvmetDrain, ::testing::Values("write", "rmdir"));

TEST_F(Nvmet, LooksAgainAfterADrainThatFailed) {
  MakePorts();
  ASSERT_TRUE(EnsureNvmetExport(sysfs_, Wanted()).ok());
  sys_.FailOn(std::string("write subsystems/") + kPart + "/namespaces/17/enable 0", EIO);
  EXPECT_EQ(RemoveNvmetExport(sysfs_, kPart).error().err, EIO);
  ASSERT_EQ(State().subsystems[0].namespaces.size(), 1u);
  EXPECT_TRUE(State().subsystems[0].namespaces[0].enabled);
  sys_.ClearFaults();
  EXPECT_TRUE(RemoveNvmetExport(sysfs_, kPart).ok());
}

TEST(NvmetAbsent, IsEmptyWithoutTheModuleAndUnknownWithoutConfigfs) {
  TempTree tree;
  const Sysfs sysfs(RealSyscalls(), tree.root());
  EXPECT_TRUE(ReadNvmetState(sysfs).value().subsystems.empty());
  EXPECT_TRUE(RemoveNvmetExport(sysfs, kPart).ok());
  EXPECT_EQ(EnsureNvmetPort(sysfs, {1, "tcp", "10.0.0.1", "4420"}).error().err, ENOENT);
  tree.Dir("/sys/module/nvmet");
  EXPECT_EQ(ReadNvmetState(sysfs).error().err, EIO);
  EXPECT_EQ(RemoveNvmetExport(sysfs, kPart).error().err, EIO);
}

}  // namespace
}  // namespace meshstor
