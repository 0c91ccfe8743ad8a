// reply.h: answers that the node gives in the place of an endpoint.
//
//   port_unreachable   ICMP type 3 code 3, ICMPv6 type 1 code 4, quoting as much of the request as fits in 576 bytes
//                      (RFC 1812 section 4.3.2.3), for IPv6 in 1280 (RFC 4443 section 2.4)
//   tcp_reset          the RST that a closed port answers with (RFC 9293 section 3.10.7.1)
//   echo_reply         made of the request, in place
//
// Source and destination are the request's, exchanged, so the answer comes from the address that the client asked. As
// Linux answers (net/ipv4/netfilter/nf_reject_ipv4.c, nf_reject_ipv6.c, icmp.c), nothing is answered that must not be
// (RFC 1122 section 3.2.2, RFC 4443 section 2.4): a request from or to a multicast, broadcast (255.255.255.255: a subnet's
// is not known here) or unspecified address, an ICMP error or redirect, a RST, a later fragment. A RST answers no fragment
// at all: how long the segment was is not known.
//
// Nor is a damaged request answered: its source may be what is damaged. As there (nf_reject_verify_csum, icmp_rcv), the
// checksums of TCP, UDP (0: there is none) and ICMP are verified, those of SCTP and UDP-Lite are not; nor is a first
// fragment's, which covers what is elsewhere. Where it cannot be judged the caller says so.
//
// Whole IP packets, checksums included: hop limit 64, no options or extension headers, identification 0. IPv4: refusals
// with don't-fragment, which makes that identification right (RFC 6864), and an ICMP error with TOS 0xc0; an echo reply
// without, as it may be long (icmp_init: IP_PMTUDISC_DONT), so the sender must choose its identification (a raw socket
// does), and with the request's TOS. The request may have been cut short, but not that of an echo. Pure; no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace limpet::net {

enum class ReplyKind : std::uint8_t { none, port_unreachable, tcp_reset, echo_reply };

/// Of a request.
enum class RequestChecksum : std::uint8_t {
  verify,
  pending,  // not complete yet, or not all of what it covers is there
};

/// The longest answer to anything but an echo request.
inline constexpr std::size_t kMaxReply = 1280;

/// Build the answer to `request` (a whole packet, IP header first) in `out`, which is kMaxReply long; an echo reply is
/// made in `request` itself. Returns the answer; empty where there must be none.
std::span<const std::byte> build_reply(ReplyKind kind, std::span<std::byte> request, std::span<std::byte> out,
                                       RequestChecksum checksum = RequestChecksum::verify) noexcept;

}  // namespace limpet::net
