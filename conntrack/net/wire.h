// wire.h: numbers in network order, read and written at any alignment (memcpy, never a cast).
//
// The caller has checked that the bytes are there: parse() does it once for a packet.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace limpet::net {

/// The bytes at `from` as they lie in memory, for one's-complement sums, which do not care for byte order.
template <typename Word>
Word load_native(const std::byte* from) noexcept {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}
template <typename Word>
void store_native(std::byte* to, Word word) noexcept {
  std::memcpy(to, &word, sizeof word);
}

/// Between host and network order; its own inverse.
constexpr std::uint16_t network_order(std::uint16_t value) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap16(value) : value;
}
constexpr std::uint32_t network_order(std::uint32_t value) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}
/// Between host and little-endian order, in which SCTP sends its CRC; its own inverse.
constexpr std::uint32_t little_endian(std::uint32_t value) noexcept {
  return std::endian::native == std::endian::little ? value : __builtin_bswap32(value);
}

inline std::uint8_t load8(const std::byte* from) noexcept {
  return std::to_integer<std::uint8_t>(*from);
}
inline std::uint16_t load_be16(const std::byte* from) noexcept {
  return network_order(load_native<std::uint16_t>(from));
}
inline std::uint32_t load_be32(const std::byte* from) noexcept {
  return network_order(load_native<std::uint32_t>(from));
}
inline void store_be16(std::byte* to, std::uint16_t value) noexcept {
  store_native(to, network_order(value));
}
inline void store_be32(std::byte* to, std::uint32_t value) noexcept {
  store_native(to, network_order(value));
}

}  // namespace limpet::net
