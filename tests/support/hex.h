// hex.h: bytes written as in a packet capture, for tests: from_hex("45 00 00 3c  1c 46 …") and back.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::test {

/// Two digits a byte, white space anywhere between digits.
inline std::vector<std::byte> from_hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::vector<std::byte> out;
  std::size_t digits = 0, value = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n') continue;
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) throw std::logic_error(std::string("from_hex: not a hexadecimal digit: ") + c);
    value = value % 16 * 16 + digit;
    if (++digits % 2 == 0) out.push_back(static_cast<std::byte>(value));
  }
  if (digits % 2 != 0) throw std::logic_error("from_hex: an odd number of digits");
  return out;
}

inline std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4];
    out += kDigits[std::to_integer<unsigned>(byte) & 0xf];
    out += ' ';
  }
  return out;
}

}  // namespace limpet::test
