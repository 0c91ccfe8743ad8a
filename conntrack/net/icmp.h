// icmp.h: ICMP and ICMPv6 messages as NAT sees them: errors, which quote the packet that they are about, and echo.
//
//   bytes  [ IP header | ICMP header (8) | quoted IP header | first bytes of the quoted transport header | … ]
//                      ^ icmp_offset     ^ quoted_offset    ^ quoted_l4_offset
//
//   error   IPv4 types 3, 4, 11, 12 (RFC 792), IPv6 types 1 to 4 (RFC 4443). `quoted` is the tuple of the packet inside,
//           as it stands there: at the place where the error was made. Eight transport bytes are enough (ports)
//   redirect IPv4 type 5: quotes as an error does. (ICMPv6's belongs to neighbour discovery and is never diverted.)
//   echo    a request: type 8 (IPv6: 128)
//
// rewrite() changes the addresses of the message and the addresses and ports of the quotation, with every checksum on
// the way: the IPv4 header's, the quoted IPv4 header's, the quoted transport's (TCP's lies beyond the first eight bytes:
// where the quotation reaches it), the ICMP message's. As nf_nat_icmp_reply_translation and nf_nat_icmpv6_reply_translation
// (net/netfilter/nf_nat_proto.c), but all of it by RFC 1624, so that a wrong checksum stays wrong. A quoted transport
// checksum is adjusted blindly: it may have been incomplete when the error was made. A quoted SCTP packet keeps its
// checksum: it covers no address, and a packet that is not there whole has none that can be verified.
//
// The quoted packet may be a first fragment, cut short, behind IPv6 extension headers; a later fragment has no ports and
// is unsupported_protocol. All changed words lie at even offsets of the message, so odd lengths need no care.
// In place; pure; no allocation; never throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "conntrack/net/address.h"
#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"

namespace limpet::net {

enum class IcmpKind : std::uint8_t { error, redirect, echo_request, other };

struct IcmpView {
  std::span<std::byte> bytes;  // the packet, IP header first, exactly as long as the IP header says
  std::size_t icmp_offset = 0;
  std::size_t quoted_offset = 0;     // error and redirect only; the rest too
  std::size_t quoted_l4_offset = 0;  // at least eight bytes follow
  std::size_t quoted_end = 0;        // of what is quoted: extensions (RFC 4884) may follow
  IcmpKind kind = IcmpKind::other;
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  Address source;  // of the message
  Address destination;
  Tuple quoted;
};

constexpr Protocol icmp_protocol(Family family) noexcept {
  return family == Family::v4 ? Protocol::icmp : Protocol::icmp6;
}

/// The type (with code 0) of an echo request of this family, as diversion rules and explanations name it.
constexpr std::uint8_t echo_request_type(Family family) noexcept {
  return family == Family::v4 ? 8 : 128;
}

/// Fills `view` on ParseError::none; otherwise leaves it unspecified. unsupported_protocol: no ICMP, or an error about
/// a packet without ports. fragment: part of a message. Otherwise the errors of parse(), of the message or the quotation.
ParseError parse_icmp(std::span<std::byte> bytes, IcmpView& view) noexcept;

/// What to put into an error. All of the packet's family.
struct IcmpRewrite {
  Address source;
  Address destination;
  Rewrite quoted;
};

/// Write `to` into the error and into `view`. Fields that are equal already are not touched. `full`: the ICMP checksum
/// is not complete yet (NFQA_SKB_CSUMNOTREADY) and is computed over the whole message; other modes mean incremental.
void rewrite(IcmpView& error, const IcmpRewrite& to, ChecksumMode mode) noexcept;

}  // namespace limpet::net
