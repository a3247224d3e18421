#pragma once

#include <napi.h>

namespace meshstor {

// Each adds the functions of one feature to the addon's exports, under the method names of `Kernel` (src/api/kernel.ts).

}  // namespace meshstor
