#include "native/core/filesystem.h"

#include <napi.h>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"
#include "native/core/process.h"

namespace meshstor {
namespace {

Napi::Value UsageToJs(Napi::Env env, const FilesystemUsage& usage) {
  auto js = Napi::Object::New(env);
  js.Set("totalBytes", Js(env, usage.total_bytes));
  js.Set("availableBytes", Js(env, usage.available_bytes));
  js.Set("usedBytes", Js(env, usage.used_bytes));
  js.Set("totalInodes", Js(env, usage.total_inodes));
  js.Set("freeInodes", Js(env, usage.free_inodes));
  return js;
}

/// (mountPoint)
Napi::Value Freeze(const Napi::CallbackInfo& info) {
  const std::string mount_point = StringArg(info, 0, "mountPoint");
  return RunAsync(info.Env(), [mount_point] { return FreezeFilesystem(RealSyscalls(), mount_point); });
}

/// (mountPoint)
Napi::Value Thaw(const Napi::CallbackInfo& info) {
  const std::string mount_point = StringArg(info, 0, "mountPoint");
  return RunAsync(info.Env(), [mount_point] { return ThawFilesystem(RealSyscalls(), mount_point); });
}

/// (mountPoint)
Napi::Value Shutdown(const Napi::CallbackInfo& info) {
  const std::string mount_point = StringArg(info, 0, "mountPoint");
  return RunAsync(info.Env(), [mount_point] { return ShutdownFilesystem(RealSyscalls(), mount_point); });
}

/// (path, limitMs)
Napi::Value Usage(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const std::chrono::milliseconds limit(UintArg(info, 1, "limitMs"));
  return RunAsync<FilesystemUsage>(
      info.Env(), [=] { return ReadFilesystemUsage(RealSyscalls(), path, limit); }, UsageToJs);
}

/// ()
Napi::Value IoFlusher(const Napi::CallbackInfo& info) {
  return RunAsync(info.Env(), [] { return SetIoFlusher(); });
}

/// (path)
Napi::Value NodeLock(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  return RunAsync(info.Env(), [path] { return AcquireNodeLock(RealSyscalls(), path); });
}

}  // namespace

void RegisterFilesystem(Napi::Env env, Napi::Object exports) {
  exports.Set("freezeFilesystem", Napi::Function::New(env, Freeze, "freezeFilesystem"));
  exports.Set("thawFilesystem", Napi::Function::New(env, Thaw, "thawFilesystem"));
  exports.Set("shutdownFilesystem", Napi::Function::New(env, Shutdown, "shutdownFilesystem"));
  exports.Set("filesystemUsage", Napi::Function::New(env, Usage, "filesystemUsage"));
  exports.Set("setIoFlusher", Napi::Function::New(env, IoFlusher, "setIoFlusher"));
  exports.Set("acquireNodeLock", Napi::Function::New(env, NodeLock, "acquireNodeLock"));
}

}  // namespace meshstor
