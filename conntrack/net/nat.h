// nat.h: rewrite the addresses and ports of one packet.
//
// Mirrors what nf_nat does to headers (Linux net/netfilter/nf_nat_proto.c): addresses, ports, the IPv4 header checksum
// and the transport checksum change, nothing else. How the transport checksum is kept right depends on what the kernel
// says of the packet (reference: Linux nfnetlink_queue, NFQA_SKB_INFO):
//
//   incremental   the field holds a complete checksum: update it by the changed words (RFC 1624). A wrong checksum
//                 stays wrong, so corruption is never hidden. UDP without a checksum (0) stays without: legal over
//                 IPv4, over IPv6 only for some tunnels (RFC 6935), and as nf_nat does it, not ours to judge. UDP-Lite
//                 with 0 is illegal (RFC 3828 section 3.1), which stays as it is, too. SCTP's CRC32c covers no address:
//                 it changes with the ports only, by as much as they do (crc32c.h)
//   full          NFQA_SKB_CSUMNOTREADY: the field holds the pseudo-header's sum (SCTP: 0), left for a device to complete.
//                 A packet written back from userspace will not be completed, so the whole sum is computed
//
// A UDP super-packet (NFQA_SKB_GSO) is cut into datagrams later (net/ipv4/udp_offload.c; TCP's segmentation makes its
// checksums anew, and SCTP and UDP-Lite come to a queue segmented, so for these full will do and is what they get):
//
//   pending       the pseudo-header's sum, from which the kernel makes each datagram's checksum
//   absent        0, "no checksum", for the time until pending: connection tracking, which verifies at PREROUTING and
//                 spoils the packet for segmentation by doing so, then looks away (nf_conntrack_proto_udp.c)
//
// In place; no allocation; never throws. Incremental costs the same for every packet (SCTP: O(log packet)), full is
// O(packet). The view is of a whole packet, or of a first fragment (incremental only, not SCTP).
#pragma once

#include "conntrack/net/packet.h"

namespace limpet::net {

enum class ChecksumMode : std::uint8_t { incremental, full, pending, absent };

/// What to put in place. Both have the packet's family.
struct Rewrite {
  AddressPort source;
  AddressPort destination;
};

/// Write `to` into the packet and into view.tuple. Fields that are equal already are not touched; in all
/// modes but incremental the transport checksum is written even then.
void rewrite(PacketView& packet, const Rewrite& to, ChecksumMode mode) noexcept;

}  // namespace limpet::net
