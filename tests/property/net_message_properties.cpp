// Properties of ICMP errors, fragments and answers over random packets.
#include <array>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "conntrack/net/crc32c.h"
#include "conntrack/net/fragment.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/reply.h"
#include "conntrack/net/wire.h"
#include "tests/property/net_generators.h"
#include "tests/support/fragments.h"

namespace limpet::net {
namespace {

using namespace properties;

/// An error about `quoted`, of its family; `quoted` may be cut short.
Bytes any_error(Family family, const Bytes& quoted) {
  PacketBuilder builder;
  const std::string source = any_address(family).to_string(), destination = any_address(family).to_string();
  if (family == Family::v4) {
    builder.v4(source, destination).ip_options(4 * between(0, 10));
    builder.icmp(*rc::gen::element(3U, 4U, 11U, 12U), 0, *rc::gen::arbitrary<std::uint32_t>());
  } else {
    builder.v6(source, destination);
    builder.icmp(static_cast<unsigned>(between(1, 4)), 0, *rc::gen::arbitrary<std::uint32_t>());
  }
  return builder.payload(quoted).build();
}

/// All of a packet, or as many bytes of it as make its ports and their checksum readable.
Bytes any_quotation(Family family) {
  Bytes packet = any_packet(family).build();
  const std::size_t l4 = test::transport_of(packet).offset;
  if (any_bool()) packet.resize(between(l4 + 8, packet.size()));
  return packet;
}

IcmpRewrite any_icmp_rewrite(Family family) {
  return {any_address(family), any_address(family), any_rewrite(family)};
}

IcmpView parsed_error(Bytes& packet) {
  IcmpView view;
  RC_ASSERT(parse_icmp(packet, view) == ParseError::none);
  RC_ASSERT(view.kind == IcmpKind::error);
  return view;
}

/// Is every checksum right that a receiver, or the host that gets the error, can verify?
bool all_checksums_ok(const Bytes& packet, const IcmpView& view) {
  if (!test::checksums_ok(packet)) return false;
  const auto quoted = std::span(packet).subspan(view.quoted_offset);
  if (!test::header_checksum_ok(quoted)) return false;
  const bool is_v4 = view.source.is_v4();
  const bool whole = quoted.size() == (is_v4 ? test::wire::get16(quoted, 2) : 40 + test::wire::get16(quoted, 4));
  return !whole || view.quoted.protocol == Protocol::sctp || test::transport_checksum_ok(quoted);
}

RC_GTEST_PROP(Icmp, EveryChecksumStaysRight, ()) {
  const Family family = any_family();
  Bytes packet = any_error(family, any_quotation(family)), full = packet;
  IcmpView view = parsed_error(packet), other = parsed_error(full);
  RC_ASSERT(all_checksums_ok(packet, view));
  const IcmpRewrite to = any_icmp_rewrite(family);
  rewrite(view, to, ChecksumMode::incremental);
  RC_ASSERT(all_checksums_ok(packet, view));
  rewrite(other, to, ChecksumMode::full);
  RC_ASSERT(packet == full);
  const IcmpView again = parsed_error(packet);
  RC_ASSERT(again.source == to.source && again.destination == to.destination);
  RC_ASSERT(again.quoted == view.quoted);
  RC_ASSERT(view.quoted.source == to.quoted.source && view.quoted.destination == to.quoted.destination);
}

RC_GTEST_PROP(Icmp, ThereAndBackRestoresEveryByte, ()) {
  const Family family = any_family();
  const Bytes before = any_error(family, any_quotation(family));
  Bytes packet = before;
  IcmpView view = parsed_error(packet);
  const IcmpRewrite home{view.source, view.destination, {view.quoted.source, view.quoted.destination}};
  for (std::size_t hops = between(1, 5); hops > 0; --hops)
    rewrite(view, any_icmp_rewrite(family), ChecksumMode::incremental);
  rewrite(view, home, ChecksumMode::incremental);
  RC_ASSERT(packet == before);
}

void parse_and_use_error(std::span<std::byte> bytes) {
  IcmpView view;
  if (parse_icmp(bytes, view) != ParseError::none || view.kind != IcmpKind::error) return;
  RC_ASSERT(view.bytes.size() <= bytes.size());
  RC_ASSERT(view.icmp_offset + 8 == view.quoted_offset);
  RC_ASSERT(view.quoted_l4_offset + 8 <= view.quoted_end);
  RC_ASSERT(view.quoted_end <= view.bytes.size());
  rewrite(view, any_icmp_rewrite(view.source.family()), ChecksumMode::incremental);
  rewrite(view, any_icmp_rewrite(view.source.family()), ChecksumMode::full);
}

RC_GTEST_PROP(Icmp, NeverReadsOutsideAMessageWithAByteChanged, ()) {
  const Family family = any_family();
  const Bytes packet = any_error(family, any_quotation(family));
  const Bytes replacements = any_bytes(packet.size());
  for (std::size_t tries = 0; tries < 40; ++tries) {
    const Exact changed(packet);
    const std::size_t at = between(0, packet.size() - 1);
    changed.span()[at] = replacements[at];
    parse_and_use_error(changed.span());
  }
}

/// The same packet with the length that its header states.
Bytes shortened(Bytes packet, std::size_t size) {
  packet.resize(size);
  const bool is_v4 = test::wire::get8(packet, 0) >> 4 == 4;
  test::wire::set16(packet, is_v4 ? 2 : 4, static_cast<unsigned>(is_v4 ? size : size - 40));
  return packet;
}

RC_GTEST_PROP(Icmp, NeverReadsOutsideAShorterMessage, ()) {
  const Family family = any_family();
  const Bytes packet = any_error(family, any_quotation(family));
  for (std::size_t tries = 0; tries < 40; ++tries)
    parse_and_use_error(Exact(shortened(packet, between(40, packet.size()))).span());
}

// Fragment by fragment, and as a whole: the same.
RC_GTEST_PROP(Fragment, RewrittenInPiecesAndAsAWhole, ()) {
  const Family family = any_family();
  PacketBuilder builder;
  const std::string source = any_address(family).to_string(), destination = any_address(family).to_string();
  family == Family::v4 ? builder.v4(source, destination).ip_options(4 * between(0, 10)).id(0x1234)
                       : builder.v6(source, destination);
  add_transport(builder, false);
  Bytes whole = builder.payload(any_bytes(between(300, 600))).build();
  PacketView view = parsed(whole);
  const std::size_t size = 8 * between(8, 20);  // the longest TCP header has 60 bytes

  const Rewrite to = any_rewrite(family);
  std::vector<Bytes> pieces = test::cut_up(whole, size);
  for (Bytes& piece : pieces) {
    Fragment fragment;
    RC_ASSERT(parse_fragment(piece, fragment) == ParseError::none);
    RC_ASSERT(fragment.first == (&piece == &pieces.front()));
    fragment.first ? rewrite(fragment.view, to, ChecksumMode::incremental)
                   : rewrite_later(fragment.view, to.source.address, to.destination.address);
    RC_ASSERT(test::header_checksum_ok(piece));
  }
  rewrite(view, to, ChecksumMode::incremental);
  RC_ASSERT(test::reassembled(pieces) == whole);
}

RC_GTEST_PROP(Reply, IsARightPacketFromWhereTheRequestWent, ()) {
  const Family family = any_family();
  Bytes request = any_packet(family).build();
  const Tuple asked = parsed(request).tuple;
  const ReplyKind kind = *rc::gen::element(ReplyKind::port_unreachable, ReplyKind::tcp_reset);
  std::array<std::byte, kMaxReply> out;
  const auto reply = build_reply(kind, request, out);
  if (reply.empty()) return;
  RC_ASSERT(reply.size() <= kMaxReply);
  RC_ASSERT(test::checksums_ok(reply));
  Bytes bytes(reply.begin(), reply.end());
  if (kind == ReplyKind::tcp_reset) {
    RC_ASSERT(parsed(bytes).tuple == asked.reversed());
    return;
  }
  const IcmpView view = parsed_error(bytes);
  RC_ASSERT(view.source == asked.destination.address && view.destination == asked.source.address);
  RC_ASSERT(view.quoted == asked);
}

RC_GTEST_PROP(EchoReply, BringsBackWhatWasSent, ()) {
  const Family family = any_family();
  PacketBuilder builder;
  const std::string source = any_address(family).to_string(), destination = any_address(family).to_string();
  if (family == Family::v4) {
    builder.v4(source, destination).ip_options(4 * between(0, 10));
  } else {
    builder.v6(source, destination);
    add_extensions(builder);
  }
  builder.icmp(echo_request_type(family), 0, *rc::gen::arbitrary<std::uint32_t>()).payload(any_bytes(between(0, 300)));
  Bytes request = builder.build();
  const std::size_t message = request.size() - test::transport_of(request).offset;
  const Bytes sent(request.end() - static_cast<std::ptrdiff_t>(message - 4), request.end());
  const auto reply = build_reply(ReplyKind::echo_reply, request, {});
  if (reply.empty()) return;
  RC_ASSERT(test::checksums_ok(reply));
  RC_ASSERT(reply.size() == message + (family == Family::v4 ? 20 : 40));
  RC_ASSERT(std::equal(sent.begin(), sent.end(), reply.end() - static_cast<std::ptrdiff_t>(sent.size())));
}

RC_GTEST_PROP(Crc32c, HardwareTableAndBitsAgree, ()) {
  const Bytes bytes = any_bytes(between(0, 2000));
  RC_ASSERT(crc32c(bytes) == test::wire::crc32c_bits(bytes));
  RC_ASSERT(crc32c_plain(bytes) == test::wire::crc32c_bits(bytes));
}

RC_GTEST_PROP(Crc32c, AChangeIsTheDifferenceOfTwoSums, ()) {
  const Bytes before = any_bytes(between(4, 2000));
  const std::size_t at = between(0, before.size() - 4);
  Bytes after = before;
  test::wire::set32(after, at, *rc::gen::arbitrary<std::uint32_t>());
  const auto difference = load_native<std::uint32_t>(&before[at]) ^ load_native<std::uint32_t>(&after[at]);
  RC_ASSERT((test::wire::crc32c_bits(before) ^ crc32c_change(difference, before.size() - at - 4)) ==
            test::wire::crc32c_bits(after));
}

}  // namespace
}  // namespace limpet::net
