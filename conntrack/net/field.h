// field.h: write one field of a packet and account for it in a checksum. What nat, icmp and fragment are made of.
//
//   put_address(at, current, to, delta)   `current` is what stands at `at`, and is kept true
//   put_port(at, current, to, delta)
//   adjust(field, delta)                  the 16-bit checksum in the packet, by RFC 1624
//
// A field that is equal already is not touched. The caller has checked that the bytes are there. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "conntrack/net/address.h"
#include "conntrack/net/checksum.h"
#include "conntrack/net/wire.h"

namespace limpet::net {

inline void put_address(std::byte* at, Address& current, const Address& to, ChecksumDelta& delta) noexcept {
  if (current == to) return;
  delta.replace(current.bytes(), to.bytes());
  std::memcpy(at, to.bytes().data(), to.size());
  current = to;
}

inline void put_port(std::byte* at, std::uint16_t& current, std::uint16_t to, ChecksumDelta& delta) noexcept {
  if (current == to) return;
  delta.replace_word(network_order(current), network_order(to));
  store_be16(at, to);
  current = to;
}

inline void adjust(std::byte* field, const ChecksumDelta& delta) noexcept {
  store_native(field, delta.apply(load_native<std::uint16_t>(field)));
}

/// UDP's and UDP-Lite's: 0 says that the sender made none (UDP) or is illegal (UDP-Lite), and stays. A result of 0 is
/// sent as ones (RFC 768, RFC 3828 section 3.1).
inline void adjust_unless_zero(std::byte* field, const ChecksumDelta& delta) noexcept {
  const auto checksum = load_native<std::uint16_t>(field);
  if (checksum == 0) return;
  const std::uint16_t updated = delta.apply(checksum);
  store_native(field, updated == 0 ? std::uint16_t{0xffff} : updated);
}

}  // namespace limpet::net
