// Properties of the pipeline over random flows of every protocol: there and back through the hooks, a packet keeps every
// byte that NAT must not change. A failure prints the seed that reproduces it (RC_PARAMS="seed=…").
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/property/pipeline_world.h"

namespace limpet::datapath::properties {
namespace {

RC_GTEST_PROP(Pipeline, ARequestKeepsEveryByteButItsEnds, ()) {
  World world;
  for (std::size_t packets = between(1, 3); packets > 0; --packets) {
    Content content(*rc::gen::element<std::string>("S", "A", "PA"));
    content.pending = any_bool();
    const auto arrived = world.request(content.as_sent(world, world.client, world.vip), content.pending);
    RC_ASSERT(arrived.tuple.destination == world.endpoint);
    RC_ASSERT(arrived.tuple.source.address == (world.masquerade ? world.node_address : world.client.address));
    if (!world.masquerade) RC_ASSERT((arrived.tuple.source == world.client) == !world.clash);
    expect_translated(world, content, arrived.bytes, content.between_ends(world, arrived.tuple.source, world.endpoint));
  }
}

RC_GTEST_PROP(Pipeline, AReplyComesFromTheVipAndKeepsEveryOtherByte, ()) {
  World world;
  const AddressPort client = world.client_at_endpoint();
  for (std::size_t packets = between(1, 3); packets > 0; --packets) {
    Content content(*rc::gen::element<std::string>("A", "PA"));
    content.pending = any_bool();
    const auto arrived = world.reply(content.as_sent(world, world.endpoint, client), content.pending);
    expect_translated(world, content, arrived.bytes, content.between_ends(world, world.vip, world.client));
  }
}

/// The packet that goes the other way: source and destination exchanged. Of the checksums only SCTP's notices; what was
/// wrong with it stays wrong.
Bytes turned_round(const World& world, const Content& content, Bytes packet) {
  const std::ptrdiff_t size = world.v4() ? 4 : 16, at = world.v4() ? 12 : 8;
  const auto ports = static_cast<std::ptrdiff_t>(content.transport_at(world));
  const auto sctp = [&] { return std::span(packet).subspan(content.transport_at(world)); };
  const bool is_sctp = world.is(Protocol::sctp);
  const std::uint32_t error = is_sctp ? test::wire::get32(sctp(), 8) ^ test::wire::sctp_checksum(sctp()) : 0;
  const auto begin = packet.begin();
  std::swap_ranges(begin + at, begin + at + size, begin + at + size);
  std::swap_ranges(begin + ports, begin + ports + 2, begin + ports + 2);
  if (is_sctp) test::wire::set32(sctp(), 8, test::wire::sctp_checksum(sctp()) ^ error);
  return packet;
}

RC_GTEST_PROP(Pipeline, ThereAndBackRestoresEveryByte, ()) {
  World world;
  const Content content("A");
  const Bytes sent = content.as_sent(world, world.client, world.vip);
  const Bytes back = world.reply(turned_round(world, content, world.request(sent).bytes)).bytes;
  RC_ASSERT(turned_round(world, content, back) == sent);
}

RC_GTEST_PROP(Pipeline, ASecondCrossingOfTheSameHookChangesNothing, ()) {
  World world;
  const AddressPort client = world.client_at_endpoint();
  const Content content("A");
  const bool back = any_bool();
  Bytes bytes = back ? content.as_sent(world, world.endpoint, client) : content.as_sent(world, world.client, world.vip);
  std::uint32_t mark = world.mark;
  for (const Hook hook : back ? world.reply_hooks() : world.request_hooks()) {
    const auto once = world.rewritten(hook, bytes, mark);
    const auto twice = world.pass(hook, once.bytes, once.mark);
    RC_ASSERT(twice.verdict.accept && twice.bytes == once.bytes && twice.mark == once.mark);
    bytes = once.bytes, mark = once.mark;
  }
}

}  // namespace
}  // namespace limpet::datapath::properties
