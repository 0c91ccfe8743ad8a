// transport.h: the transport headers, for the views that hold one (packet, fragment).
//
//   read_transport(view, extent)   reads the header at view.l4_offset; sets ports and transport fields
//
// Extent::headers: the lengths that the header states are not held against the bytes that are there. Inline, as
// ip_header.h. Pure; never throws.
#pragma once

#include <cstddef>
#include <cstdint>

#include "conntrack/net/packet.h"
#include "conntrack/net/wire.h"

namespace limpet::net {

inline constexpr std::size_t kTcpHeader = 20;  // without options
inline constexpr std::size_t kUdpHeader = 8;   // UDP-Lite's, too
inline constexpr std::size_t kSctpHeader = 12;

namespace transport_detail {

/// How many chunks are looked at. Those that open or end an association stand first, and most of them alone (RFC 9260
/// section 6.10).
inline constexpr unsigned kMaxSctpChunks = 64;

inline void read_ports(const std::byte* l4, PacketView& view) noexcept {
  view.tuple.source.port = load_be16(l4);
  view.tuple.destination.port = load_be16(l4 + 2);
}

inline void clear_tcp(PacketView& view) noexcept {
  view.tcp_sequence = view.tcp_acknowledgement = view.tcp_payload = 0;
  view.tcp_flags = {};
}
inline void clear_sctp(PacketView& view) noexcept {
  view.sctp_tag = 0;
  view.sctp_chunks = {};
}

inline ParseError read_tcp(PacketView& view) noexcept {
  const std::byte* const tcp = view.bytes.data() + view.l4_offset;
  const std::size_t left = view.bytes.size() - view.l4_offset;
  if (left < kTcpHeader) return ParseError::truncated;
  const std::size_t header = (load8(tcp + 12) >> 4) * std::size_t{4};
  if (header < kTcpHeader) return ParseError::bad_header_length;
  if (header > left) return ParseError::truncated;

  read_ports(tcp, view);
  view.tcp_sequence = load_be32(tcp + 4);
  view.tcp_acknowledgement = load_be32(tcp + 8);
  view.tcp_flags = {load8(tcp + 13)};
  view.tcp_payload = static_cast<std::uint32_t>(left - header);
  clear_sctp(view);
  return ParseError::none;
}

/// The third word of the header is UDP's length or UDP-Lite's checksum coverage, where 0 means all (RFC 3828).
inline ParseError read_udp(PacketView& view, Extent extent) noexcept {
  const std::byte* const udp = view.bytes.data() + view.l4_offset;
  const std::size_t left = view.bytes.size() - view.l4_offset;
  if (left < kUdpHeader) return ParseError::truncated;
  const std::size_t length = load_be16(udp + 4);
  const bool covers_all = length == 0 && view.tuple.protocol == Protocol::udplite;
  if (length < kUdpHeader && !covers_all) return ParseError::bad_header_length;
  if (length > left && extent == Extent::whole) return ParseError::truncated;

  read_ports(udp, view);
  clear_tcp(view);
  clear_sctp(view);
  return ParseError::none;
}

/// Types of the chunks from view.bytes[at] on. A chunk is padded to a multiple of four bytes; its length is not.
inline SctpChunks walk_chunks(const PacketView& view, std::size_t at) noexcept {
  constexpr std::size_t kChunkHeader = 4;
  SctpChunks chunks;
  for (unsigned walked = 0; walked < kMaxSctpChunks && at + kChunkHeader <= view.bytes.size(); ++walked) {
    const std::byte* const chunk = view.bytes.data() + at;
    const unsigned type = load8(chunk);
    const std::size_t length = load_be16(chunk + 2);
    if (length < kChunkHeader) break;
    if (type < 16) chunks.bits = static_cast<std::uint16_t>(chunks.bits | 1U << type);
    at += (length + 3) / 4 * 4;
  }
  return chunks;
}

inline ParseError read_sctp(PacketView& view) noexcept {
  if (view.bytes.size() - view.l4_offset < kSctpHeader) return ParseError::truncated;
  const std::byte* const sctp = view.bytes.data() + view.l4_offset;
  read_ports(sctp, view);
  clear_tcp(view);
  view.sctp_tag = load_be32(sctp + 4);
  view.sctp_chunks = walk_chunks(view, view.l4_offset + kSctpHeader);
  return ParseError::none;
}

}  // namespace transport_detail

inline ParseError read_transport(PacketView& view, Extent extent) noexcept {
  switch (view.tuple.protocol) {
    case Protocol::tcp:
      return transport_detail::read_tcp(view);
    case Protocol::udp:
    case Protocol::udplite:
      return transport_detail::read_udp(view, extent);
    case Protocol::sctp:
      return transport_detail::read_sctp(view);
    default:
      view.tuple.source.port = view.tuple.destination.port = 0;
      return ParseError::unsupported_protocol;
  }
}

}  // namespace limpet::net
