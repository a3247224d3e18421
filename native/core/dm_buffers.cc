#include "native/core/dm_buffers.h"

#include <errno.h>
#include <linux/dm-ioctl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "native/core/sysfs.h"

namespace meshstor {
namespace {

static_assert(sizeof(dm_ioctl) == 312 && sizeof(dm_target_spec) == 40, "layout is part of the interface");

using Buffer = std::vector<uint8_t>;

dm_ioctl* Header(Buffer& buffer) { return reinterpret_cast<dm_ioctl*>(buffer.data()); }

size_t AlignUp(size_t size) { return (size + 7) & ~size_t{7}; }

/// The bytes of a reply from `data_start` on, as its header describes them; EBADMSG when that cannot be.
struct Payload {
  const uint8_t* begin = nullptr;
  size_t length = 0;
};

SysError Malformed(const char* what) {
  return Failed(EBADMSG, "ioctl DM", "/dev/mapper/control", std::string("malformed reply: ") + what);
}

Result<Payload> PayloadOf(const Buffer& buffer) {
  dm_ioctl header;
  if (buffer.size() < sizeof(header)) return Malformed("header");
  std::memcpy(&header, buffer.data(), sizeof(header));
  const size_t end = std::min<size_t>(header.data_size, buffer.size());
  if (header.data_start > buffer.size()) return Malformed("data_start");
  // With nothing to say the kernel puts the size below the start.
  return Payload{buffer.data() + header.data_start, end > header.data_start ? end - header.data_start : 0};
}

/// Text up to its NUL within a payload; empty optional when there is no NUL.
std::optional<std::string> TextAt(const Payload& payload, size_t offset) {
  const auto* start = reinterpret_cast<const char*>(payload.begin) + offset;
  const size_t room = payload.length - offset;
  const size_t length = strnlen(start, room);
  if (length == room) return std::nullopt;
  return std::string(start, length);
}

}  // namespace

Result<Buffer> MakeDmBuffer(const std::string& name, const std::string& uuid, size_t payload_bytes) {
  if (name.size() >= DM_NAME_LEN || uuid.size() >= DM_UUID_LEN) return Failed(ENAMETOOLONG, "ioctl DM", name);
  if (name.find('/') != std::string::npos || name == "." || name == ".." || name == "control") {
    return Failed(EINVAL, "ioctl DM", name, "not a device name");
  }
  Buffer buffer(sizeof(dm_ioctl) + payload_bytes);
  dm_ioctl* header = Header(buffer);
  // The oldest interface that has all we use: a kernel takes any minor version up to its own.
  header->version[0] = DM_VERSION_MAJOR;
  header->data_size = static_cast<uint32_t>(buffer.size());
  header->data_start = sizeof(dm_ioctl);
  std::memcpy(header->name, name.c_str(), name.size());
  std::memcpy(header->uuid, uuid.c_str(), uuid.size());
  return buffer;
}

Result<Buffer> MakeDmTableBuffer(const std::string& name, const std::vector<DmTarget>& table) {
  size_t payload = 0;
  for (const DmTarget& target : table) {
    if (target.type.empty() || target.type.size() >= DM_MAX_TYPE_NAME) {
      return Failed(EINVAL, "ioctl DM_TABLE_LOAD", name);
    }
    payload += AlignUp(sizeof(dm_target_spec) + target.params.size() + 1);
  }
  auto made = MakeDmBuffer(name, {}, payload);
  if (!made.ok()) return made;
  Buffer& buffer = made.value();
  Header(buffer)->target_count = static_cast<uint32_t>(table.size());
  uint8_t* at = buffer.data() + sizeof(dm_ioctl);
  for (const DmTarget& target : table) {
    dm_target_spec spec = {};
    spec.sector_start = target.start_sectors;
    spec.length = target.length_sectors;
    spec.next = static_cast<uint32_t>(AlignUp(sizeof(spec) + target.params.size() + 1));
    std::memcpy(spec.target_type, target.type.c_str(), target.type.size());
    std::memcpy(at, &spec, sizeof(spec));
    std::memcpy(at + sizeof(spec), target.params.c_str(), target.params.size());
    at += spec.next;
  }
  return made;
}

Result<std::vector<DmTarget>> ParseDmTargets(const Buffer& buffer) {
  auto found = PayloadOf(buffer);
  if (!found.ok()) return found.error();
  const Payload& payload = found.value();
  dm_ioctl header;
  std::memcpy(&header, buffer.data(), sizeof(header));
  std::vector<DmTarget> targets;
  size_t at = 0;
  for (uint32_t i = 0; i < header.target_count; ++i) {
    dm_target_spec spec;
    if (at > payload.length || payload.length - at < sizeof(spec)) return Malformed("target");
    std::memcpy(&spec, payload.begin + at, sizeof(spec));
    auto params = TextAt(payload, at + sizeof(spec));
    if (!params.has_value()) return Malformed("parameters");
    targets.push_back(DmTarget{spec.sector_start, spec.length, FixedText(spec.target_type), Trim(*params)});
    // In replies `next` counts from the first target, not from this one.
    if (i + 1 < header.target_count && spec.next <= at) return Malformed("next");
    at = spec.next;
  }
  return targets;
}

Result<std::vector<std::string>> ParseDmNames(const Buffer& buffer) {
  auto found = PayloadOf(buffer);
  if (!found.ok()) return found.error();
  const Payload& payload = found.value();
  constexpr size_t kNameOffset = offsetof(dm_name_list, name);
  std::vector<std::string> names;
  for (size_t at = 0; payload.length != 0;) {
    dm_name_list entry;
    if (payload.length - at < sizeof(entry)) return Malformed("name list");
    std::memcpy(&entry, payload.begin + at, sizeof(entry));
    if (entry.dev == 0) break;  // a single empty entry: no devices
    auto name = TextAt(payload, at + kNameOffset);
    if (!name.has_value()) return Malformed("name");
    names.push_back(*std::move(name));
    if (entry.next == 0) break;
    if (entry.next > payload.length - at) return Malformed("next");
    at += entry.next;
  }
  return names;
}

}  // namespace meshstor
