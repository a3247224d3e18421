#include "native/core/nvmet.h"

#include <napi.h>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

uint32_t Uint32Of(const Napi::Value& value, const char* name) {
  const uint64_t number = ToUintArg(value, name);
  if (number > UINT32_MAX) ThrowExpected(value.Env(), name, "a number of 32 bits");
  return static_cast<uint32_t>(number);
}

Napi::Value PortToJs(Napi::Env env, const NvmetPort& port) {
  auto js = Napi::Object::New(env);
  js.Set("id", Js(env, port.id));
  js.Set("trtype", Js(env, port.trtype));
  js.Set("adrfam", Js(env, port.adrfam));
  js.Set("traddr", Js(env, port.traddr));
  js.Set("trsvcid", Js(env, port.trsvcid));
  js.Set("subsystems", JsArray(env, port.subsystems));
  return js;
}

Napi::Value NamespaceToJs(Napi::Env env, const NvmetNamespace& ns) {
  auto js = Napi::Object::New(env);
  js.Set("nsid", Js(env, ns.nsid));
  js.Set("devicePath", Js(env, ns.device_path));
  js.Set("enabled", Js(env, ns.enabled));
  js.Set("uuid", Js(env, ns.uuid));
  return js;
}

Napi::Value SubsystemToJs(Napi::Env env, const NvmetSubsystem& subsystem) {
  auto js = Napi::Object::New(env);
  js.Set("nqn", Js(env, subsystem.nqn));
  js.Set("allowAnyHost", Js(env, subsystem.allow_any_host));
  js.Set("allowedHosts", JsArray(env, subsystem.allowed_hosts));
  js.Set("namespaces", JsArray(env, subsystem.namespaces, NamespaceToJs));
  return js;
}

Napi::Value StateToJs(Napi::Env env, const NvmetState& state) {
  auto js = Napi::Object::New(env);
  js.Set("ports", JsArray(env, state.ports, PortToJs));
  js.Set("subsystems", JsArray(env, state.subsystems, SubsystemToJs));
  js.Set("hosts", JsArray(env, state.hosts));
  return js;
}

/// nvmetState(root?)
Napi::Value State(const Napi::CallbackInfo& info) {
  const std::string root = StringArgOr(info, 0, "root", "");
  return RunAsync<NvmetState>(
      info.Env(), [root] { return ReadNvmetState(Sysfs(RealSyscalls(), root)); }, StateToJs);
}

/// ensureNvmetPort({id, trtype, traddr, trsvcid}, root?)
Napi::Value EnsurePort(const Napi::CallbackInfo& info) {
  const auto js = ObjectArg(info, 0, "port");
  const std::string root = StringArgOr(info, 1, "root", "");
  NvmetPortWanted wanted;
  wanted.id = Uint32Of(js.Get("id"), "id");
  wanted.trtype = StringField(js, "trtype");
  wanted.traddr = StringField(js, "traddr");
  wanted.trsvcid = StringField(js, "trsvcid");
  return RunAsync(info.Env(), [wanted, root] { return EnsureNvmetPort(Sysfs(RealSyscalls(), root), wanted); });
}

/// ensureNvmetExport({nqn, nsid, devicePath, uuid, hostNqn, portIds}, root?)
Napi::Value EnsureExport(const Napi::CallbackInfo& info) {
  const auto js = ObjectArg(info, 0, "wanted");
  const std::string root = StringArgOr(info, 1, "root", "");
  NvmetExportWanted wanted;
  wanted.nqn = StringField(js, "nqn");
  wanted.nsid = Uint32Of(js.Get("nsid"), "nsid");
  wanted.device_path = StringField(js, "devicePath");
  wanted.uuid = StringField(js, "uuid");
  wanted.host_nqn = StringField(js, "hostNqn");
  const Napi::Value ports = js.Get("portIds");
  if (!ports.IsArray()) ThrowExpected(info.Env(), "portIds", "an array of numbers");
  const auto array = ports.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) wanted.port_ids.push_back(Uint32Of(array.Get(i), "portIds"));
  return RunAsync(info.Env(), [wanted, root] { return EnsureNvmetExport(Sysfs(RealSyscalls(), root), wanted); });
}

/// removeNvmetExport(nqn, root?). It waits for the drive, so never on the pool.
Napi::Value RemoveExport(const Napi::CallbackInfo& info) {
  const std::string nqn = StringArg(info, 0, "nqn");
  const std::string root = StringArgOr(info, 1, "root", "");
  return RunOnThread(info.Env(), [nqn, root] { return RemoveNvmetExport(Sysfs(RealSyscalls(), root), nqn); });
}

}  // namespace

void RegisterNvmet(Napi::Env env, Napi::Object exports) {
  exports.Set("nvmetState", Napi::Function::New(env, State, "nvmetState"));
  exports.Set("ensureNvmetPort", Napi::Function::New(env, EnsurePort, "ensureNvmetPort"));
  exports.Set("ensureNvmetExport", Napi::Function::New(env, EnsureExport, "ensureNvmetExport"));
  exports.Set("removeNvmetExport", Napi::Function::New(env, RemoveExport, "removeNvmetExport"));
}

}  // namespace meshstor
