#include "native/core/block_device.h"

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"
#include "native/core/disk.h"
#include "native/core/signatures.h"

namespace meshstor {
namespace {

Napi::Object PartitionToJs(Napi::Env env, const KernelPartition& part) {
  auto out = Napi::Object::New(env);
  out.Set("name", Js(env, part.name));
  out.Set("path", Js(env, "/dev/" + part.name));
  out.Set("number", Js(env, part.number));
  out.Set("devNumber", Js(env, part.dev_number));
  out.Set("startBytes", Js(env, part.start_bytes));
  out.Set("sizeBytes", Js(env, part.size_bytes));
  out.Set("holders", JsArray(env, part.holders));
  out.Set("mountPoints", JsArray(env, part.mount_points));
  return out;
}

Napi::Object PathToJs(Napi::Env env, const NvmePath& path) {
  auto out = Napi::Object::New(env);
  out.Set("controller", Js(env, path.controller));
  out.Set("state", Js(env, path.state));
  out.Set("transport", Js(env, path.transport));
  out.Set("address", Js(env, path.address));
  SetIfPresent(out, "hostNqn", path.host_nqn);
  return out;
}

Napi::Object NamespaceToJs(Napi::Env env, const NvmeNamespace& ns) {
  auto out = Napi::Object::New(env);
  out.Set("name", Js(env, ns.name));
  out.Set("path", Js(env, "/dev/" + ns.name));
  out.Set("devNumber", Js(env, ns.dev_number));
  out.Set("model", Js(env, ns.model));
  out.Set("serial", Js(env, ns.serial));
  out.Set("nsid", Js(env, ns.nsid));
  SetIfPresent(out, "uuid", ns.uuid);
  SetIfPresent(out, "nguid", ns.nguid);
  out.Set("sizeBytes", Js(env, ns.size_bytes));
  out.Set("logicalBlockSize", Js(env, ns.logical_block_size));
  out.Set("physicalBlockSize", Js(env, ns.physical_block_size));
  out.Set("hardwareQueues", Js(env, ns.hardware_queues));
  out.Set("writeCache", Js(env, ns.write_back ? "write back" : "write through"));
  out.Set("transport", Js(env, ns.transport));
  out.Set("subsystemNqn", Js(env, ns.subsystem_nqn));
  out.Set("multipath", Js(env, ns.is_head ? "head" : "single"));
  out.Set("paths", JsArray(env, ns.paths, PathToJs));
  out.Set("holders", JsArray(env, ns.holders));
  out.Set("mountPoints", JsArray(env, ns.mount_points));
  out.Set("partitions", JsArray(env, ns.partitions, PartitionToJs));
  return out;
}

/// nvmeNamespaces(root?: string)
Napi::Value NvmeNamespaces(const Napi::CallbackInfo& info) {
  const std::string root = StringArgOr(info, 0, "root", "");
  return RunAsync<std::vector<NvmeNamespace>>(
      info.Env(), [root] { return ListNvmeNamespaces(Sysfs(RealSyscalls(), root)); },
      [](Napi::Env env, const std::vector<NvmeNamespace>& list) { return JsArray(env, list, NamespaceToJs); });
}

/// signatures(path: string)
Napi::Value Signatures(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  return RunAsync<std::vector<std::string>>(
      info.Env(), [path] { return ReadSignatures(RealSyscalls(), path); },
      [](Napi::Env env, const std::vector<std::string>& names) { return JsArray(env, names); });
}

/// readBytes(path: string, offset: number, length: number)
Napi::Value ReadBytesJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const uint64_t offset = UintArg(info, 1, "offset");
  const uint64_t length = UintArg(info, 2, "length");
  return RunAsync<std::vector<uint8_t>>(
      info.Env(), [=] { return ReadBytes(RealSyscalls(), path, offset, length); },
      [](Napi::Env env, const std::vector<uint8_t>& bytes) -> Napi::Value {
        auto out = Napi::Uint8Array::New(env, bytes.size());
        std::copy(bytes.begin(), bytes.end(), out.Data());
        return out;
      });
}

/// writeBytes(path: string, offset: number, data: Uint8Array)
Napi::Value WriteBytesJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const uint64_t offset = UintArg(info, 1, "offset");
  std::vector<uint8_t> data = BytesArg(info, 2, "data");
  return RunAsync(info.Env(),
                  [path, offset, data = std::move(data)] { return WriteBytes(RealSyscalls(), path, offset, data); });
}

/// Zeroing with progress: the worker reports from its thread, the callback runs on the event loop. Reports that the
/// loop has not taken yet do not hold the worker up.
class ZeroWorker final : public ErrnoWorker<Unit> {
 public:
  ZeroWorker(Napi::Env env, std::string path, uint64_t start, uint64_t size, ZeroVerify verify)
      : ErrnoWorker<Unit>(env), path_(std::move(path)), start_(start), size_(size), verify_(verify) {}

  void ReportTo(const Napi::Function& callback) {
    progress_ = Napi::ThreadSafeFunction::New(Env(), callback, "meshstor zeroRange", 0, 1);
    reports_ = true;
  }

 protected:
  Result<Unit> Work() override {
    auto done = ZeroRange(RealSyscalls(), path_, start_, size_, verify_, [this](uint64_t bytes) { Report(bytes); });
    if (reports_) progress_.Release();
    return done;
  }
  Napi::Value ToJs(Napi::Env env, const Unit&) override { return env.Undefined(); }

 private:
  void Report(uint64_t bytes) {
    if (!reports_) return;
    progress_.NonBlockingCall([bytes](Napi::Env env, Napi::Function callback) {
      if (env != nullptr && !callback.IsEmpty()) callback.Call({Js(env, bytes)});
    });
  }

  std::string path_;
  uint64_t start_;
  uint64_t size_;
  ZeroVerify verify_;
  Napi::ThreadSafeFunction progress_;
  bool reports_ = false;
};

/// zeroRange(path: string, range: {startBytes, sizeBytes}, verify: 'full' | 'sample', onProgress?: (doneBytes) => void)
Napi::Value ZeroRangeJs(const Napi::CallbackInfo& info) {
  const std::string path = StringArg(info, 0, "path");
  const Napi::Object range = ObjectArg(info, 1, "range");
  const uint64_t start = UintField(range, "startBytes");
  const uint64_t size = UintField(range, "sizeBytes");
  const std::string verify = StringArg(info, 2, "verify");
  if (verify != "full" && verify != "sample") ThrowExpected(info.Env(), "verify", "\"full\" or \"sample\"");
  const Napi::Value callback = info[3];
  if (!callback.IsUndefined() && !callback.IsFunction()) ThrowExpected(info.Env(), "onProgress", "a function");
  auto worker = std::make_unique<ZeroWorker>(info.Env(), path, start, size,
                                             verify == "full" ? ZeroVerify::kFull : ZeroVerify::kSample);
  if (callback.IsFunction()) worker->ReportTo(callback.As<Napi::Function>());
  return worker.release()->Start();
}

}  // namespace

void RegisterBlockDevice(Napi::Env env, Napi::Object exports) {
  exports.Set("nvmeNamespaces", Napi::Function::New(env, NvmeNamespaces, "nvmeNamespaces"));
  exports.Set("signatures", Napi::Function::New(env, Signatures, "signatures"));
  exports.Set("readBytes", Napi::Function::New(env, ReadBytesJs, "readBytes"));
  exports.Set("writeBytes", Napi::Function::New(env, WriteBytesJs, "writeBytes"));
  exports.Set("zeroRange", Napi::Function::New(env, ZeroRangeJs, "zeroRange"));
}

}  // namespace meshstor
