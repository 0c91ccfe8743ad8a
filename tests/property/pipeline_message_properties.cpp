// Properties of what follows a flow without ports of its own: ICMP errors about its packets, and fragments of them.
//
//   error      whoever sent the packet finds it quoted as it was sent, byte for byte, and itself addressed
//   fragments  put together again, they are what the whole packet would have become
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/property/pipeline_world.h"
#include "tests/support/fragments.h"
#include "tests/support/hex.h"

namespace limpet::datapath::properties {
namespace {

/// Everything of an ICMP error but its ends and what it quotes.
struct Message {
  explicit Message(const World& world)
      : type(world.v4() ? *rc::gen::element(3U, 4U, 11U, 12U) : *rc::gen::element(1U, 2U, 3U, 4U)) {}

  unsigned type, code = static_cast<unsigned>(between(0, 15));
  std::uint32_t rest = *rc::gen::arbitrary<std::uint32_t>();
  std::uint8_t ttl = *rc::gen::arbitrary<std::uint8_t>();
  bool wrong = any_bool();  // its checksum

  Bytes between_ends(const World& world, const Address& from, const Address& to, Bytes quoted, bool corrupt) const {
    PacketBuilder builder = world.between_addresses(from, to);
    builder.icmp(type, code, rest).ttl(ttl).payload(std::move(quoted));
    if (corrupt) builder.bad_checksum();
    return builder.build();
  }
  Bytes as_sent(const World& world, const Address& from, const Address& to, Bytes quoted) const {
    return between_ends(world, from, to, std::move(quoted), wrong);
  }
  void expect(const World& world, const Bytes& got, const Address& from, const Address& to, const Bytes& quoted) const {
    const Bytes expected = between_ends(world, from, to, quoted, false);
    if (!wrong) {
      RC_ASSERT(test::to_hex(got) == test::to_hex(expected));
      return;
    }
    const std::size_t checksum = (world.v4() ? 20 : 40) + 2;
    RC_ASSERT(!test::checksums_ok(got));
    RC_ASSERT(with_bytes_of(got, expected, checksum, 2) == expected);
  }
};

/// The beginning of a packet, at least eight bytes of its transport.
std::size_t any_length(const World& world, const Content& content, const Bytes& packet) {
  return between(content.transport_at(world) + 8, packet.size());
}
Bytes first(const Bytes& packet, std::size_t length) {
  return {packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(length)};
}
/// What is quoted to who sent `sent`, of which the other side saw `seen`: a quoted checksum stays as it was seen if it is
/// SCTP's, or not there as a whole.
Bytes quoted_back(const World& world, const Content& content, const Bytes& sent, const Bytes& seen,
                  std::size_t length) {
  const std::size_t at = content.checksum_at(world), size = Content::checksum_size(world);
  const bool stays = world.is(Protocol::sctp) || at + size > length;
  return stays ? with_bytes_of(first(sent, length), seen, at, size) : first(sent, length);
}

RC_GTEST_PROP(PipelineErrors, TheClientFindsItsOwnRequestQuoted, ()) {
  World world;
  const Content content(*rc::gen::element<std::string>("S", "A"));
  const Bytes sent = content.as_sent(world, world.client, world.vip);
  const auto seen = world.request(sent);
  const std::size_t length = any_length(world, content, sent);
  const Message message(world);
  const Address from = any_bool() ? world.endpoint.address : world.end("any router").address;

  Bytes error = message.as_sent(world, from, seen.tuple.source.address, first(seen.bytes, length));
  const auto before_routing = world.pass(Hook::prerouting, error, world.mark);
  RC_ASSERT(before_routing.verdict.accept && before_routing.mark == world.mark);
  RC_ASSERT(before_routing.verdict.rewritten == world.masquerade);
  const auto arrived = world.rewritten(world.listens(), before_routing.bytes, world.mark);
  RC_ASSERT(arrived.mark == world.mark);
  message.expect(world, arrived.bytes, world.vip.address, world.client.address,
                 quoted_back(world, content, sent, seen.bytes, length));
}

RC_GTEST_PROP(PipelineErrors, TheEndpointFindsItsOwnReplyQuoted, ()) {
  World world;
  const AddressPort client = world.client_at_endpoint();
  const Content content("A");
  const Bytes sent = content.as_sent(world, world.endpoint, client);
  const auto seen = world.reply(sent);
  const std::size_t length = any_length(world, content, sent);
  const Message message(world);
  const Address from = any_bool() ? world.client.address : world.end("any router").address;

  const Bytes error = message.as_sent(world, from, world.vip.address, first(seen.bytes, length));
  auto arrived = world.rewritten(world.speaks(), error, world.mark);
  if (world.masquerade) arrived = world.rewritten(Hook::postrouting, arrived.bytes, arrived.mark);
  RC_ASSERT(arrived.mark == world.mark);
  message.expect(world, arrived.bytes, world.masquerade ? world.node_address : from, world.endpoint.address,
                 quoted_back(world, content, sent, seen.bytes, length));
}

RC_GTEST_PROP(PipelineErrors, AnErrorAboutNoFlowIsLeftAlone, ()) {
  World world;
  const Content content("A");
  const AddressPort stranger = world.end("a perfect stranger");
  const Bytes about = content.between_ends(world, stranger, world.end("whoever that may be"));
  const Message message(world);
  const Bytes error = message.as_sent(world, world.end("any router").address, stranger.address, about);
  for (const Hook hook : {Hook::prerouting, Hook::output, Hook::postrouting, Hook::input}) {
    const auto passed = world.pass(hook, error, world.mark);
    RC_ASSERT(passed.verdict.accept && !passed.verdict.rewritten && passed.bytes == error && passed.mark == world.mark);
  }
}

/// A packet that can be cut up: SCTP's checksum cannot be adjusted in pieces, IPv6 extension headers the oracle does not cut.
Content any_large_content(const World& world) {
  Content content("A");
  content.extensions.clear();
  content.id = 0x1234;
  content.payload = any_bytes(between(100, 400));
  content.coverage = 0;
  RC_PRE(!world.is(Protocol::sctp));
  return content;
}

/// Each piece, through the hooks that pieces of this direction cross.
std::vector<Bytes> through(World& world, const std::vector<Bytes>& pieces, const std::vector<Hook>& hooks) {
  std::vector<Bytes> arrived;
  for (const Bytes& piece : pieces) {
    World::Passed passed{piece, world.mark, {}};
    for (const Hook hook : hooks) passed = world.rewritten(hook, passed.bytes, passed.mark);
    RC_ASSERT(passed.mark == world.mark);
    arrived.push_back(passed.bytes);
  }
  return arrived;
}

RC_GTEST_PROP(PipelineFragments, OfARequestMakeTheTranslatedRequest, ()) {
  World world;
  const Content content = any_large_content(world);
  const auto pieces = test::cut_up(content.as_sent(world, world.client, world.vip), 8 * between(8, 20));
  RC_PRE(pieces.size() > 1);
  const auto arrived = through(world, pieces, world.request_hooks());
  const AddressPort client = world.client_at_endpoint();
  expect_translated(world, content, test::reassembled(arrived), content.between_ends(world, client, world.endpoint));
}

RC_GTEST_PROP(PipelineFragments, OfAReplyMakeTheTranslatedReply, ()) {
  World world;
  const Content content = any_large_content(world);
  const AddressPort client = world.client_at_endpoint();
  const auto pieces = test::cut_up(content.as_sent(world, world.endpoint, client), 8 * between(8, 20));
  RC_PRE(pieces.size() > 1);
  const auto arrived = through(world, pieces, world.reply_hooks());
  expect_translated(world, content, test::reassembled(arrived), content.between_ends(world, world.vip, world.client));
}

}  // namespace
}  // namespace limpet::datapath::properties
