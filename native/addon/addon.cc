#include <napi.h>

#include "native/addon/register.h"

namespace meshstor {
namespace {

/// Raised whenever the name, the arguments or the result of an export change, so that a stale build is refused at load.
constexpr int kAbiVersion = 1;

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("abiVersion", Napi::Number::New(env, kAbiVersion));
  RegisterBlockDevice(env, exports);
  RegisterGpt(env, exports);
  RegisterNvmeIdentify(env, exports);
  RegisterNvmet(env, exports);
  RegisterNvmeFabrics(env, exports);
  RegisterMdArray(env, exports);
  RegisterDeviceMapper(env, exports);
  RegisterMount(env, exports);
  RegisterFilesystem(env, exports);
  RegisterUevent(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(meshstor_native, Init)

}  // namespace meshstor
