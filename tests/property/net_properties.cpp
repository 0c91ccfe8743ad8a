// Properties of conntrack/net over random packets. A failure prints the seed that reproduces it (RC_PARAMS="seed=…").
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "conntrack/net/checksum.h"
#include "tests/property/net_generators.h"

namespace limpet::net {
namespace {

using namespace properties;

std::size_t shortest_header(const PacketView& view) {
  if (view.tuple.protocol == Protocol::sctp) return 12;
  return view.is_tcp() ? 20 : 8;
}

/// Parses, and if that succeeds checks every offset and exercises all that trusts the view.
ParseError parse_and_use(std::span<std::byte> bytes, Extent extent = Extent::whole) {
  PacketView view;
  const ParseError error = parse(bytes, view, extent);
  if (error != ParseError::none) return error;
  RC_ASSERT(view.bytes.data() == bytes.data());
  RC_ASSERT(view.bytes.size() <= bytes.size());
  RC_ASSERT(view.l4_offset + shortest_header(view) <= view.bytes.size());
  RC_ASSERT(view.l4_offset % 2 == 0U);
  RC_ASSERT(l4_checksum_offset(view) + 2 <= view.bytes.size());
  RC_ASSERT(view.tcp_payload <= view.bytes.size() - view.l4_offset);
  const Rewrite swapped{view.tuple.destination, view.tuple.source};
  rewrite(view, swapped, ChecksumMode::incremental);
  rewrite(view, swapped, ChecksumMode::full);
  return error;
}

RC_GTEST_PROP(Rewrite, IncrementalEqualsFull, ()) {
  const Family family = any_family();
  const PacketBuilder builder = any_packet(family);
  const Rewrite to = any_rewrite(family);
  Bytes incremental = builder.build(), full = incremental;
  PacketView one = parsed(incremental), other = parsed(full);
  rewrite(one, to, ChecksumMode::incremental);
  rewrite(other, to, ChecksumMode::full);
  RC_ASSERT(incremental == full);
  RC_ASSERT(test::checksums_ok(incremental));
}

RC_GTEST_PROP(Rewrite, FullCompletesAPartialChecksum, ()) {
  const Family family = any_family();
  Bytes packet = any_packet(family).partial_checksum().build();
  PacketView view = parsed(packet);
  rewrite(view, any_rewrite(family), ChecksumMode::full);
  RC_ASSERT(test::checksums_ok(packet));
}

RC_GTEST_PROP(Rewrite, ThereAndBackRestoresEveryByte, ()) {
  const Family family = any_family();
  const Bytes before = any_packet(family).build();
  Bytes packet = before;
  PacketView view = parsed(packet);
  const Rewrite home{view.tuple.source, view.tuple.destination};
  for (std::size_t hops = between(1, 5); hops > 0; --hops)
    rewrite(view, any_rewrite(family), ChecksumMode::incremental);
  rewrite(view, home, ChecksumMode::incremental);
  RC_ASSERT(packet == before);
}

RC_GTEST_PROP(Rewrite, TheViewStaysTrue, ()) {
  const Family family = any_family();
  Bytes packet = any_packet(family).build();
  PacketView view = parsed(packet);
  rewrite(view, any_rewrite(family), ChecksumMode::incremental);
  const PacketView again = parsed(packet);
  RC_ASSERT(again.tuple == view.tuple);
  RC_ASSERT(again.l4_offset == view.l4_offset);
}

RC_GTEST_PROP(Rewrite, ACorruptedPacketStaysCorrupted, ()) {
  const Family family = any_family();
  Bytes packet = any_packet(family).bad_checksum().build();
  RC_PRE(!test::checksums_ok(packet));
  PacketView view = parsed(packet);
  // A UDP field that corruption made 0 says "no checksum", which IPv4 takes as right.
  RC_PRE(view.tuple.protocol != Protocol::udp || test::wire::get16(packet, l4_checksum_offset(view)) != 0);
  rewrite(view, any_rewrite(family), ChecksumMode::incremental);
  RC_ASSERT(!test::checksums_ok(packet));
}

RC_GTEST_PROP(Parse, NeverReadsOutsideATruncatedPacket, ()) {
  const Bytes packet = any_packet(any_family()).build();
  const std::span<const std::byte> whole(packet);
  for (std::size_t size = 0; size < packet.size(); ++size)
    RC_ASSERT(parse_and_use(Exact(whole.first(size)).span()) == ParseError::truncated);
}

// Cut short, a packet is readable exactly from the end of its transport header on.
RC_GTEST_PROP(Parse, HeadersSufficeWhereTheyAreAskedFor, ()) {
  Bytes packet = any_packet(any_family()).build();
  const PacketView view = parsed(packet);
  const std::size_t options = view.is_tcp() ? (test::wire::get8(packet, view.l4_offset + 12) >> 4) * 4 - 20 : 0;
  const std::size_t headers = view.l4_offset + shortest_header(view) + options;
  for (std::size_t size = 0; size < packet.size(); ++size) {
    const Exact cut(std::span<const std::byte>(packet).first(size));
    PacketView short_view;
    const ParseError error = parse(cut.span(), short_view, Extent::headers);
    RC_ASSERT(error == (size < headers ? ParseError::truncated : ParseError::none));
    if (error != ParseError::none) continue;
    RC_ASSERT(short_view.tuple == view.tuple);
    RC_ASSERT(short_view.bytes.size() == size);
    parse_and_use(cut.span(), Extent::headers);
  }
}

RC_GTEST_PROP(Parse, NeverReadsOutsideAPacketWithAByteChanged, ()) {
  const Bytes packet = any_packet(any_family()).build();
  const Bytes replacements = any_bytes(packet.size());
  for (std::size_t at = 0; at < packet.size(); ++at) {
    const Exact changed(packet);
    changed.span()[at] = replacements[at];
    const Exact again(changed.span());
    parse_and_use(changed.span());
    parse_and_use(again.span(), Extent::headers);
  }
}

RC_GTEST_PROP(Parse, NeverReadsOutsideRandomBytes, ()) {
  Bytes bytes = any_bytes(between(1, 200));
  if (any_bool()) bytes[0] = *rc::gen::element(std::byte{0x45}, std::byte{0x60});
  parse_and_use(Exact(bytes).span());
}

RC_GTEST_PROP(Sum, AgreesWithThePlainSum, ()) {
  const Bytes bytes = any_bytes(between(0, 3000));
  RC_ASSERT(network_order(sum(bytes)) == test::wire::ones_sum(bytes));
}

RC_GTEST_PROP(Address, TextThereAndBack, ()) {
  const Family family = any_family();
  const AddressPort endpoint = any_endpoint(family);
  const Prefix prefix(endpoint.address, static_cast<unsigned>(between(0, endpoint.address.bits())));
  RC_ASSERT(Address::parse(endpoint.address.to_string()) == endpoint.address);
  RC_ASSERT(AddressPort::parse(endpoint.to_string()) == endpoint);
  RC_ASSERT(Prefix::parse(prefix.to_string()) == prefix);
}

}  // namespace
}  // namespace limpet::net
