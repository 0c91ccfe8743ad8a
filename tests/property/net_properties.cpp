// Properties of conntrack/net over random packets. A failure prints the seed that reproduces it (RC_PARAMS="seed=…").
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "conntrack/net/checksum.h"
#include "conntrack/net/nat.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::PacketBuilder;

Bytes any_bytes(std::size_t size) {
  const auto values = *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>());
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

bool any_bool() {
  return *rc::gen::arbitrary<bool>();
}
/// From `low` to `high`, both included.
std::size_t between(std::size_t low, std::size_t high) {
  return *rc::gen::inRange(low, high + 1);
}

Address any_address(Family family) {
  return Address::from_wire(family, any_bytes(16).data());
}
AddressPort any_endpoint(Family family) {
  return {any_address(family), *rc::gen::arbitrary<std::uint16_t>()};
}
Rewrite any_rewrite(Family family) {
  return {any_endpoint(family), any_endpoint(family)};
}

void add_extensions(PacketBuilder& builder) {
  for (std::size_t left = between(0, kMaxExtensionHeaders); left > 0; --left) {
    const unsigned type = *rc::gen::element(0U, 43U, 44U, 51U, 60U);
    type == 44 ? builder.fragment(0, false) : builder.extension(type, 8 * between(2, 4));
  }
}

/// A packet that parses, TCP or UDP, of the given family, with every kind of header.
PacketBuilder any_packet(Family family) {
  PacketBuilder builder;
  const std::string source = any_address(family).to_string(), destination = any_address(family).to_string();
  if (family == Family::v4) {
    builder.v4(source, destination).ip_options(4 * between(0, 10));
  } else {
    builder.v6(source, destination);
    add_extensions(builder);
  }
  const auto ports = *rc::gen::arbitrary<std::pair<std::uint16_t, std::uint16_t>>();
  any_bool() ? builder.tcp(ports.first, ports.second) : builder.udp(ports.first, ports.second);
  builder.tcp_options(4 * between(0, 10)).seq(*rc::gen::arbitrary<std::uint32_t>());
  return builder.payload(any_bytes(between(0, 300)));
}

Family any_family() {
  return any_bool() ? Family::v4 : Family::v6;
}

PacketView parsed(Bytes& packet) {
  PacketView view;
  RC_ASSERT(parse(packet, view) == ParseError::none);
  return view;
}

/// `bytes` on the heap and not a byte more, so that AddressSanitizer sees a read beyond them.
struct Exact {
  explicit Exact(std::span<const std::byte> bytes) : size(bytes.size()), data(new std::byte[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), data.get());
  }
  std::span<std::byte> span() const { return {data.get(), size}; }

  std::size_t size;
  std::unique_ptr<std::byte[]> data;
};

/// Parses, and if that succeeds checks every offset and exercises all that trusts the view.
ParseError parse_and_use(std::span<std::byte> bytes) {
  PacketView view;
  const ParseError error = parse(bytes, view);
  if (error != ParseError::none) return error;
  RC_ASSERT(view.bytes.data() == bytes.data());
  RC_ASSERT(view.bytes.size() <= bytes.size());
  RC_ASSERT(view.l4_offset + (view.is_tcp() ? 20U : 8U) <= view.bytes.size());
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
  RC_PRE(view.is_tcp() || test::wire::get16(packet, l4_checksum_offset(view)) != 0);
  rewrite(view, any_rewrite(family), ChecksumMode::incremental);
  RC_ASSERT(!test::checksums_ok(packet));
}

RC_GTEST_PROP(Parse, NeverReadsOutsideATruncatedPacket, ()) {
  const Bytes packet = any_packet(any_family()).build();
  const std::span<const std::byte> whole(packet);
  for (std::size_t size = 0; size < packet.size(); ++size)
    RC_ASSERT(parse_and_use(Exact(whole.first(size)).span()) == ParseError::truncated);
}

RC_GTEST_PROP(Parse, NeverReadsOutsideAPacketWithAByteChanged, ()) {
  const Bytes packet = any_packet(any_family()).build();
  const Bytes replacements = any_bytes(packet.size());
  for (std::size_t at = 0; at < packet.size(); ++at) {
    const Exact changed(packet);
    changed.span()[at] = replacements[at];
    parse_and_use(changed.span());
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
