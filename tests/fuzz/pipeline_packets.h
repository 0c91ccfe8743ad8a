// pipeline_packets.h: small packets for pipeline_fuzz, made from a few numbers, with right checksums.
//
// Unlike packet_builder.h, which reads addresses from text, quick enough to build a dozen packets an execution. Checksums
// are those of reference_checksum.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "conntrack/net/address.h"
#include "conntrack/net/packet.h"
#include "tests/support/reference_checksum.h"

namespace limpet::fuzz {

using test::Bytes;
namespace wire = test::wire;

enum : unsigned {
  kIcmp = 1,
  kTcp = 6,
  kUdp = 17,
  kFragment = 44,
  kIcmp6 = 58,
  kOptions = 60,
  kSctp = 132,
  kUdpLite = 136
};

constexpr std::size_t kUsual = 128;  // bytes of a packet made here

struct Ends {
  net::AddressPort from, to;
  Ends reversed() const { return {to, from}; }
};

/// What a packet has besides its ends.
struct Content {
  unsigned protocol = kTcp;
  bool long_header = false;  // IPv4 options, or an IPv6 extension header
  bool no_checksum = false;  // UDP: 0. UDP-Lite: its checksum covers the header only
  unsigned tcp_flags = 0;
  std::uint32_t sequence = 0, acknowledgement = 0;  // TCP
  unsigned chunk = 0;                               // SCTP: the type of its one chunk
  std::uint32_t tag = 0, initiate = 0;              // SCTP
  std::size_t payload = 0;
};

inline bool is_v4(std::span<const std::byte> packet) {
  return wire::get8(packet, 0) >> 4 == 4;
}

inline void put_ip_header(Bytes& out, const net::Address& from, const net::Address& to, unsigned protocol,
                          std::size_t size, bool long_header) {
  if (from.is_v4()) {
    const std::size_t header = long_header ? 24 : 20;
    wire::put8(out, 0x40U | static_cast<unsigned>(header / 4)), wire::put8(out, 0x28);
    wire::put16(out, static_cast<unsigned>(header + size)), wire::put32(out, 0x12340000);
    wire::put8(out, 63), wire::put8(out, protocol), wire::put16(out, 0);
    wire::append(out, from.bytes()), wire::append(out, to.bytes());
    if (long_header) wire::put32(out, 0x01010101);
    return;
  }
  wire::put32(out, 0x62800000), wire::put16(out, static_cast<unsigned>(size + (long_header ? 8 : 0)));
  wire::put8(out, long_header ? unsigned{kOptions} : protocol), wire::put8(out, 63);
  wire::append(out, from.bytes()), wire::append(out, to.bytes());
  if (long_header) wire::put32(out, protocol << 24 | 0x0104), wire::put32(out, 0);  // PadN
}

/// Where a transport's checksum stands; 0: it has none here.
inline std::size_t checksum_offset(unsigned protocol) {
  switch (protocol) {
    case kTcp:
      return 16;
    case kUdp:
    case kUdpLite:
      return 6;
    case kSctp:
      return 8;
    case kIcmp:
    case kIcmp6:
      return 2;
    default:
      return 0;
  }
}

inline void repair_header(std::span<std::byte> packet) {
  if (!is_v4(packet)) return;
  const std::span<std::byte> header = packet.first((wire::get8(packet, 0) & 0xfU) * 4);
  wire::set16(header, 10, 0);
  wire::set16(header, 10, ~wire::ones_sum(header));
}

/// Make the transport checksum of a whole, well-formed packet right.
inline void repair_transport(std::span<std::byte> packet) {
  const auto [protocol, offset] = test::transport_of(packet);
  const std::span<std::byte> transport = packet.subspan(offset);
  const std::size_t at = checksum_offset(protocol);
  if (protocol == kSctp) return wire::set32(transport, at, wire::sctp_checksum(transport));
  wire::set16(transport, at, 0);
  std::size_t covered = transport.size(), length = transport.size();
  if (protocol == kUdp) covered = length = wire::get16(transport, 4);
  if (protocol == kUdpLite && wire::get16(transport, 4) != 0) covered = wire::get16(transport, 4);
  const std::size_t addresses = is_v4(packet) ? 12 : 8, size = is_v4(packet) ? 4 : 16;
  unsigned sum = wire::ones_sum(transport.first(covered));
  if (protocol != kIcmp) {
    sum += wire::pseudo_sum(packet.subspan(addresses, size), packet.subspan(addresses + size, size), length, protocol);
  }
  const unsigned field = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  wire::set16(transport, at, field == 0 && protocol != kTcp ? 0xffff : field);
}

inline void put_transport(Bytes& out, const Ends& ends, const Content& content) {
  wire::put16(out, ends.from.port), wire::put16(out, ends.to.port);
  switch (content.protocol) {
    case kTcp:
      wire::put32(out, content.sequence), wire::put32(out, content.acknowledgement);
      wire::put8(out, 0x50), wire::put8(out, content.tcp_flags), wire::put16(out, 0xfaf0), wire::put32(out, 0);
      break;
    case kSctp: {
      const bool init = content.chunk == 1 || content.chunk == 2;
      wire::put32(out, content.tag), wire::put32(out, 0);
      wire::put16(out, content.chunk << 8);
      wire::put16(out, static_cast<unsigned>((init ? 20 : 4) + content.payload));
      if (!init) break;
      wire::put32(out, content.initiate), wire::put32(out, 0xffff), wire::put32(out, 0x00010001), wire::put32(out, 7);
      break;
    }
    case kUdpLite:
      wire::put16(out, content.no_checksum ? 8 : 0), wire::put16(out, 0);
      break;
    default:
      wire::put16(out, static_cast<unsigned>(8 + content.payload)), wire::put16(out, 0);
  }
  for (std::size_t i = 0; i < content.payload; ++i) wire::put8(out, 0x61 + static_cast<unsigned>(i));
}

inline Bytes build(const Ends& ends, const Content& content) {
  Bytes transport, packet;
  transport.reserve(kUsual), packet.reserve(kUsual);
  put_transport(transport, ends, content);
  put_ip_header(packet, ends.from.address, ends.to.address, content.protocol, transport.size(), content.long_header);
  wire::append(packet, transport);
  repair_header(packet);
  if (!(content.protocol == kUdp && content.no_checksum)) repair_transport(packet);
  return packet;
}

/// An ICMP error that quotes the first `length` bytes of `about`.
inline Bytes error_about(std::span<const std::byte> about, const net::Address& from, const net::Address& to,
                         unsigned type, unsigned code, std::size_t length) {
  const std::span<const std::byte> quoted = about.first(std::min(length, about.size()));
  Bytes packet;
  packet.reserve(kUsual + quoted.size());
  put_ip_header(packet, from, to, from.is_v4() ? kIcmp : kIcmp6, 8 + quoted.size(), false);
  wire::put8(packet, type), wire::put8(packet, code), wire::put16(packet, 0), wire::put32(packet, 0x05000000);
  wire::append(packet, quoted);
  repair_header(packet), repair_transport(packet);
  return packet;
}

/// Bytes [8 * offset, 8 * (offset + units)) of a whole packet's transport, as a fragment. `whole` is well-formed.
inline Bytes fragment_of(std::span<const std::byte> whole, unsigned offset, unsigned units, bool more,
                         std::uint32_t identification) {
  const auto [protocol, start] = test::transport_of(whole);
  const std::span<const std::byte> transport = whole.subspan(start);
  const std::size_t from = std::min(transport.size(), std::size_t{8} * offset);
  const std::span<const std::byte> part =
      transport.subspan(from, std::min(transport.size() - from, std::size_t{8} * units));
  Bytes packet(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(start));
  if (is_v4(whole)) {
    wire::set16(packet, 2, static_cast<unsigned>(start + part.size()));
    wire::set16(packet, 4, identification), wire::set16(packet, 6, offset | (more ? 0x2000U : 0U));
    repair_header(packet);
  } else {
    wire::set16(packet, 4, static_cast<unsigned>(start - 40 + 8 + part.size()));
    std::size_t next_header = 6;
    for (std::size_t at = 40; at < start; at += (wire::get8(packet, at + 1) + 1U) * 8) next_header = at;
    packet[next_header] = static_cast<std::byte>(kFragment);
    wire::put16(packet, protocol << 8), wire::put16(packet, offset << 3 | (more ? 1U : 0U));
    wire::put32(packet, identification);
  }
  wire::append(packet, part);
  return packet;
}

}  // namespace limpet::fuzz
