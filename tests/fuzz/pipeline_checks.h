// pipeline_checks.h: what must be true of every packet that has crossed the pipeline, whatever it was.
//
//   not rewritten   every byte is as it was; only a packet that is accepted is ever rewritten
//   rewritten       as long as it was; nothing differs but addresses, ports and checksums (for an ICMP error: those of the
//                   quoted packet, too); a checksum that was right is right, one that was wrong is wrong
//   the mark        its other bits are as they were
//
// Judged by reference_checksum.h alone. What the pipeline has rewritten is taken to be well-formed: if it was not,
// AddressSanitizer sees these checks read beyond it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lb/datapath/pipeline.h"
#include "tests/fuzz/pipeline_packets.h"
#include "tests/fuzz/require.h"

namespace limpet::fuzz {

/// The packet without link-layer padding: as long as its IP header says.
inline std::span<const std::byte> stated(std::span<const std::byte> packet) {
  return packet.first(is_v4(packet) ? wire::get16(packet, 2) : 40 + wire::get16(packet, 4));
}

/// Is it part of a datagram, and of that the first?
struct FragmentOf {
  bool any = false, first = false;
};
inline FragmentOf fragment_place(std::span<const std::byte> packet) {
  unsigned field = 0;
  if (is_v4(packet)) {
    field = wire::get16(packet, 6) & 0x3fff;
    return {field != 0, field == 0x2000};
  }
  unsigned protocol = wire::get8(packet, 6);
  for (std::size_t at = 40;
       protocol == 0 || protocol == 43 || protocol == kFragment || protocol == 51 || protocol == 60;) {
    const unsigned units = wire::get8(packet, at + 1);
    if (protocol == kFragment) field = wire::get16(packet, at + 2) & 0xfff9;
    const std::size_t size = protocol == kFragment ? 8 : protocol == 51 ? (units + 2) * 4 : (units + 1) * 8;
    protocol = wire::get8(packet, at);
    at += size;
  }
  return {field != 0, field == 1};
}

inline bool is_icmp_error(std::span<const std::byte> packet, const test::Transport& transport) {
  if (transport.protocol != kIcmp && transport.protocol != kIcmp6) return false;
  return transport.offset + 8 < packet.size();  // the pipeline rewrites no other ICMP message
}

inline void blank(std::span<std::byte> packet, std::size_t at, std::size_t size) {
  for (std::size_t i = at; i < at + size && i < packet.size(); ++i) packet[i] = std::byte{0};
}

/// Zeroes what translation may change of an IP packet, perhaps cut short.
inline void blank_translated(std::span<std::byte> packet) {
  const test::Transport transport = test::transport_of(packet);
  const FragmentOf fragment = fragment_place(packet);
  const bool v4 = is_v4(packet);
  blank(packet, v4 ? 12 : 8, v4 ? 8 : 32);
  if (v4) blank(packet, 10, 2);
  if (fragment.any && !fragment.first) return;
  if (is_icmp_error(packet, transport)) {
    blank(packet, transport.offset + 2, 2);
    return blank_translated(packet.subspan(transport.offset + 8));
  }
  blank(packet, transport.offset, 4);
  blank(packet, transport.offset + checksum_offset(transport.protocol), transport.protocol == kSctp ? 4 : 2);
}

/// One's-complement sum of the words of a first fragment that translation changes, all of which its checksum covers: the same
/// before and after, though the rest of what it covers is elsewhere.
inline unsigned sum_of_translated(std::span<const std::byte> packet) {
  const test::Transport transport = test::transport_of(packet);
  const bool v4 = is_v4(packet);
  Bytes words;
  words.reserve(64);
  wire::append(words, packet.subspan(v4 ? 12 : 8, v4 ? 8 : 32));
  wire::append(words, packet.subspan(transport.offset, 4));
  wire::append(words, packet.subspan(transport.offset + checksum_offset(transport.protocol), 2));
  const unsigned sum = wire::ones_sum(words);
  return sum == 0xffff ? 0 : sum;
}

inline unsigned checksum_field(std::span<const std::byte> packet, const test::Transport& transport) {
  return wire::get16(packet, transport.offset + checksum_offset(transport.protocol));
}

inline void check_first_fragment(std::span<const std::byte> before, std::span<const std::byte> after) {
  const test::Transport transport = test::transport_of(before);
  // UDP-Lite must not go without a checksum; where it does, it stays so.
  const bool may_lack = transport.protocol == kUdp || transport.protocol == kUdpLite;
  if (may_lack && checksum_field(before, transport) == 0) {
    return require(checksum_field(after, transport) == 0, "no checksum stays none");
  }
  require(sum_of_translated(before) == sum_of_translated(after), "a first fragment's checksum is adjusted");
}

/// A UDP super-packet is cut up later, its checksum is not complete.
inline void check_super_packet(std::span<const std::byte> after, datapath::Hook hook) {
  const test::Transport transport = test::transport_of(after);
  const unsigned field = checksum_field(after, transport);
  if (hook == datapath::Hook::prerouting) return require(field == 0, "no checksum for the time being");
  const bool v4 = is_v4(after);
  const std::size_t at = v4 ? 12 : 8, size = v4 ? 4 : 16;
  const unsigned pseudo = wire::pseudo_sum(after.subspan(at, size), after.subspan(at + size, size),
                                           wire::get16(after, transport.offset + 4), kUdp);
  require(field % 0xffff == pseudo % 0xffff, "the checksum is the pseudo-header's, for the kernel to complete");
}

/// Is the quoted packet there as a whole, so that its transport's checksum can be judged?
inline bool can_be_judged(std::span<const std::byte> quoted) {
  const std::size_t length = is_v4(quoted) ? wire::get16(quoted, 2) : 40 + wire::get16(quoted, 4);
  if (length > quoted.size() || fragment_place(quoted).any) return false;
  const auto [protocol, offset] = test::transport_of(quoted);
  if (offset > length) return false;
  const std::size_t left = length - offset;
  if (protocol == kTcp) return left >= 20;
  if (protocol == kUdp)
    return left >= 8 && wire::get16(quoted, offset + 4) >= 8 && wire::get16(quoted, offset + 4) <= left;
  if (protocol != kUdpLite || left < 8) return false;
  const unsigned coverage = wire::get16(quoted, offset + 4);
  return coverage == 0 || (coverage >= 8 && coverage <= left);
}

inline void check_quoted(std::span<const std::byte> before, std::span<const std::byte> after) {
  require(test::header_checksum_ok(before) == test::header_checksum_ok(after),
          "the quoted header's checksum is as right as it was");
  if (!can_be_judged(before)) return;
  const unsigned was = checksum_field(before, test::transport_of(before));
  // Right over no checksum is right over none; over IPv6 neither is.
  if (was == 0 && test::transport_of(before).protocol != kTcp) return;
  require(test::transport_checksum_ok(stated(before)) == test::transport_checksum_ok(stated(after)),
          "the quoted transport's checksum is as right as it was");
}

inline void check_checksums(const datapath::Packet& packet, std::span<const std::byte> before,
                            std::span<const std::byte> after) {
  require(test::header_checksum_ok(before) == test::header_checksum_ok(after),
          "the header's checksum is as right as it was");
  const test::Transport transport = test::transport_of(before);
  const FragmentOf fragment = fragment_place(before);
  if (fragment.any) return fragment.first ? check_first_fragment(before, after) : void();
  if (packet.segmented_later && transport.protocol == kUdp) return check_super_packet(after, packet.hook);
  if (packet.checksum_pending) {
    require(test::transport_checksum_ok(after), "a checksum that was pending is complete");
  } else {
    require(test::transport_checksum_ok(before) == test::transport_checksum_ok(after),
            "the checksum is as right as it was");
  }
  if (is_icmp_error(before, transport)) {
    check_quoted(before.subspan(transport.offset + 8), after.subspan(transport.offset + 8));
  }
}

/// `original`: the bytes as they were; packet.bytes: as they are now.
inline void check_crossing(const datapath::Packet& packet, std::span<const std::byte> original,
                           const datapath::Verdict& verdict, std::uint32_t mark_mask) {
  require(!verdict.rewritten || verdict.accept, "what is dropped is not rewritten");
  require(!verdict.set_mark || verdict.accept, "what is dropped keeps its mark");
  require(verdict.reply == net::ReplyKind::none || !verdict.accept, "only what is dropped is answered");
  if (verdict.set_mark)
    require((verdict.mark & ~mark_mask) == (packet.mark & ~mark_mask), "other bits of the mark stay");
  const std::span<const std::byte> now = packet.bytes;
  if (!verdict.rewritten)
    return require(std::equal(now.begin(), now.end(), original.begin(), original.end()), "not a byte changed");

  require(!packet.truncated, "what is not there as a whole is not written back");
  const std::span<const std::byte> before = stated(original), after = stated(now);
  require(before.size() == after.size(), "its length stays");
  Bytes blanked_before(original.begin(), original.end()), blanked_after(now.begin(), now.end());
  blank_translated(std::span(blanked_before).first(before.size()));
  blank_translated(std::span(blanked_after).first(after.size()));
  require(blanked_before == blanked_after, "nothing but addresses, ports and checksums changed");
  check_checksums(packet, before, after);
}

}  // namespace limpet::fuzz
