// packet_spec.h: a packet as a golden file describes it, and its bytes.
//
//   text ── read_packet() (packet_text.h) ──▶ PacketSpec ── encode() ──▶ bytes
//
// The encoder is what the code under test is measured with: it shares nothing with conntrack/net, works from the RFCs,
// one byte after the other, and makes every checksum anew from the whole packet. It is itself compared with packets
// that scapy has made (vectors.txt).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace limpet::golden {

using Bytes = std::vector<std::byte>;

enum Protocol : unsigned { kIcmp = 1, kTcp = 6, kUdp = 17, kIcmp6 = 58, kSctp = 132, kUdpLite = 136 };

enum class Checksum {
  right,
  zero,     // the field is 0: UDP without a checksum
  bad,      // wrong by a constant, which a translation by differences (RFC 1624) neither heals nor changes
  pending,  // the pseudo-header's sum alone, as in a packet whose checksum a device is to complete; 0 for SCTP
};

/// Bytes [from, to) of what follows the IP header.
struct Piece {
  std::size_t from = 0, to = 0;
};

struct Extension {
  unsigned type = 0;
  Bytes body;  // all after the next-header byte
};

struct PacketSpec {
  bool v4 = true;
  Bytes source, destination;  // addresses, in network order
  unsigned source_port = 0, destination_port = 0;
  unsigned protocol = 0;

  unsigned ttl = 64;  // or hop limit
  unsigned tos = 0;   // or traffic class: DSCP and ECN
  unsigned id = 0;    // of the datagram
  unsigned flow_label = 0;
  bool dont_fragment = false;
  Bytes ip_options;
  std::vector<Extension> extensions;

  Checksum checksum = Checksum::right;
  unsigned flags = 0, window = 64240;  // TCP; the rest too
  std::uint32_t sequence = 0, acknowledgement = 0;
  Bytes tcp_options;
  std::optional<unsigned> length;    // UDP: if not that of the whole
  std::optional<unsigned> coverage;  // UDP-Lite: if not 0, the whole
  std::uint32_t tag = 0;             // SCTP
  unsigned icmp_type = 0, icmp_code = 0;
  std::uint32_t icmp_word = 0;     // bytes 4 to 7 of the message
  std::vector<PacketSpec> quoted;  // at most one: the packet that an ICMP error is about
  Bytes payload;                   // after the transport header: SCTP's chunks, ICMP's data

  std::optional<Piece> piece;         // a fragment
  std::optional<std::size_t> first;   // no more than so many bytes of it all
  std::optional<std::size_t> cut;     // no more than so many bytes after the IP header
  std::optional<unsigned> ip_length;  // what the IP header states, if not the truth
};

Bytes encode(const PacketSpec& packet);

}  // namespace limpet::golden
