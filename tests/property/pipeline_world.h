// pipeline_world.h: random flows through the pipeline, and random packets of them.
//
//   World      one flow between random ends: protocol, family, masqueraded or not, perhaps beside another one that has its
//              middle pair already
//   Content    what a packet has besides its ends
//
//   request    client → VIP        PREROUTING, (POSTROUTING)   → as the endpoint receives it
//   reply      endpoint → …        (PREROUTING,) POSTROUTING   → as the client receives it
//
//   A client on the node itself speaks at OUTPUT and listens at INPUT instead. What stands in parentheses is crossed by
//   masqueraded flows only.
//
// Expected packets are built from scratch by PacketBuilder with the ends of the other side, checksums included: so a
// byte that should not have changed, and a checksum that should have, both show.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <rapidcheck.h>

#include "lb/datapath/pipeline.h"
#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::datapath::properties {

using net::Address;
using net::AddressPort;
using net::Family;
using net::Protocol;
using test::Bytes;
using test::PacketBuilder;

inline constexpr std::uint32_t kMask = 0x1000;

inline bool any_bool() {
  return *rc::gen::arbitrary<bool>();
}
/// From `low` to `high`, both included.
inline std::size_t between(std::size_t low, std::size_t high) {
  return *rc::gen::inRange(low, high + 1);
}
inline std::uint16_t any_port() {
  return static_cast<std::uint16_t>(between(1, 65535));
}
inline Bytes any_bytes(std::size_t size) {
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
            .endpoint = endpoint_,
            .remembered = {}};
  }
  void confirm(const net::Address&, const flow::AffinityName&, flow::Instant) override {}

 private:
  AddressPort endpoint_;
  bool masquerade_;
};

struct World {
  Family family = any_bool() ? Family::v4 : Family::v6;
  Protocol protocol = *rc::gen::element(Protocol::tcp, Protocol::udp, Protocol::udplite, Protocol::sctp);
  bool masquerade = any_bool(), clash = any_bool(), local = any_bool();
  AddressPort client = end("client"), vip = end("vip"), other_vip = end("other vip"), endpoint = end("endpoint");
  Address node_address = end("node").address;
  std::uint32_t mark = *rc::gen::arbitrary<std::uint32_t>() & ~kMask;  // of others
  EndpointSlots slots{2};
  SameEndpoint decider{slots, endpoint, masquerade};
  flow::FlowTable flows{{.capacity = 16, .key = {1, 2}, .timeouts = {}}};
  std::vector<flow::PortInterval> assignable{{1024, 29999}};
  flow::PortPool ports{{.assignable = assignable, .node_ports = {}}};
  flow::FragmentTable fragments{{.capacity = 8, .key = {1, 2}}};
  EndpointLoad load{1, 2};
  Counters counters;
  node::NodeView node{{{.interface = 1, .address = node_address, .prefix_length = 8}}, {}, {}};
  WorkerContext worker{pick::Rng(*rc::gen::arbitrary<std::uint64_t>()), counters, load.shard(0)};
  Pipeline pipeline{{.mark_mask = kMask, .midstream = MidstreamPolicy::pick}, decider, flows, ports, fragments};

  World() {
    slots.set({1, 1}, EndpointSlots::ready | EndpointSlots::serving);
    if (any_bool()) client.port = 0;
    if (clash) cross(speaks(), packet(client, other_vip).build(), mark);
  }

  /// Where the client's packets cross first, and those to it last.
  Hook speaks() const { return local ? Hook::output : Hook::prerouting; }
  Hook listens() const { return local ? Hook::input : Hook::postrouting; }
  using Hooks = std::vector<Hook>;
  Hooks request_hooks() const { return masquerade ? Hooks{speaks(), Hook::postrouting} : Hooks{speaks()}; }
  Hooks reply_hooks() const { return masquerade ? Hooks{Hook::prerouting, listens()} : Hooks{listens()}; }

