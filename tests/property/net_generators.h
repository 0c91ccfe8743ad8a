// net_generators.h: random packets, addresses and rewrites for the properties of conntrack/net.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <rapidcheck.h>

#include "conntrack/net/nat.h"
#include "tests/support/packet_builder.h"

namespace limpet::net::properties {

using test::Bytes;
using test::PacketBuilder;

inline Bytes any_bytes(std::size_t size) {
  const auto values = *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>());
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

inline bool any_bool() {
  return *rc::gen::arbitrary<bool>();
}
/// From `low` to `high`, both included.
inline std::size_t between(std::size_t low, std::size_t high) {
  return *rc::gen::inRange(low, high + 1);
}

inline Address any_address(Family family) {
  return Address::from_wire(family, any_bytes(16).data());
}
inline AddressPort any_endpoint(Family family) {
  return {any_address(family), *rc::gen::arbitrary<std::uint16_t>()};
}
inline Rewrite any_rewrite(Family family) {
  return {any_endpoint(family), any_endpoint(family)};
}

inline void add_extensions(PacketBuilder& builder) {
  for (std::size_t left = between(0, kMaxExtensionHeaders); left > 0; --left) {
    const unsigned type = *rc::gen::element(0U, 43U, 44U, 51U, 60U);
    type == 44 ? builder.fragment(0, false) : builder.extension(type, 8 * between(2, 4));
  }
}

/// Header and payload of any transport, of which parse() reads the ports. `builder` has addresses already.
inline void add_transport(PacketBuilder& builder, bool sctp = true) {
  const auto ports = *rc::gen::arbitrary<std::pair<std::uint16_t, std::uint16_t>>();
  const std::size_t payload = between(0, 300);
  switch (between(0, sctp ? 3 : 2)) {
    case 0:
      builder.tcp(ports.first, ports.second).tcp_options(4 * between(0, 10)).seq(*rc::gen::arbitrary<std::uint32_t>());
      break;
    case 1:
      builder.udp(ports.first, ports.second);
      break;
    case 2:
      builder.udplite(ports.first, ports.second, any_bool() ? 0 : static_cast<unsigned>(between(8, 8 + payload)));
      break;
    default:
      builder.sctp(ports.first, ports.second, *rc::gen::arbitrary<std::uint32_t>());
  }
  builder.payload(any_bytes(payload));
}

/// A packet that parses, of the given family, with every kind of header.
inline PacketBuilder any_packet(Family family) {
  PacketBuilder builder;
  const std::string source = any_address(family).to_string(), destination = any_address(family).to_string();
  if (family == Family::v4) {
    builder.v4(source, destination).ip_options(4 * between(0, 10));
  } else {
    builder.v6(source, destination);
    add_extensions(builder);
  }
  add_transport(builder);
  return builder;
}

inline Family any_family() {
  return any_bool() ? Family::v4 : Family::v6;
}

inline PacketView parsed(Bytes& packet) {
  PacketView view;
  RC_ASSERT(parse(packet, view) == ParseError::none);
  return view;
}

/// `bytes` on the heap and not a byte more, so that AddressSanitizer sees a read beyond them.
struct Exact {
  explicit Exact(std::span<const std::byte> bytes) : size(bytes.size()), data(new std::byte[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), data.get());
  }
  std::span<std::byte> span() const { return {data.get(), size}; }

  std::size_t size;
  std::unique_ptr<std::byte[]> data;
};

}  // namespace limpet::net::properties
