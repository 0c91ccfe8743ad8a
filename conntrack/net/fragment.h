// fragment.h: a fragment of a larger datagram, where the kernel has not put it together.
//
//   first   offset 0, more to come: has the transport header, and is translated like a packet, its checksum by RFC 1624
//           (it covers bytes that are elsewhere)
//   later   no ports: only its addresses are rewritten, to what the first one's became (flow/fragment_table.h)
//
// The datagram is named by (source, destination, protocol, identification): RFC 791. IPv6 names it without the protocol
// (RFC 8200 section 4.5): DatagramId::protocol is 0 there, and a later fragment's tuple has what that fragment states,
// which may be an extension header. SCTP is refused: its checksum depends on the ports and on the length of the whole,
// which a fragment does not know. A TCP or UDP header that is not whole in the first fragment (RFC 1858, RFC 7112) is
// truncated; a later fragment that would overwrite the first 20 bytes of TCP (RFC 3128) is refused. ICMP is not
// translated in pieces: unsupported_protocol, as other transports without ports.
//
// A first fragment is rewritten by rewrite() of nat.h, ChecksumMode::incremental: other modes need the whole. No
// allocation. Pure; never throws.
#pragma once

#include <cstdint>
#include <span>

#include "conntrack/net/packet.h"

namespace limpet::net {

struct DatagramId {
  Address source;
  Address destination;
  Protocol protocol{};
  std::uint32_t identification = 0;
  friend bool operator==(const DatagramId&, const DatagramId&) noexcept = default;
};

struct Fragment {
  DatagramId datagram;
  bool first = false;
  bool last = false;
  PacketView view;  // a later fragment's tuple has ports 0, and its l4_offset is where its data begins
};

/// Fills `fragment` on ParseError::none. ParseError::fragment: one that cannot be translated; unsupported_protocol: of a
/// transport without ports, or no fragment at all (an atomic one is none): then all but the ports is filled as well. Otherwise
/// it is unspecified.
ParseError parse_fragment(std::span<std::byte> bytes, Fragment& fragment) noexcept;

/// Rewrite the addresses of a later fragment, and the IPv4 header checksum.
void rewrite_later(PacketView& fragment, const Address& source, const Address& destination) noexcept;

}  // namespace limpet::net