  bool is(Protocol which) const { return protocol == which; }
  bool v4() const { return family == Family::v4; }
  /// Distinct addresses: each role has a first byte of its own.
  AddressPort end(std::string_view role) const {
    Bytes bytes = any_bytes(16);
    bytes[0] = static_cast<std::byte>(0x20 + role.size());
    return {Address::from_wire(family, bytes.data()), any_port()};
  }
  PacketBuilder between_addresses(const Address& from, const Address& to) const {
    PacketBuilder builder;
    return v4() ? builder.v4(from.to_string(), to.to_string()) : builder.v6(from.to_string(), to.to_string());
  }
  /// A packet of the flow's protocol. `coverage`: UDP-Lite; `tag`: SCTP.
  PacketBuilder packet(const AddressPort& from, const AddressPort& to, unsigned coverage = 0,
                       std::uint32_t tag = 0) const {
    PacketBuilder builder = between_addresses(from.address, to.address);
    switch (protocol) {
      case Protocol::tcp:
        return builder.tcp(from.port, to.port);
      case Protocol::udplite:
        return builder.udplite(from.port, to.port, coverage);
      case Protocol::sctp:
        return builder.sctp(from.port, to.port, tag);
      default:
        return builder.udp(from.port, to.port);
    }
  }

  struct Passed {
    Bytes bytes;
    std::uint32_t mark = 0;
    Verdict verdict;
  };
  /// A crossing of any packet. `pending`: its checksum is left to the hardware.
  Passed pass(Hook hook, Bytes bytes, std::uint32_t with_mark, bool pending = false) {
    const flow::Instant now{flow::Milliseconds(1'000'000)};
    const Packet diverted{.bytes = bytes,
                          .hook = hook,
                          .mark = with_mark,
                          .in_interface = hook == Hook::output ? 0U : 2U,
                          .out_interface = hook == Hook::postrouting ? 1U : 0U,
                          .checksum_pending = pending};
    const Verdict verdict = pipeline.process(diverted, node, now, worker);
    return {bytes, verdict.set_mark ? verdict.mark : with_mark, verdict};
  }
  /// A crossing that must rewrite.
  Passed rewritten(Hook hook, Bytes bytes, std::uint32_t with_mark, bool pending = false) {
    Passed passed = pass(hook, std::move(bytes), with_mark, pending);
    RC_ASSERT(passed.verdict.accept && passed.verdict.rewritten);
    return passed;
  }

  struct Crossed {
    Bytes bytes;
    std::uint32_t mark;
    net::Tuple tuple;
  };
  /// The same of a packet that can be read.
  Crossed cross(Hook hook, Bytes bytes, std::uint32_t with_mark, bool pending = false) {
    Passed passed = rewritten(hook, std::move(bytes), with_mark, pending);
    net::PacketView view;
    RC_ASSERT(net::parse(passed.bytes, view) == net::ParseError::none);
    return {passed.bytes, passed.mark, view.tuple};
  }
  /// From the client to where the endpoint receives it.
  Crossed request(const Bytes& bytes, bool pending = false) {
    Crossed crossed = cross(speaks(), bytes, mark, pending);
    RC_ASSERT(crossed.mark == (masquerade ? mark | kMask : mark));
    if (!masquerade) return crossed;
    crossed = cross(Hook::postrouting, crossed.bytes, crossed.mark);
    RC_ASSERT(crossed.mark == mark);
    return crossed;
  }
  /// From the endpoint to where the client receives it.
  Crossed reply(const Bytes& bytes, bool pending = false) {
    Crossed crossed = cross(reply_hooks().front(), bytes, mark, pending);
    if (masquerade) crossed = cross(listens(), crossed.bytes, mark);
    RC_ASSERT(crossed.mark == mark);
    return crossed;
  }
  /// As the endpoint knows the client, once a packet of it has come by.
  AddressPort client_at_endpoint() { return request(packet(client, vip).flags("S").build()).tuple.source; }
};

