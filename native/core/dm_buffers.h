#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "native/core/result.h"

namespace meshstor {

/// One line of a table or of its status; 512-byte sectors.
struct DmTarget {
  uint64_t start_sectors = 0;
  uint64_t length_sectors = 0;
  std::string type;
  std::string params;
};

// The ioctl buffers, apart from the calls, so that they can be tested as bytes.

/// A `struct dm_ioctl` for a device, zeroed but for version, sizes and name, with room for `payload_bytes` behind it.
/// ENAMETOOLONG, EINVAL for names that do not fit or would be another file's (`/`).
Result<std::vector<uint8_t>> MakeDmBuffer(const std::string& name, const std::string& uuid, size_t payload_bytes);
/// A buffer for DM_TABLE_LOAD: every `struct dm_target_spec` followed by its parameters, 8-byte aligned.
Result<std::vector<uint8_t>> MakeDmTableBuffer(const std::string& name, const std::vector<DmTarget>& table);
/// Targets in a reply to DM_TABLE_STATUS. EBADMSG when an offset points outside the buffer.
Result<std::vector<DmTarget>> ParseDmTargets(const std::vector<uint8_t>& buffer);
/// Names in a reply to DM_LIST_DEVICES. EBADMSG likewise.
Result<std::vector<std::string>> ParseDmNames(const std::vector<uint8_t>& buffer);

/// Text in a fixed field of a reply, which need not be terminated if the kernel is not what it says.
template <size_t N>
std::string FixedText(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

}  // namespace meshstor
