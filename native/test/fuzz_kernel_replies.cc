// The parsers of what the kernel says in text or in buffers: none may read outside its input or fail to end.

#include <string>
#include <vector>

#include "native/core/device_mapper.h"
#include "native/core/md_array.h"
#include "native/core/mount.h"
#include "native/core/uevent.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::vector<uint8_t> bytes(data + 1, data + size);
  const std::string text(bytes.begin(), bytes.end());
  switch (data[0] % 5) {
    case 0:
      static_cast<void>(meshstor::ParseDmTargets(bytes).ok());
      break;
    case 1:
      static_cast<void>(meshstor::ParseDmNames(bytes).ok());
      break;
    case 2:
      meshstor::ParseMountInfo(text);
      break;
    case 3:
      meshstor::ParseUevent(text.data(), text.size());
      break;
    default:
      meshstor::NormalizeMdUuid(text);
  }
  return 0;
}