/// What a packet has besides its ends; the same for both sides of the translation. An extension header of 8 bytes: hop by
/// hop, a route travelled to its end, an atomic fragment, authentication, destination options.
struct Content {
  std::size_t ip_options = 4 * between(0, 10), tcp_options = 4 * between(0, 10);
  std::uint8_t ttl = *rc::gen::arbitrary<std::uint8_t>(), dscp = static_cast<std::uint8_t>(between(0, 63));
  std::uint16_t id = *rc::gen::arbitrary<std::uint16_t>();
  std::uint32_t seq = *rc::gen::arbitrary<std::uint32_t>(), ack = *rc::gen::arbitrary<std::uint32_t>();
  std::uint32_t tag = *rc::gen::arbitrary<std::uint32_t>();
  std::string flags;
  std::vector<unsigned> extensions =
      *rc::gen::container<std::vector<unsigned>>(between(0, 3), rc::gen::element(0U, 43U, 44U, 51U, 60U));
  Bytes payload = any_bytes(between(0, 200));
  unsigned coverage = any_bool() ? 0 : static_cast<unsigned>(between(8, 8 + payload.size()));
  enum class Checksum {
    right,
    wrong,
    none  // where the protocol allows it
  } checksum = *rc::gen::element(Checksum::right, Checksum::wrong, Checksum::none);
  std::uint32_t error = *rc::gen::arbitrary<std::uint32_t>();  // a wrong one's bits that are
  bool pending = false;                                        // only the pseudo-header's sum is there

  explicit Content(std::string tcp_flags) : flags(std::move(tcp_flags)) {}

  PacketBuilder builder_between(const World& world, const AddressPort& from, const AddressPort& to) const {
    PacketBuilder builder = world.packet(from, to, coverage, tag);
    if (world.v4()) builder.ip_options(ip_options).id(id);
    if (!world.v4()) {
      for (const unsigned type : extensions) type == 44 ? builder.fragment(0, false) : builder.extension(type, 8);
    }
    builder.ttl(ttl).dscp(dscp).flags(flags).seq(seq).ack(ack).payload(payload);
    if (world.is(Protocol::tcp)) builder.tcp_options(tcp_options);
    if (checksum == Checksum::none && world.is(Protocol::udp) && world.v4() && !pending) builder.no_checksum();
    return builder;
  }
  Bytes between_ends(const World& world, const AddressPort& from, const AddressPort& to) const {
    return builder_between(world, from, to).build();
  }
  /// Where the transport header starts: after options and extensions of 8 bytes.
  std::size_t transport_at(const World& world) const {
    return world.v4() ? 20 + ip_options : 40 + 8 * extensions.size();
  }
  std::size_t checksum_at(const World& world) const {
    return transport_at(world) + (world.is(Protocol::tcp) ? 16 : world.is(Protocol::sctp) ? 8 : 6);
  }
  static std::size_t checksum_size(const World& world) { return world.is(Protocol::sctp) ? 4 : 2; }

  bool is_wrong() const { return checksum == Checksum::wrong && !pending; }

  /// The packet as sent; its checksum perhaps corrupted. Not to 0, "no checksum", nor to 0xffff, the other way to write 0.
  Bytes as_sent(const World& world, const AddressPort& from, const AddressPort& to) const {
    if (pending) return builder_between(world, from, to).partial_checksum().build();
    Bytes packet = between_ends(world, from, to);
    if (!is_wrong()) return packet;
    const std::size_t at = checksum_at(world), size = checksum_size(world);
    for (std::size_t i = 0; i < size; ++i) packet[at + i] ^= static_cast<std::byte>(error >> 8 * i);
    const unsigned field = test::wire::get16(packet, at);
    RC_PRE(world.is(Protocol::sctp) || (field != 0 && field != 0xffff));
    RC_PRE(!test::checksums_ok(packet));
    return packet;
  }
};

/// `packet` with the bytes [at, at + size) of `from`, as far as both have them.
inline Bytes with_bytes_of(Bytes packet, const Bytes& from, std::size_t at, std::size_t size) {
  for (std::size_t i = at; i < std::min({at + size, packet.size(), from.size()}); ++i) packet[i] = from[i];
  return packet;
}

/// `expected` has a right checksum. One that was wrong stays wrong; nothing else differs.
inline void expect_translated(const World& world, const Content& content, const Bytes& got, const Bytes& expected) {
  if (!content.is_wrong()) {
    RC_ASSERT(test::to_hex(got) == test::to_hex(expected));
    return;
  }
  RC_ASSERT(!test::checksums_ok(got));
  RC_ASSERT(with_bytes_of(got, expected, content.checksum_at(world), Content::checksum_size(world)) == expected);
}

}  // namespace limpet::datapath::properties
