#include "native/core/nvme_fabrics.h"

#include <napi.h>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

Napi::Value ControllerToJs(Napi::Env env, const NvmeController& controller) {
  auto js = Napi::Object::New(env);
  js.Set("name", Js(env, controller.name));
  js.Set("state", Js(env, controller.state));
  js.Set("transport", Js(env, controller.transport));
  js.Set("subsystemNqn", Js(env, controller.subsystem_nqn));
  js.Set("hostNqn", Js(env, controller.host_nqn));
  js.Set("traddr", Js(env, controller.traddr));
  js.Set("trsvcid", Js(env, controller.trsvcid));
  return js;
}

uint32_t Uint32Field(const Napi::Object& object, const char* name) {
  const uint64_t number = UintField(object, name);
  if (number > UINT32_MAX) ThrowExpected(object.Env(), name, "a number of 32 bits");
  return static_cast<uint32_t>(number);
}

/// nvmeControllers(root?)
Napi::Value Controllers(const Napi::CallbackInfo& info) {
  const std::string root = StringArgOr(info, 0, "root", "");
  return RunAsync<std::vector<NvmeController>>(
      info.Env(), [root] { return ReadNvmeControllers(Sysfs(RealSyscalls(), root)); },
      [](Napi::Env env, const std::vector<NvmeController>& found) { return JsArray(env, found, ControllerToJs); });
}

/// nvmeConnect(options, root?)
Napi::Value Connect(const Napi::CallbackInfo& info) {
  const auto js = ObjectArg(info, 0, "options");
  const std::string root = StringArgOr(info, 1, "root", "");
  NvmeConnectOptions options;
  options.transport = StringField(js, "transport");
  options.traddr = StringField(js, "traddr");
  options.trsvcid = StringField(js, "trsvcid");
  options.nqn = StringField(js, "nqn");
  options.host_nqn = StringField(js, "hostNqn");
  options.host_id = StringField(js, "hostId");
  options.keep_alive_tmo_sec = Uint32Field(js, "keepAliveTmoSec");
  options.fast_io_fail_tmo_sec = Uint32Field(js, "fastIoFailTmoSec");
  options.ctrl_loss_tmo_sec = Uint32Field(js, "ctrlLossTmoSec");
  options.reconnect_delay_sec = Uint32Field(js, "reconnectDelaySec");
  options.nr_io_queues = Uint32Field(js, "nrIoQueues");
  return RunAsync<std::string>(
      info.Env(), [options, root] { return NvmeConnect(Sysfs(RealSyscalls(), root), options); },
      [](Napi::Env env, const std::string& controller) {
        auto reply = Napi::Object::New(env);
        reply.Set("controller", Js(env, controller));
        return Napi::Value(reply);
      });
}

/// nvmeDisconnect(nqn, root?)
Napi::Value Disconnect(const Napi::CallbackInfo& info) {
  const std::string nqn = StringArg(info, 0, "nqn");
  const std::string root = StringArgOr(info, 1, "root", "");
  return RunAsync(info.Env(), [nqn, root] { return NvmeDisconnect(Sysfs(RealSyscalls(), root), nqn); });
}

}  // namespace

void RegisterNvmeFabrics(Napi::Env env, Napi::Object exports) {
  exports.Set("nvmeControllers", Napi::Function::New(env, Controllers, "nvmeControllers"));
  exports.Set("nvmeConnect", Napi::Function::New(env, Connect, "nvmeConnect"));
  exports.Set("nvmeDisconnect", Napi::Function::New(env, Disconnect, "nvmeDisconnect"));
}

}  // namespace meshstor
