#include "native/core/nvme_fabrics.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <optional>

namespace meshstor {
namespace {

constexpr char kClass[] = "/sys/class/nvme";
constexpr char kFabrics[] = "/dev/nvme-fabrics";
/// The kernel takes at most one page of options.
constexpr size_t kMaxOptionBytes = 4096;
constexpr size_t kMaxReplyBytes = 4096;

/// Value of one `key=value` of a comma-separated list; empty when it is not there.
std::string Field(const std::string& list, const std::string& key) {
  size_t at = 0;
  while (at <= list.size()) {
    const size_t comma = std::min(list.find(',', at), list.size());
    const std::string item = Trim(list.substr(at, comma - at));
    if (item.compare(0, key.size() + 1, key + "=") == 0) return item.substr(key.size() + 1);
    at = comma + 1;
  }
  return {};
}

std::string TransportOf(const std::string& text) {
  for (const char* known : {"pcie", "tcp", "rdma", "fc", "loop"}) {
    if (text == known) return text;
  }
  return "unknown";
}

/// `nvme` and digits: the class directory holds nothing else today.
bool IsControllerName(const std::string& name) {
  return name.size() > 4 && name.compare(0, 4, "nvme") == 0 &&
         name.find_first_not_of("0123456789", 4) == std::string::npos;
}

std::optional<NvmeController> ReadController(const Sysfs& sysfs, const std::string& name) {
  const std::string dir = std::string(kClass) + "/" + name;
  auto state = sysfs.Read(dir + "/state");
  if (!state.ok()) return std::nullopt;
  NvmeController controller;
  controller.name = name;
  controller.state = state.value();
  controller.transport = TransportOf(sysfs.ReadOr(dir + "/transport", ""));
  controller.subsystem_nqn = sysfs.ReadOr(dir + "/subsysnqn", "");
  controller.host_nqn = sysfs.ReadOr(dir + "/hostnqn", "");
  const std::string address = sysfs.ReadOr(dir + "/address", "");
  const bool is_fabrics = controller.transport != "pcie";
  controller.traddr = is_fabrics ? Field(address, "traddr") : address;
  controller.trsvcid = is_fabrics ? Field(address, "trsvcid") : "";
  return controller;
}

bool IsGoingAway(const NvmeController& controller) {
  return controller.state == "dead" || controller.state.compare(0, 8, "deleting") == 0;
}

/// Gone meanwhile, or EBUSY: still being set up, so the next look asks again.
bool MayPass(int err) { return err == ENOENT || err == ENODEV || err == EBUSY; }

bool Serves(const NvmeController& controller, const NvmeConnectOptions& options) {
  return controller.subsystem_nqn == options.nqn && controller.transport == options.transport &&
         controller.traddr == options.traddr && controller.trsvcid == options.trsvcid &&
         controller.host_nqn == options.host_nqn;
}

Status AppendOption(std::string& text, const char* key, const std::string& value) {
  if (value.empty() || value.find_first_of(",\n\r") != std::string::npos || value.find('\0') != std::string::npos) {
    return Failed(EINVAL, "write", kFabrics, std::string(key) + " is empty or has a separator in it");
  }
  if (!text.empty()) text += ',';
  text += std::string(key) + "=" + value;
  return Ok();
}

Result<std::string> WriteOptions(const Sysfs& sysfs, const std::string& text) {
  const std::string path = sysfs.Path(kFabrics);
  auto fd = OpenFile(sysfs.sys(), path, O_RDWR);
  if (!fd.ok()) return fd.error();
  if (Status written = WriteOnce(sysfs.sys(), fd.value().get(), text, path); !written.ok()) return written.error();
  return ReadToEnd(sysfs.sys(), fd.value().get(), kMaxReplyBytes, path);
}

Result<std::vector<NvmeController>> FabricsControllersOf(const Sysfs& sysfs, const std::string& nqn) {
  auto all = ReadNvmeControllers(sysfs);
  if (!all.ok()) return all.error();
  std::vector<NvmeController> found;
  for (NvmeController& controller : all.value()) {
    if (controller.subsystem_nqn == nqn && controller.transport != "pcie") found.push_back(std::move(controller));
  }
  return found;
}

Status AskToDelete(const Sysfs& sysfs, const std::vector<NvmeController>& controllers) {
  for (const NvmeController& controller : controllers) {
    if (IsGoingAway(controller)) continue;
    Status asked = sysfs.Write(std::string(kClass) + "/" + controller.name + "/delete_controller", "1");
    if (!asked.ok() && !MayPass(asked.error().err)) return asked;
  }
  return Ok();
}

}  // namespace

Result<std::vector<NvmeController>> ReadNvmeControllers(const Sysfs& sysfs) {
  std::vector<NvmeController> controllers;
  auto names = sysfs.List(kClass);
  if (!names.ok() && names.error().err == ENOENT) return controllers;
  if (!names.ok()) return names.error();
  for (const std::string& name : names.value()) {
    if (!IsControllerName(name)) continue;
    auto controller = ReadController(sysfs, name);
    if (controller) controllers.push_back(std::move(*controller));
  }
  return controllers;
}

Result<std::string> FabricsOptions(const NvmeConnectOptions& options) {
  const std::pair<const char*, std::string> fields[] = {
      {"transport", options.transport},
      {"traddr", options.traddr},
      {"trsvcid", options.trsvcid},
      {"nqn", options.nqn},
      {"hostnqn", options.host_nqn},
      {"hostid", options.host_id},
      {"keep_alive_tmo", std::to_string(options.keep_alive_tmo_sec)},
      {"fast_io_fail_tmo", std::to_string(options.fast_io_fail_tmo_sec)},
      {"ctrl_loss_tmo", std::to_string(options.ctrl_loss_tmo_sec)},
      {"reconnect_delay", std::to_string(options.reconnect_delay_sec)},
      {"nr_io_queues", std::to_string(options.nr_io_queues)},
  };
  std::string text;
  for (const auto& [key, value] : fields) {
    if (Status added = AppendOption(text, key, value); !added.ok()) return added.error();
  }
  if (text.size() >= kMaxOptionBytes) return Failed(EINVAL, "write", kFabrics, "the options are longer than a page");
  return text;
}

Result<std::string> ParseFabricsReply(const std::string& reply) {
  const std::string instance = Field(Trim(reply), "instance");
  if (instance.empty() || !ParseUint(instance, "instance").ok()) {
    return Failed(EBADMSG, "read", kFabrics, "expected instance=N,cntlid=M, got \"" + Trim(reply).substr(0, 64) + "\"");
  }
  return "nvme" + instance;
}

Result<std::string> NvmeConnect(const Sysfs& sysfs, const NvmeConnectOptions& options) {
  auto text = FabricsOptions(options);
  if (!text.ok()) return text.error();
  auto before = FabricsControllersOf(sysfs, options.nqn);
  if (!before.ok()) return before.error();
  for (const NvmeController& controller : before.value()) {
    if (Serves(controller, options) && controller.state == "live") return controller.name;
  }
  auto reply = WriteOptions(sysfs, text.value());
  if (reply.ok()) return ParseFabricsReply(reply.value());
  if (reply.error().err != EALREADY) return reply.error();
  auto after = FabricsControllersOf(sysfs, options.nqn);
  if (!after.ok()) return after.error();
  for (const NvmeController& controller : after.value()) {
    if (Serves(controller, options) && !IsGoingAway(controller)) return controller.name;
  }
  return reply.error();
}

Status NvmeDisconnect(const Sysfs& sysfs, const std::string& nqn, const DisconnectLimits& limits) {
  for (int poll = 0;; ++poll) {
    auto left = FabricsControllersOf(sysfs, nqn);
    if (!left.ok()) return left.error();
    if (left.value().empty()) return Ok();
    const NvmeController& first = left.value().front();
    if (poll == limits.polls) {
      return Failed(ETIMEDOUT, "write", sysfs.Path(std::string(kClass) + "/" + first.name + "/delete_controller"),
                    "controller is still " + first.state);
    }
    if (Status asked = AskToDelete(sysfs, left.value()); !asked.ok()) return asked;
    // Deleting mostly is over when the write returns: look again before sleeping.
    left = FabricsControllersOf(sysfs, nqn);
    if (left.ok() && left.value().empty()) return Ok();
    sysfs.sys().Poll(nullptr, 0, limits.poll_interval_ms);
  }
}

}  // namespace meshstor
