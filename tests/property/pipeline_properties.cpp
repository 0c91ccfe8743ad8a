// Properties of the pipeline over random flows: there and back through the hooks, a packet keeps every byte that NAT
// must not change. A failure prints the seed that reproduces it (RC_PARAMS="seed=…").
//
//   request   PREROUTING, POSTROUTING   as the endpoint receives it: but for the two ends, the client's packet
//   reply     (PREROUTING,) POSTROUTING as the client receives it: but for the two ends, the endpoint's packet
//
// Expected packets are built from scratch by PacketBuilder with the ends of the other side, checksums included: so a
// byte that should not have changed, and a checksum that should have, both show.
#include <algorithm>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lb/datapath/pipeline.h"
#include "tests/support/packet_builder.h"

namespace limpet::datapath {
namespace {

using net::Address;
using net::AddressPort;
using net::Family;
using test::Bytes;
using test::PacketBuilder;

constexpr std::uint32_t kMask = 0x1000;

bool any_bool() {
  return *rc::gen::arbitrary<bool>();
}
std::size_t between(std::size_t low, std::size_t high) {
  return *rc::gen::inRange(low, high + 1);
}
std::uint16_t any_port() {
  return static_cast<std::uint16_t>(between(1, 65535));
}
Bytes any_bytes(std::size_t size) {
  const auto values = *rc::gen::container<std::vector<std::uint8_t>>(size, rc::gen::arbitrary<std::uint8_t>());
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

/// Says the same of every connection.
class SameEndpoint final : public Decider {
 public:
  SameEndpoint(const EndpointSlots& slots, const AddressPort& endpoint, bool masquerade)
      : Decider(slots), endpoint_(endpoint), masquerade_(masquerade) {}
  Decision decide(const NewConnection&, const node::NodeView&, flow::Instant, pick::Rng&) override {
    return {.action = Action::dnat,
            .reason = Reason::picked,
            .masquerade = masquerade_,
            .endpoint_id = {1, 1},
            .endpoint = endpoint_};
  }
  void confirm(Address, std::uint32_t, EndpointId) override {}

 private:
  AddressPort endpoint_;
  bool masquerade_;
};

/// One flow between random ends, perhaps beside another one that has its middle pair already.
struct World {
  Family family = any_bool() ? Family::v4 : Family::v6;
  bool tcp = any_bool(), masquerade = any_bool(), clash = any_bool();
  AddressPort client = end("client"), vip = end("vip"), other_vip = end("other vip"), endpoint = end("endpoint");
  Address node_address = end("node").address;
  std::uint32_t mark = *rc::gen::arbitrary<std::uint32_t>() & ~kMask;  // of others
  EndpointSlots slots{2};
  SameEndpoint decider{slots, endpoint, masquerade};
  flow::FlowTable flows{{.capacity = 16, .key = {1, 2}, .timeouts = {}}};
  std::vector<flow::PortInterval> assignable{{1024, 29999}};
  flow::PortPool ports{{.assignable = assignable, .node_ports = {}}};
  flow::FragmentTable fragments{{}};
  EndpointLoad load{1, 2};
  Counters counters;
  node::NodeView node{{{.interface = 1, .address = node_address, .prefix_length = 8}}, {}, {}};
  WorkerContext worker{pick::Rng(*rc::gen::arbitrary<std::uint64_t>()), counters, load.shard(0)};
  Pipeline pipeline{{.mark_mask = kMask, .midstream = MidstreamPolicy::pick}, decider, flows, ports, fragments};

  World() {
    slots.set({1, 1}, EndpointSlots::ready | EndpointSlots::serving);
    if (clash) cross(Hook::prerouting, packet(client, other_vip).build(), mark);
  }

  /// Distinct addresses: each role has a first byte of its own.
  AddressPort end(std::string_view role) const {
    Bytes bytes = any_bytes(16);
    bytes[0] = static_cast<std::byte>(0x20 + role.size());
    return {Address::from_wire(family, bytes.data()), any_port()};
  }
  PacketBuilder packet(const AddressPort& from, const AddressPort& to) const {
    PacketBuilder builder;
    const std::string source = from.address.to_string(), destination = to.address.to_string();
    family == Family::v4 ? builder.v4(source, destination) : builder.v6(source, destination);
    return tcp ? builder.tcp(from.port, to.port) : builder.udp(from.port, to.port);
  }

  struct Crossed {
    Bytes bytes;
    std::uint32_t mark;
    net::Tuple tuple;
  };
  /// A crossing that must rewrite.
  Crossed cross(Hook hook, Bytes bytes, std::uint32_t with_mark) {
    const flow::Instant now{flow::Milliseconds(1'000'000)};
    const Packet diverted{.bytes = bytes,
                          .hook = hook,
                          .mark = with_mark,
                          .in_interface = 0,
                          .out_interface = hook == Hook::postrouting ? 1U : 0U};
    const Verdict verdict = pipeline.process(diverted, node, now, worker);
    RC_ASSERT(verdict.accept && verdict.rewritten);
    net::PacketView view;
    RC_ASSERT(net::parse(bytes, view) == net::ParseError::none);
    return {bytes, verdict.set_mark ? verdict.mark : with_mark, view.tuple};
  }
  /// From the client to where the endpoint receives it.
  Crossed request(const Bytes& bytes) {
    Crossed crossed = cross(Hook::prerouting, bytes, mark);
    RC_ASSERT(crossed.mark == (masquerade ? mark | kMask : mark));
    if (!masquerade) return crossed;
    crossed = cross(Hook::postrouting, crossed.bytes, crossed.mark);
    RC_ASSERT(crossed.mark == mark);
    return crossed;
  }
  /// From the endpoint to where the client receives it.
  Crossed reply(Bytes bytes) {
    if (masquerade) bytes = cross(Hook::prerouting, bytes, mark).bytes;
    Crossed crossed = cross(Hook::postrouting, bytes, mark);
    RC_ASSERT(crossed.mark == mark);
    return crossed;
  }
};

/// What a packet has besides its ends; the same for both sides of the translation.
struct Content {
  std::size_t ip_options = 4 * between(0, 10), tcp_options = 4 * between(0, 10);
  std::uint8_t ttl = *rc::gen::arbitrary<std::uint8_t>(), dscp = static_cast<std::uint8_t>(between(0, 63));
  std::uint16_t id = *rc::gen::arbitrary<std::uint16_t>();
  std::uint32_t seq = *rc::gen::arbitrary<std::uint32_t>(), ack = *rc::gen::arbitrary<std::uint32_t>();
  std::string flags;
  std::vector<unsigned> extensions =
      *rc::gen::container<std::vector<unsigned>>(between(0, 3), rc::gen::element(0U, 60U));
  Bytes payload = any_bytes(between(0, 200));
  enum class Checksum {
    right,
    wrong,
    none
  } checksum = *rc::gen::element(Checksum::right, Checksum::wrong, Checksum::none);

  explicit Content(std::string tcp_flags) : flags(std::move(tcp_flags)) {}

  Bytes between_ends(const World& world, const AddressPort& from, const AddressPort& to) const {
    PacketBuilder builder = world.packet(from, to);
    if (world.family == Family::v4) builder.ip_options(ip_options).id(id);
    if (world.family == Family::v6) {
      for (const unsigned type : extensions) builder.extension(type, 8);
    }
    builder.ttl(ttl).dscp(dscp).flags(flags).seq(seq).ack(ack).payload(payload);
    if (world.tcp) builder.tcp_options(tcp_options);
    if (checksum == Checksum::none && !world.tcp && world.family == Family::v4) builder.no_checksum();
    return builder.build();
  }
};

/// Where the transport header starts: after options and extensions of 8 bytes.
std::size_t checksum_at(const World& world, const Content& content) {
  const std::size_t l4 = world.family == Family::v4 ? 20 + content.ip_options : 40 + 8 * content.extensions.size();
  return l4 + (world.tcp ? 16 : 6);
}

void expect_translated(const World& world, const Content& content, const Bytes& got, const Bytes& expected) {
  if (content.checksum != Content::Checksum::wrong) {
    RC_ASSERT(got == expected);
    return;
  }
  // The checksum stays wrong; nothing else differs from the right packet.
  const std::size_t at = checksum_at(world, content);
  RC_ASSERT(!test::checksums_ok(got));
  Bytes repaired = got;
  std::copy_n(expected.begin() + static_cast<std::ptrdiff_t>(at), 2,
              repaired.begin() + static_cast<std::ptrdiff_t>(at));
  RC_ASSERT(repaired == expected);
}

/// The packet as sent; its checksum perhaps corrupted. A UDP field must not become 0 by that: "no checksum".
Bytes as_sent(const World& world, const Content& content, const AddressPort& from, const AddressPort& to) {
  Bytes packet = content.between_ends(world, from, to);
  if (content.checksum != Content::Checksum::wrong) return packet;
  packet[checksum_at(world, content)] ^= std::byte{0x01};
  RC_PRE(world.tcp || test::wire::get16(packet, checksum_at(world, content)) != 0);
  RC_PRE(!test::checksums_ok(packet));
  return packet;
}

RC_GTEST_PROP(Pipeline, ARequestKeepsEveryByteButItsEnds, ()) {
  World world;
  for (std::size_t packets = between(1, 3); packets > 0; --packets) {
    const Content content(*rc::gen::element<std::string>("S", "A", "PA"));
    const auto arrived = world.request(as_sent(world, content, world.client, world.vip));
    RC_ASSERT(arrived.tuple.destination == world.endpoint);
    RC_ASSERT(arrived.tuple.source.address == (world.masquerade ? world.node_address : world.client.address));
    if (!world.masquerade) RC_ASSERT((arrived.tuple.source == world.client) == !world.clash);
    expect_translated(world, content, arrived.bytes, content.between_ends(world, arrived.tuple.source, world.endpoint));
  }
}

RC_GTEST_PROP(Pipeline, AReplyComesFromTheVipAndKeepsEveryOtherByte, ()) {
  World world;
  const auto seen = world.request(world.packet(world.client, world.vip).flags("S").build()).tuple;
  for (std::size_t packets = between(1, 3); packets > 0; --packets) {
    const Content content(*rc::gen::element<std::string>("A", "PA"));
    const auto arrived = world.reply(as_sent(world, content, world.endpoint, seen.source));
    expect_translated(world, content, arrived.bytes, content.between_ends(world, world.vip, world.client));
  }
}

/// The packet that goes the other way: source and destination exchanged, which no checksum notices.
Bytes turned_round(const World& world, const Content& content, Bytes packet) {
  const std::ptrdiff_t size = world.family == Family::v4 ? 4 : 16, at = world.family == Family::v4 ? 12 : 8;
  const auto ports = static_cast<std::ptrdiff_t>(checksum_at(world, content)) - (world.tcp ? 16 : 6);
  const auto begin = packet.begin();
  std::swap_ranges(begin + at, begin + at + size, begin + at + size);
  std::swap_ranges(begin + ports, begin + ports + 2, begin + ports + 2);
  return packet;
}

RC_GTEST_PROP(Pipeline, ThereAndBackRestoresEveryByte, ()) {
  World world;
  const Content content("A");
  const Bytes sent = as_sent(world, content, world.client, world.vip);
  const Bytes back = world.reply(turned_round(world, content, world.request(sent).bytes)).bytes;
  RC_ASSERT(turned_round(world, content, back) == sent);
}

}  // namespace
}  // namespace limpet::datapath
