#pragma once

#include <napi.h>

namespace meshstor {

// Each adds the functions of one feature to the addon's exports, under the method names of `Kernel` (src/api/kernel.ts).
void RegisterNvmet(Napi::Env env, Napi::Object exports);
void RegisterNvmeFabrics(Napi::Env env, Napi::Object exports);

}  // namespace meshstor
