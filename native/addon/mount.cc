#include "native/core/mount.h"

#include <napi.h>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

Napi::Value EntryToJs(Napi::Env env, const MountEntry& entry) {
  auto js = Napi::Object::New(env);
  js.Set("mountPoint", Js(env, entry.mount_point));
  js.Set("root", Js(env, entry.root));
  js.Set("fsType", Js(env, entry.fs_type));
  js.Set("source", Js(env, entry.source));
  js.Set("devNumber", Js(env, entry.dev_number));
  js.Set("options", JsArray(env, entry.options));
  return js;
}

/// ()
Napi::Value Mounts(const Napi::CallbackInfo& info) {
  return RunAsync<std::vector<MountEntry>>(
      info.Env(), [] { return ReadMounts(Sysfs(RealSyscalls())); },
      [](Napi::Env env, const std::vector<MountEntry>& entries) { return JsArray(env, entries, EntryToJs); });
}

/// (source, target, fsType, options)
Napi::Value MountIt(const Napi::CallbackInfo& info) {
  const std::string source = StringArg(info, 0, "source");
  const std::string target = StringArg(info, 1, "target");
  const std::string type = StringArg(info, 2, "fsType");
  const std::vector<std::string> options = StringsArg(info, 3, "options");
  return RunAsync(info.Env(), [=] { return MountFilesystem(RealSyscalls(), source, target, type, options); });
}

/// (source, target, readOnly)
Napi::Value BindIt(const Napi::CallbackInfo& info) {
  const std::string source = StringArg(info, 0, "source");
  const std::string target = StringArg(info, 1, "target");
  const bool read_only = BoolArg(info, 2, "readOnly");
  return RunAsync(info.Env(), [=] { return BindMount(source, target, read_only); });
}

/// (target, limitMs?)
Napi::Value UnmountIt(const Napi::CallbackInfo& info) {
  const std::string target = StringArg(info, 0, "target");
  const uint64_t limit_ms =
      info[1].IsUndefined() ? static_cast<uint64_t>(kUnmountLimit.count()) : UintArg(info, 1, "limitMs");
  return RunAsync(info.Env(),
                  [=] { return Unmount(Sysfs(RealSyscalls()), target, std::chrono::milliseconds(limit_ms)); });
}

}  // namespace

void RegisterMount(Napi::Env env, Napi::Object exports) {
  exports.Set("mounts", Napi::Function::New(env, Mounts, "mounts"));
  exports.Set("mount", Napi::Function::New(env, MountIt, "mount"));
  exports.Set("bindMount", Napi::Function::New(env, BindIt, "bindMount"));
  exports.Set("unmount", Napi::Function::New(env, UnmountIt, "unmount"));
}

}  // namespace meshstor
