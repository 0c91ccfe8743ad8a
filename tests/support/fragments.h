// fragments.h: cut a packet into fragments and put it together again, as RFC 791 and RFC 8200 section 4.5 say.
//
//   std::vector<Bytes> pieces = cut_up(packet, 512);    reassembled(pieces) == packet
//
// An oracle for conntrack/net/fragment.h: shares no code with it. IPv6 packets without extension headers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/reference_checksum.h"

namespace limpet::test {

namespace fragments_detail {

inline std::size_t header_of(std::span<const std::byte> packet) {
  return wire::get8(packet, 0) >> 4 == 6 ? 40 : (wire::get8(packet, 0) & 0xfU) * 4;
}
inline void set_ipv4(std::span<std::byte> packet, std::size_t header, unsigned fragment_field) {
  wire::set16(packet, 2, static_cast<unsigned>(packet.size()));
  wire::set16(packet, 6, fragment_field);
  wire::set16(packet, 10, 0);
  wire::set16(packet, 10, ~wire::ones_sum(packet.first(header)));
}

}  // namespace fragments_detail

/// Fragments of `packet` with `size` bytes of its payload each, a multiple of 8; the last has what is left.
inline std::vector<Bytes> cut_up(const Bytes& packet, std::size_t size, std::uint32_t identification = 0x1234) {
  using namespace fragments_detail;
  const std::size_t header = header_of(packet);
  const bool is_v4 = wire::get8(packet, 0) >> 4 == 4;
  std::vector<Bytes> pieces;
  for (std::size_t at = header; at < packet.size(); at += size) {
    const std::size_t length = std::min(size, packet.size() - at);
    const bool more = at + length < packet.size();
    const auto offset = static_cast<unsigned>(at - header);
    Bytes piece(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(header));
    if (!is_v4) {
      wire::put8(piece, wire::get8(packet, 6)), wire::put8(piece, 0);
      wire::put16(piece, offset | (more ? 1U : 0U)), wire::put32(piece, identification);
      piece[6] = std::byte{44};
    }
    wire::append(piece, std::span(packet).subspan(at, length));
    if (is_v4) {
      wire::set16(piece, 4, identification & 0xffff);
      set_ipv4(piece, header, offset / 8 | (more ? 0x2000U : 0U));
    } else {
      wire::set16(piece, 4, static_cast<unsigned>(piece.size() - 40));
    }
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

/// The packet whose fragments these are, in order. The header is the first one's; IPv4 keeps its identification.
inline Bytes reassembled(const std::vector<Bytes>& pieces) {
  using namespace fragments_detail;
  const Bytes& first = pieces.front();
  const std::size_t header = header_of(first);
  const bool is_v4 = wire::get8(first, 0) >> 4 == 4;
  Bytes packet(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(header));
  for (const Bytes& piece : pieces) wire::append(packet, std::span(piece).subspan(header + (is_v4 ? 0 : 8)));
  if (is_v4) {
    set_ipv4(packet, header, 0);
  } else {
    packet[6] = first[40];
    wire::set16(packet, 4, static_cast<unsigned>(packet.size() - 40));
  }
  return packet;
}

}  // namespace limpet::test
