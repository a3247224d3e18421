#include "native/core/nvme_identify.h"

#include <napi.h>

#include <string>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

Napi::Value ControllerToJs(Napi::Env env, const ControllerIdentity& identity) {
  auto out = Napi::Object::New(env);
  out.Set("serial", Js(env, identity.serial));
  out.Set("model", Js(env, identity.model));
  out.Set("firmware", Js(env, identity.firmware));
  out.Set("volatileWriteCache", Js(env, identity.volatile_write_cache));
  out.Set("writeZeroes", Js(env, identity.write_zeroes));
  out.Set("deallocate", Js(env, identity.deallocate));
  return out;
}

Napi::Object FormatToJs(Napi::Env env, const LbaFormat& format) {
  auto out = Napi::Object::New(env);
  out.Set("dataBytes", Js(env, format.data_bytes));
  out.Set("metadataBytes", Js(env, format.metadata_bytes));
  out.Set("relativePerformance", Js(env, format.relative_performance));
  out.Set("inUse", Js(env, format.in_use));
  return out;
}

const char* ReadsName(DeallocatedReads reads) {
  if (reads == DeallocatedReads::kZeroes) return "zeroes";
  return reads == DeallocatedReads::kOnes ? "ones" : "not reported";
}

Napi::Value NamespaceToJs(Napi::Env env, const NamespaceIdentity& identity) {
  auto out = Napi::Object::New(env);
  out.Set("sizeBlocks", Js(env, identity.size_blocks));
  out.Set("capacityBlocks", Js(env, identity.capacity_blocks));
  out.Set("deallocatedReads", Js(env, ReadsName(identity.deallocated_reads)));
  out.Set("writeZeroesDeallocates", Js(env, identity.write_zeroes_deallocates));
  out.Set("lbaFormats", JsArray(env, identity.lba_formats, FormatToJs));
  return out;
}

/// identifyController(path: string)
Napi::Value IdentifyControllerJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  return RunAsync<ControllerIdentity>(
      info.Env(), [path] { return IdentifyController(RealSyscalls(), path); }, ControllerToJs);
}

/// identifyNamespace(path: string)
Napi::Value IdentifyNamespaceJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  return RunAsync<NamespaceIdentity>(
      info.Env(), [path] { return IdentifyNamespace(RealSyscalls(), path); }, NamespaceToJs);
}

}  // namespace

void RegisterNvmeIdentify(Napi::Env env, Napi::Object exports) {
  exports.Set("identifyController", Napi::Function::New(env, IdentifyControllerJs, "identifyController"));
  exports.Set("identifyNamespace", Napi::Function::New(env, IdentifyNamespaceJs, "identifyNamespace"));
}

}  // namespace meshstor
