#include "native/core/nvmet.h"

#include <errno.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

#include "native/core/configfs.h"
#include "native/core/nvmet_claims.h"

namespace meshstor {
namespace {

constexpr char kTarget[] = "/sys/kernel/config/nvmet";
constexpr char kModule[] = "/sys/module/nvmet";
constexpr char kModel[] = "MeshStor";
/// NVMF_NQN_FIELD_LEN less the terminating NUL, as the NVMe base specification has it.
constexpr size_t kMaxNqnBytes = 223;

/// For what exports share: the addresses of the ports and the directory of hosts. Only around calls that wait for no
/// I/O. Never destroyed: a thread that hangs may come back while the process ends.
std::mutex& SharedMutex() {
  static auto& mutex = *new std::mutex;
  return mutex;
}

std::string PortsDir() { return std::string(kTarget) + "/ports"; }
std::string HostsDir() { return std::string(kTarget) + "/hosts"; }
std::string SubsystemsDir() { return std::string(kTarget) + "/subsystems"; }
std::string PortDir(const std::string& id) { return PortsDir() + "/" + id; }
std::string HostDir(const std::string& nqn) { return HostsDir() + "/" + nqn; }
std::string SubsystemDir(const std::string& nqn) { return SubsystemsDir() + "/" + nqn; }

/// An unset path reads as "(null)": the kernel prints its NULL pointer.
std::string DevicePath(const Sysfs& sysfs, const std::string& ns_dir) {
  const std::string path = sysfs.ReadOr(ns_dir + "/device_path", "");
  return path == "(null)" ? "" : path;
}

NvmetNamespace ReadNamespace(const Sysfs& sysfs, const std::string& subsystem_dir, uint32_t nsid) {
  const std::string dir = subsystem_dir + "/namespaces/" + std::to_string(nsid);
  NvmetNamespace ns;
  ns.nsid = nsid;
  ns.device_path = DevicePath(sysfs, dir);
  ns.enabled = sysfs.ReadOr(dir + "/enable", "0") == "1";
  ns.uuid = sysfs.ReadOr(dir + "/device_uuid", "");
  return ns;
}

/// Directory names that are numbers, in the order of the numbers.
std::vector<uint32_t> NumberedEntries(const Sysfs& sysfs, const std::string& dir) {
  std::vector<uint32_t> numbers;
  for (const std::string& name : sysfs.ListOrEmpty(dir)) {
    auto number = ParseUint(name, dir);
    if (number.ok() && number.value() <= UINT32_MAX) numbers.push_back(static_cast<uint32_t>(number.value()));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// While they are being drained a look at them could hang as long as the drain does.
std::vector<NvmetNamespace> ReadNamespaces(const Sysfs& sysfs, const std::string& subsystem_dir) {
  const ExportReading reading(sysfs.Path(subsystem_dir));
  if (reading.draining().has_value()) return *reading.draining();
  std::vector<NvmetNamespace> namespaces;
  for (const uint32_t nsid : NumberedEntries(sysfs, subsystem_dir + "/namespaces")) {
    if (!sysfs.Exists(subsystem_dir + "/namespaces/" + std::to_string(nsid))) continue;
    namespaces.push_back(ReadNamespace(sysfs, subsystem_dir, nsid));
  }
  return namespaces;
}

NvmetSubsystem ReadSubsystem(const Sysfs& sysfs, const std::string& nqn) {
  const std::string dir = SubsystemDir(nqn);
  NvmetSubsystem subsystem;
  subsystem.nqn = nqn;
  subsystem.allow_any_host = sysfs.ReadOr(dir + "/attr_allow_any_host", "0") == "1";
  subsystem.allowed_hosts = LinkedNames(sysfs, dir + "/allowed_hosts");
  subsystem.namespaces = ReadNamespaces(sysfs, dir);
  return subsystem;
}

NvmetPort ReadPort(const Sysfs& sysfs, uint32_t id) {
  const std::string dir = PortDir(std::to_string(id));
  NvmetPort port;
  port.id = id;
  port.trtype = sysfs.ReadOr(dir + "/addr_trtype", "");
  port.adrfam = sysfs.ReadOr(dir + "/addr_adrfam", "");
  port.traddr = sysfs.ReadOr(dir + "/addr_traddr", "");
  port.trsvcid = sysfs.ReadOr(dir + "/addr_trsvcid", "");
  port.subsystems = LinkedNames(sysfs, dir + "/subsystems");
  return port;
}

/// True when there is a target to configure. False is "nothing is exported, and nothing can be". The error: exports may
/// exist, unseen.
Result<bool> HasTarget(const Sysfs& sysfs) {
  if (sysfs.Exists(kTarget)) return true;
  if (!sysfs.Exists(kModule)) return false;
  return Failed(EIO, "lstat", sysfs.Path(kTarget), "nvmet is loaded but configfs is not mounted on /sys/kernel/config");
}

Status RequireTarget(const Sysfs& sysfs) {
  auto has = HasTarget(sysfs);
  if (!has.ok()) return has.error();
  if (!has.value()) return Failed(ENOENT, "lstat", sysfs.Path(kTarget), "the nvmet module is not loaded");
  return Ok();
}

/// NQNs become directory names.
Status CheckNqn(const std::string& nqn) {
  const bool is_printable = std::all_of(nqn.begin(), nqn.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
  const bool is_name = !nqn.empty() && nqn[0] != '.' && nqn.size() <= kMaxNqnBytes;
  if (is_printable && is_name) return Ok();
  return Failed(EINVAL, "mkdir", nqn, "not usable as an NQN");
}

/// One attribute is one line.
Status CheckValue(const std::string& value, const char* what) {
  if (!value.empty() && value.size() < 256 && value.find('\n') == std::string::npos) return Ok();
  return Failed(EINVAL, "write", what, "empty, too long or with a line end");
}

/// What a call gets while another one of this process changes the same export. It does not wait: the other one may
/// hang for as long as a drive does.
SysError Busy(const Sysfs& sysfs, const std::string& nqn, const char* syscall) {
  return Failed(EBUSY, syscall, sysfs.Path(SubsystemDir(nqn)),
                "another change of this export is under way; a removal lasts until the requests in flight have landed");
}

Status Differs(const Sysfs& sysfs, const std::string& dir, const std::string& message) {
  return Failed(EEXIST, "mkdir", sysfs.Path(dir), message);
}

/// 18 characters (the field has 20) that are the same after every restart of the holder: FNV-1a over the NQN.
std::string SerialOf(const std::string& nqn) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : nqn) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  char text[24];
  std::snprintf(text, sizeof(text), "MS%016llx", static_cast<unsigned long long>(hash));
  return text;
}

bool IsLinkedAnywhere(const Sysfs& sysfs, const std::string& nqn) {
  for (const uint32_t id : NumberedEntries(sysfs, PortsDir())) {
    const auto linked = LinkedNames(sysfs, PortDir(std::to_string(id)) + "/subsystems");
    if (std::binary_search(linked.begin(), linked.end(), nqn)) return true;
  }
  return false;
}

/// Refuses a subsystem that is not a part of what is wanted; what is merely unfinished passes.
Status CheckExisting(const Sysfs& sysfs, const NvmetExportWanted& wanted, bool is_linked) {
  const std::string dir = SubsystemDir(wanted.nqn);
  const NvmetSubsystem found = ReadSubsystem(sysfs, wanted.nqn);
  if (found.allow_any_host && is_linked) return Differs(sysfs, dir, "the subsystem admits any host");
  for (const std::string& host : found.allowed_hosts) {
    if (host != wanted.host_nqn) return Differs(sysfs, dir, "the subsystem admits " + host);
  }
  for (const NvmetNamespace& ns : found.namespaces) {
    if (ns.nsid != wanted.nsid) return Differs(sysfs, dir, "the subsystem has namespace " + std::to_string(ns.nsid));
    if (!ns.device_path.empty() && ns.device_path != wanted.device_path) {
      return Differs(sysfs, dir, "the namespace is on " + ns.device_path);
    }
    // A disabled one may still have the random UUID that it was born with.
    if (ns.enabled && ns.uuid != wanted.uuid) return Differs(sysfs, dir, "the namespace has UUID " + ns.uuid);
  }
  return Ok();
}

Status EnsureSubsystem(const Sysfs& sysfs, const NvmetExportWanted& wanted) {
  const std::string dir = SubsystemDir(wanted.nqn);
  if (Status made = Mkdir(sysfs, dir); !made.ok()) return made;
  const bool is_linked = IsLinkedAnywhere(sysfs, wanted.nqn);
  if (Status fits = CheckExisting(sysfs, wanted, is_linked); !fits.ok()) return fits;
  if (Status closed = SetAttribute(sysfs, dir + "/attr_allow_any_host", "0"); !closed.ok()) return closed;
  if (is_linked) return Ok();  // The identity is fixed once a host may have seen it.
  const std::pair<const char*, std::string> identity[] = {{"/attr_serial", SerialOf(wanted.nqn)},
                                                          {"/attr_model", kModel}};
  for (const auto& [attribute, value] : identity) {
    if (!sysfs.Exists(dir + attribute)) continue;
    if (Status set = SetAttribute(sysfs, dir + attribute, value); !set.ok()) return set;
  }
  return Ok();
}

/// No NGUID is set: one beside the UUID would only be a second name that could differ.
Status EnsureNamespace(const Sysfs& sysfs, const NvmetExportWanted& wanted) {
  const std::string dir = SubsystemDir(wanted.nqn) + "/namespaces/" + std::to_string(wanted.nsid);
  if (Status made = Mkdir(sysfs, dir); !made.ok()) return made;
  if (sysfs.ReadOr(dir + "/enable", "0") == "1") return Ok();
  if (Status set = SetAttribute(sysfs, dir + "/device_path", wanted.device_path); !set.ok()) return set;
  if (Status set = SetAttribute(sysfs, dir + "/device_uuid", wanted.uuid); !set.ok()) return set;
  return sysfs.Write(dir + "/enable", "1");
}

/// A host that no subsystem uses may be removed at any time but between these two calls.
Status EnsureHost(const Sysfs& sysfs, const NvmetExportWanted& wanted) {
  const std::lock_guard<std::mutex> lock(SharedMutex());
  if (Status made = Mkdir(sysfs, HostDir(wanted.host_nqn)); !made.ok()) return made;
  const std::string dir = SubsystemDir(wanted.nqn) + "/allowed_hosts";
  const auto linked = LinkedNames(sysfs, dir);
  if (std::binary_search(linked.begin(), linked.end(), wanted.host_nqn)) return Ok();
  return Link(sysfs, HostDir(wanted.host_nqn), dir + "/" + wanted.host_nqn);
}

/// The kernel listens from the first link on, so the address must not be in the middle of a change.
Status LinkToPorts(const Sysfs& sysfs, const NvmetExportWanted& wanted) {
  const std::lock_guard<std::mutex> lock(SharedMutex());
  for (const uint32_t id : wanted.port_ids) {
    const std::string dir = PortDir(std::to_string(id)) + "/subsystems";
    const auto linked = LinkedNames(sysfs, dir);
    if (std::binary_search(linked.begin(), linked.end(), wanted.nqn)) continue;
    if (Status done = Link(sysfs, SubsystemDir(wanted.nqn), dir + "/" + wanted.nqn); !done.ok()) return done;
  }
  return Ok();
}

Status UnlinkFromPorts(const Sysfs& sysfs, const std::string& nqn) {
  for (const uint32_t id : NumberedEntries(sysfs, PortsDir())) {
    const std::string dir = PortDir(std::to_string(id)) + "/subsystems";
    for (const std::string& link : sysfs.ListOrEmpty(dir)) {
      if (LinkedName(sysfs, dir, link) != nqn) continue;
      if (Status done = Unlink(sysfs, dir + "/" + link); !done.ok()) return done;
    }
  }
  return Ok();
}

/// Waits for what is in flight: no lock is held here but the claim.
Status RemoveNamespaces(const Sysfs& sysfs, const std::string& subsystem_dir, const ExportClaim& claim) {
  const std::vector<NvmetNamespace> found = ReadNamespaces(sysfs, subsystem_dir);
  std::vector<NvmetNamespace> draining = found;
  for (NvmetNamespace& ns : draining) ns.enabled = false;
  claim.StartDrain(std::move(draining));
  for (const NvmetNamespace& ns : found) {
    const std::string dir = subsystem_dir + "/namespaces/" + std::to_string(ns.nsid);
    if (ns.enabled) {
      Status off = sysfs.Write(dir + "/enable", "0");
      if (!off.ok() && !IsGone(off.error().err)) return off;
    }
    if (Status gone = Rmdir(sysfs, dir); !gone.ok()) return gone;
    claim.Drained(ns.nsid);
  }
  return Ok();
}

/// `nqn.2025-12.io.meshstor:` of `nqn.2025-12.io.meshstor:node1`; the whole NQN when it has no colon.
std::string NamingAuthority(const std::string& nqn) {
  const size_t colon = nqn.find(':');
  return colon == std::string::npos ? nqn : nqn.substr(0, colon + 1);
}

/// Hosts of others are left alone, so are ours that another export still admits.
Status RemoveUnusedHosts(const Sysfs& sysfs, const std::string& authority) {
  const std::lock_guard<std::mutex> lock(SharedMutex());
  std::vector<std::string> used;
  for (const std::string& nqn : sysfs.ListOrEmpty(SubsystemsDir())) {
    for (std::string& host : LinkedNames(sysfs, SubsystemDir(nqn) + "/allowed_hosts")) used.push_back(std::move(host));
  }
  for (const std::string& host : sysfs.ListOrEmpty(HostsDir())) {
    if (host.compare(0, authority.size(), authority) != 0) continue;
    if (std::find(used.begin(), used.end(), host) != used.end()) continue;
    Status gone = Rmdir(sysfs, HostDir(host));
    if (!gone.ok() && gone.error().err != EBUSY) return gone;
  }
  return Ok();
}

}  // namespace

Result<NvmetState> ReadNvmetState(const Sysfs& sysfs) {
  auto has = HasTarget(sysfs);
  if (!has.ok()) return has.error();
  NvmetState state;
  if (!has.value()) return state;
  for (const uint32_t id : NumberedEntries(sysfs, PortsDir())) {
    NvmetPort port = ReadPort(sysfs, id);
    if (sysfs.Exists(PortDir(std::to_string(id)))) state.ports.push_back(std::move(port));
  }
  for (const std::string& nqn : sysfs.ListOrEmpty(SubsystemsDir())) {
    NvmetSubsystem subsystem = ReadSubsystem(sysfs, nqn);
    if (sysfs.Exists(SubsystemDir(nqn))) state.subsystems.push_back(std::move(subsystem));
  }
  state.hosts = sysfs.ListOrEmpty(HostsDir());
  return state;
}

Status EnsureNvmetPort(const Sysfs& sysfs, const NvmetPortWanted& wanted) {
  const std::string dir = PortDir(std::to_string(wanted.id));
  const std::string adrfam = wanted.traddr.find(':') == std::string::npos ? "ipv4" : "ipv6";
  const std::pair<const char*, const std::string*> address[] = {{"/addr_trtype", &wanted.trtype},
                                                                {"/addr_adrfam", &adrfam},
                                                                {"/addr_traddr", &wanted.traddr},
                                                                {"/addr_trsvcid", &wanted.trsvcid}};
  for (const auto& [attribute, value] : address) {
    if (Status fits = CheckValue(*value, attribute + 1); !fits.ok()) return fits;
  }
  const std::lock_guard<std::mutex> lock(SharedMutex());
  if (Status ready = RequireTarget(sysfs); !ready.ok()) return ready;
  if (Status made = Mkdir(sysfs, dir); !made.ok()) return made;
  const NvmetPort found = ReadPort(sysfs, wanted.id);
  const bool is_same = found.trtype == wanted.trtype && found.adrfam == adrfam && found.traddr == wanted.traddr &&
                       found.trsvcid == wanted.trsvcid;
  if (is_same) return Ok();
  if (!found.subsystems.empty()) {
    return Differs(sysfs, dir, "the port is in use at " + found.trtype + " " + found.traddr + " " + found.trsvcid);
  }
  for (const auto& [attribute, value] : address) {
    if (Status set = SetAttribute(sysfs, dir + attribute, *value); !set.ok()) return set;
  }
  return Ok();
}

Status EnsureNvmetExport(const Sysfs& sysfs, const NvmetExportWanted& wanted) {
  for (const std::string* nqn : {&wanted.nqn, &wanted.host_nqn}) {
    if (Status fits = CheckNqn(*nqn); !fits.ok()) return fits;
  }
  if (Status fits = CheckValue(wanted.device_path, "device_path"); !fits.ok()) return fits;
  if (Status fits = CheckValue(wanted.uuid, "device_uuid"); !fits.ok()) return fits;
  if (Status ready = RequireTarget(sysfs); !ready.ok()) return ready;
  const auto claim = ExportClaim::Take(sysfs.Path(SubsystemDir(wanted.nqn)));
  if (!claim.has_value()) return Busy(sysfs, wanted.nqn, "mkdir");
  for (const uint32_t id : wanted.port_ids) {
    const std::string dir = PortDir(std::to_string(id));
    if (!sysfs.Exists(dir)) return Failed(ENOENT, "lstat", sysfs.Path(dir), "the port does not exist");
  }
  if (Status done = EnsureSubsystem(sysfs, wanted); !done.ok()) return done;
  if (Status done = EnsureNamespace(sysfs, wanted); !done.ok()) return done;
  if (Status done = EnsureHost(sysfs, wanted); !done.ok()) return done;
  return LinkToPorts(sysfs, wanted);
}

Status RemoveNvmetExport(const Sysfs& sysfs, const std::string& nqn) {
  if (Status fits = CheckNqn(nqn); !fits.ok()) return fits;
  auto has = HasTarget(sysfs);
  if (!has.ok()) return has.error();
  if (!has.value()) return Ok();
  const std::string dir = SubsystemDir(nqn);
  const auto claim = ExportClaim::Take(sysfs.Path(dir));
  if (!claim.has_value()) return Busy(sysfs, nqn, "rmdir");
  if (Status done = UnlinkFromPorts(sysfs, nqn); !done.ok()) return done;
  for (const std::string& link : sysfs.ListOrEmpty(dir + "/allowed_hosts")) {
    if (Status done = Unlink(sysfs, dir + "/allowed_hosts/" + link); !done.ok()) return done;
  }
  if (Status done = RemoveNamespaces(sysfs, dir, *claim); !done.ok()) return done;
  if (Status done = Rmdir(sysfs, dir); !done.ok()) return done;
  return RemoveUnusedHosts(sysfs, NamingAuthority(nqn));
}

}  // namespace meshstor
