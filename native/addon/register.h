#pragma once

#include <napi.h>

namespace meshstor {

// Each adds the functions of one feature to the addon's exports, under the method names of `Kernel`
// (src/api/kernel.ts).
void RegisterBlockDevice(Napi::Env env, Napi::Object exports);
void RegisterGpt(Napi::Env env, Napi::Object exports);
void RegisterNvmeIdentify(Napi::Env env, Napi::Object exports);
void RegisterNvmet(Napi::Env env, Napi::Object exports);
void RegisterNvmeFabrics(Napi::Env env, Napi::Object exports);
void RegisterMdArray(Napi::Env env, Napi::Object exports);
void RegisterDeviceMapper(Napi::Env env, Napi::Object exports);
void RegisterMount(Napi::Env env, Napi::Object exports);
void RegisterFilesystem(Napi::Env env, Napi::Object exports);
void RegisterUevent(Napi::Env env, Napi::Object exports);

}  // namespace meshstor
