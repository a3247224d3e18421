#include "native/core/guid.h"

#include <cstddef>

namespace meshstor {
namespace {

/// Which byte of the GUID each pair of digits of the text is; text order.
constexpr std::array<size_t, 16> kTextOrder = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

bool DashBefore(size_t pair) { return pair == 4 || pair == 6 || pair == 8 || pair == 10; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? (value >> 1) ^ 0xEDB88320U : value >> 1;
    table[i] = value;
  }
  return table;
}

}  // namespace

std::string FormatGuid(const Guid& guid) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t pair = 0; pair < 16; ++pair) {
    if (DashBefore(pair)) text += '-';
    const uint8_t byte = guid[kTextOrder[pair]];
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<Guid> ParseGuid(const std::string& text) {
  if (text.size() != 36) return std::nullopt;
  Guid guid = {};
  size_t at = 0;
  for (size_t pair = 0; pair < 16; ++pair) {
    if (DashBefore(pair) && text[at++] != '-') return std::nullopt;
    const int high = HexDigit(text[at++]);
    const int low = HexDigit(text[at++]);
    if (high < 0 || low < 0) return std::nullopt;
    guid[kTextOrder[pair]] = static_cast<uint8_t>(high * 16 + low);
  }
  return guid;
}

uint32_t Crc32(const void* data, size_t length) {
  static const std::array<uint32_t, 256> kTable = MakeCrcTable();
  const auto* bytes = static_cast<const unsigned char*>(data);
  uint32_t crc = 0xFFFFFFFFU;
  for (size_t i = 0; i < length; ++i) crc = kTable[(crc ^ bytes[i]) & 0xFF] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFU;
}

}  // namespace meshstor
