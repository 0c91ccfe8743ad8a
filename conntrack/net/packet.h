// packet.h: a bounds-checked view of one IP packet.
//
//   parse(bytes, view)   validates the headers once; afterwards every offset in the view lies inside the bytes
//
//   bytes  [ IP header (+ options / extension headers) | TCP or UDP header | payload ]
//                                                      ^ l4_offset
//
// IPv4 (RFC 791) with options, IPv6 (RFC 8200) with at most kMaxExtensionHeaders extension headers; TCP (RFC 9293)
// and UDP (RFC 768). Other transports parse as unsupported_protocol. A fragment of a larger datagram (offset > 0 or
// more fragments to come) is refused: the kernel defragments before raw PREROUTING wherever it can, and half of a
// datagram must never be translated alone. An atomic fragment (IPv6, offset 0 and none to come: RFC 6946) is whole and
// is read. A routing header with segments left is refused too: the checksum then covers a destination that is not in
// the IPv6 header.
//
// Lengths: a UDP length below that of the IP payload is legal, what lies beyond it is not part of the datagram. In GSO
// and GRO super-packets Linux states the length of the whole (udp_send_skb, udp_gro_complete), so they need no
// exception. An IP length of 0 (IPv6 jumbogram, BIG TCP) is truncated: such a packet does not fit in a queue message.
// Bytes beyond the IP total length (link-layer padding) are cut off the view. Pure; never throws; no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "conntrack/net/address.h"

namespace limpet::net {

enum class ParseError : std::uint8_t {
  none,
  truncated,             // shorter than its headers, or than the length that they state
  bad_version,           // neither 4 nor 6
  bad_header_length,     // IPv4 IHL < 5, TCP data offset < 5, UDP length < 8
  fragment,              // part of a larger datagram
  extension_chain,       // IPv6 extension headers: more than kMaxExtensionHeaders, or a source route not yet travelled
  unsupported_protocol,  // neither TCP nor UDP
};
inline constexpr std::size_t kParseErrors = 7;
/// Snake-case name, as exported in counters: "truncated", …
std::string_view to_string(ParseError error) noexcept;

inline constexpr unsigned kMaxExtensionHeaders = 8;

struct TcpFlags {
  std::uint8_t bits = 0;
  bool fin() const noexcept { return bits & 0x01; }
  bool syn() const noexcept { return bits & 0x02; }
  bool rst() const noexcept { return bits & 0x04; }
  bool ack() const noexcept { return bits & 0x10; }
};

struct PacketView {
  std::span<std::byte> bytes;  // the packet, IP header first, exactly as long as the IP header says
  std::size_t l4_offset = 0;   // of the transport header
  Tuple tuple;                 // protocol, addresses and ports as they stand in the packet
  std::uint8_t ttl = 0;        // TTL or hop limit
  TcpFlags tcp_flags;          // TCP only; the rest too
  std::uint32_t tcp_sequence = 0;
  std::uint32_t tcp_acknowledgement = 0;
  std::uint32_t tcp_payload = 0;  // bytes after the TCP header

  Family family() const noexcept { return tuple.source.address.family(); }
  bool is_tcp() const noexcept { return tuple.protocol == Protocol::tcp; }
};

/// Fills `view` on ParseError::none; otherwise leaves it unspecified.
ParseError parse(std::span<std::byte> bytes, PacketView& view) noexcept;

}  // namespace limpet::net
