// packet.h: a bounds-checked view of one IP packet.
//
//   parse(bytes, view)   validates the headers once; afterwards every offset in the view lies inside the bytes
//
//   bytes  [ IP header (+ options / extension headers) | TCP, UDP, UDP-Lite or SCTP header | payload ]
//                                                      ^ l4_offset
//
// IPv4 (RFC 791) with options, IPv6 (RFC 8200) with at most kMaxExtensionHeaders extension headers; TCP (RFC 9293),
// UDP (RFC 768), UDP-Lite (RFC 3828) and SCTP (RFC 9260). Other transports parse as unsupported_protocol: ICMP has a
// view of its own (icmp.h), and so has a fragment of a larger datagram (fragment.h), which is refused here: the kernel
// defragments before raw PREROUTING wherever it can. An atomic fragment (IPv6, offset 0 and none to come: RFC 6946) is
// whole and is read. A routing header with segments left is refused too: the checksum then covers a destination that is
// not in the IPv6 header.
//
// Lengths: a UDP length below that of the IP payload is legal, what lies beyond it is not part of the datagram. In GSO
// and GRO super-packets Linux states the length of the whole (udp_send_skb, udp_gro_complete), so they need no
// exception. UDP-Lite has its coverage in that place: 0 is all, 1 to 7 and more than there is are malformed. An IP length
// of 0 (IPv6 jumbogram, BIG TCP) is truncated, unless only the headers are asked for: such a packet does not fit in a
// queue message. Bytes beyond the IP total length (link-layer padding) are cut off the view.
// Pure; never throws; no allocation. The walks are bounded: extension headers here, chunks in transport.h.
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
  bad_header_length,     // IPv4 IHL < 5, TCP data offset < 5, UDP length < 8, UDP-Lite coverage of 1 to 7
  fragment,              // part of a larger datagram
  extension_chain,       // IPv6 extension headers: more than kMaxExtensionHeaders, or a source route not yet travelled
  unsupported_protocol,  // none of TCP, UDP, UDP-Lite, SCTP
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

/// Which chunk types (RFC 9260 section 3.2, those below 16) an SCTP packet carries, as far as its chunks can be walked.
struct SctpChunks {
  std::uint16_t bits = 0;  // 1 << type
  bool has(unsigned type) const noexcept { return bits >> type & 1; }
  bool init() const noexcept { return has(1); }
  bool init_ack() const noexcept { return has(2); }
  bool abort() const noexcept { return has(6); }
  bool shutdown() const noexcept { return has(7); }
  bool shutdown_ack() const noexcept { return has(8); }
  bool cookie_echo() const noexcept { return has(10); }
  bool cookie_ack() const noexcept { return has(11); }
  bool shutdown_complete() const noexcept { return has(14); }
};

/// How much of the packet must be there.
enum class Extent : std::uint8_t {
  whole,    // as many bytes as the IP header states
  headers,  // the headers: the rest was cut off (NFQA_CAP_LEN), or the stated length is 0 (BIG TCP)
};

struct PacketView {
  std::span<std::byte> bytes;  // the packet, IP header first, as long as the IP header says (Extent::headers: or less)
  std::size_t l4_offset = 0;   // of the transport header
  Tuple tuple;                 // protocol, addresses and ports as they stand in the packet
  std::uint8_t ttl = 0;        // TTL or hop limit
  TcpFlags tcp_flags;          // TCP only; the rest too
  std::uint32_t tcp_sequence = 0;
  std::uint32_t tcp_acknowledgement = 0;
  std::uint32_t tcp_payload = 0;  // bytes after the TCP header
  SctpChunks sctp_chunks;         // SCTP only; the rest too
  std::uint32_t sctp_tag = 0;     // verification tag

  Family family() const noexcept { return tuple.source.address.family(); }
  bool is_tcp() const noexcept { return tuple.protocol == Protocol::tcp; }
};

/// Does this packet open a connection? TCP: a SYN without ACK; SCTP: an INIT; UDP and UDP-Lite: any may.
inline bool opens_connection(const PacketView& packet) noexcept {
  if (packet.is_tcp()) return packet.tcp_flags.syn() && !packet.tcp_flags.ack();
  return packet.tuple.protocol != Protocol::sctp || packet.sctp_chunks.init();
}

/// The window scale option of a TCP segment: how far its sender's later windows are shifted, 0 to 14 (RFC 7323 section 2).
/// 0 if there is none.
unsigned tcp_window_scale(const PacketView& packet) noexcept;

/// Fills `view` on ParseError::none; on unsupported_protocol all but the transport fields (the ports are 0); otherwise
/// leaves it unspecified.
ParseError parse(std::span<std::byte> bytes, PacketView& view, Extent extent = Extent::whole) noexcept;

}  // namespace limpet::net
