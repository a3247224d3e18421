#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace meshstor {

/// A GUID as it lies in a GPT: the first three groups little-endian, the rest in the order of the text.
using Guid = std::array<uint8_t, 16>;

/// Lower-case text with dashes.
std::string FormatGuid(const Guid& guid);

/// Text with dashes in either case; nothing else is accepted.
std::optional<Guid> ParseGuid(const std::string& text);

inline bool IsZeroGuid(const Guid& guid) { return guid == Guid{}; }

/// CRC-32 of IEEE 802.3 (reflected, 0xEDB88320), the one that UEFI uses for GPT headers and entry arrays.
uint32_t Crc32(const void* data, size_t length);

}  // namespace meshstor
