#include "native/core/device_mapper.h"

#include <napi.h>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

Napi::Value TargetToJs(Napi::Env env, const DmTarget& target) {
  auto js = Napi::Object::New(env);
  js.Set("startSectors", Js(env, target.start_sectors));
  js.Set("lengthSectors", Js(env, target.length_sectors));
  js.Set("type", Js(env, target.type));
  js.Set("params", Js(env, target.params));
  return js;
}

Napi::Value DeviceToJs(Napi::Env env, const DmDevice& device) {
  auto js = Napi::Object::New(env);
  js.Set("name", Js(env, device.name));
  js.Set("uuid", Js(env, device.uuid));
  js.Set("kernelName", Js(env, device.kernel_name));
  js.Set("path", Js(env, device.path));
  js.Set("devNumber", Js(env, device.dev_number));
  js.Set("openCount", Js(env, device.open_count));
  js.Set("suspended", Js(env, device.suspended));
  js.Set("table", JsArray(env, device.table, TargetToJs));
  js.Set("status", JsArray(env, device.status, TargetToJs));
  return js;
}

std::vector<DmTarget> TableArg(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsArray()) ThrowExpected(info.Env(), "table", "an array of targets");
  const auto array = info[index].As<Napi::Array>();
  std::vector<DmTarget> table;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object target = ToObjectArg(array.Get(i), "table[" + std::to_string(i) + "]");
    table.push_back(DmTarget{UintField(target, "startSectors"), UintField(target, "lengthSectors"),
                             StringField(target, "type"), StringField(target, "params")});
  }
  return table;
}

/// (prefix)
Napi::Value DmDevices(const Napi::CallbackInfo& info) {
  const std::string prefix = StringArg(info, 0, "prefix");
  return RunAsync<std::vector<DmDevice>>(
      info.Env(), [prefix] { return DeviceMapper(Sysfs(RealSyscalls())).List(prefix); },
      [](Napi::Env env, const std::vector<DmDevice>& devices) { return JsArray(env, devices, DeviceToJs); });
}

/// (name, uuid, table)
Napi::Value CreateDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  const std::string uuid = StringArg(info, 1, "uuid");
  const std::vector<DmTarget> table = TableArg(info, 2);
  return RunAsync<DmDevice>(
      info.Env(), [=] { return DeviceMapper(Sysfs(RealSyscalls())).Create(name, uuid, table); }, DeviceToJs);
}

/// (name, table)
Napi::Value ReloadDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  const std::vector<DmTarget> table = TableArg(info, 1);
  return RunAsync(info.Env(), [=] { return DeviceMapper(Sysfs(RealSyscalls())).Reload(name, table); });
}

/// (name)
Napi::Value SuspendDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  return RunAsync(info.Env(), [name] { return DeviceMapper(Sysfs(RealSyscalls())).Suspend(name); });
}

/// (name)
Napi::Value ResumeDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  return RunAsync(info.Env(), [name] { return DeviceMapper(Sysfs(RealSyscalls())).Resume(name); });
}

/// (name, message)
Napi::Value MessageDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  const std::string message = StringArg(info, 1, "message");
  return RunAsync(info.Env(), [=] { return DeviceMapper(Sysfs(RealSyscalls())).Message(name, message); });
}

/// (name)
Napi::Value RemoveDm(const Napi::CallbackInfo& info) {
  const std::string name = StringArg(info, 0, "name");
  return RunAsync(info.Env(), [name] { return DeviceMapper(Sysfs(RealSyscalls())).Remove(name); });
}

}  // namespace

void RegisterDeviceMapper(Napi::Env env, Napi::Object exports) {
  exports.Set("dmDevices", Napi::Function::New(env, DmDevices, "dmDevices"));
  exports.Set("createDm", Napi::Function::New(env, CreateDm, "createDm"));
  exports.Set("reloadDm", Napi::Function::New(env, ReloadDm, "reloadDm"));
  exports.Set("suspendDm", Napi::Function::New(env, SuspendDm, "suspendDm"));
  exports.Set("resumeDm", Napi::Function::New(env, ResumeDm, "resumeDm"));
  exports.Set("messageDm", Napi::Function::New(env, MessageDm, "messageDm"));
  exports.Set("removeDm", Napi::Function::New(env, RemoveDm, "removeDm"));
}

}  // namespace meshstor
