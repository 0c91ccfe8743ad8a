// packet_fuzz.cpp: any bytes through every parser of conntrack/net; what parses is rewritten, and rewritten back.
//
//   incremental   good checksums stay good, bad ones stay bad; on the way back every byte is restored (but for the two
//                 ways to write a checksum of zero, RFC 1624 section 3)
//   full          the transport checksum becomes right, whatever it was
//   ICMP errors   the same, of the message and of the packet that it quotes
//   fragments     good IPv4 header checksums stay good; there and back restores every byte
//   answers       are whole packets of their own, whose checksums are right
//
// The verifier, tests/support/reference_checksum.h, shares no code with what it judges.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "conntrack/net/checksum.h"
#include "conntrack/net/fragment.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"
#include "conntrack/net/reply.h"
#include "tests/fuzz/require.h"
#include "tests/support/reference_checksum.h"

namespace {

using namespace limpet;
using fuzz::require;
using test::Bytes;

/// Where packets are sent: an ordinary pair, and the extremes of every word.
std::vector<net::Rewrite> rewrites(net::Family family) {
  std::array<std::byte, 16> ones, zeros{}, some;
  ones.fill(std::byte{0xff});
  for (std::size_t i = 0; i < some.size(); ++i) some[i] = static_cast<std::byte>(10 + 29 * i);
  const auto at = [family](const auto& address, std::uint16_t port) {
    return net::AddressPort{net::Address::from_wire(family, address.data()), port};
  };
  return {{at(some, 31332), at(zeros, 80)}, {at(ones, 0xffff), at(ones, 0xffff)}, {at(zeros, 0), at(zeros, 0)}};
}

net::PacketView parsed(Bytes& packet) {
  net::PacketView view;
  require(net::parse(packet, view) == net::ParseError::none, "a packet that parsed parses again");
  return view;
}

/// RFC 791: total length; RFC 8200: payload length, after 40 bytes.
std::size_t stated_length(std::span<const std::byte> packet) {
  return test::wire::get8(packet, 0) >> 4 == 4 ? test::wire::get16(packet, 2) : 40 + test::wire::get16(packet, 4);
}

/// The packet with its Internet checksum fields zeroed.
Bytes without_checksums(Bytes packet) {
  const net::PacketView view = parsed(packet);
  if (view.tuple.protocol != net::Protocol::sctp) test::wire::set16(packet, net::l4_checksum_offset(view), 0);
  if (view.family() == net::Family::v4) test::wire::set16(packet, 10, 0);
  return packet;
}

void check_incremental(const Bytes& original, const net::Rewrite& to) {
  Bytes packet = original;
  net::PacketView view = parsed(packet);
  const net::Rewrite home{view.tuple.source, view.tuple.destination};
  const bool good = test::checksums_ok(packet);
  net::rewrite(view, to, net::ChecksumMode::incremental);
  require(test::checksums_ok(packet) == good, "checksums are as right as they were");
  require(parsed(packet).tuple == view.tuple, "the view says what the packet says");
  require(view.tuple.source == to.source && view.tuple.destination == to.destination, "it goes where it was sent");
  net::rewrite(view, home, net::ChecksumMode::incremental);
  require(test::checksums_ok(packet) == good, "checksums are as right as they were, back home");
  require(without_checksums(packet) == without_checksums(original), "there and back restores every byte");
}

void check_full(const Bytes& original, const net::Rewrite& to) {
  Bytes packet = original;
  net::PacketView view = parsed(packet);
  const bool header_good =
      view.family() == net::Family::v6 || test::wire::ones_sum(std::span(packet).first(view.l4_offset)) == 0xffff;
  net::rewrite(view, to, net::ChecksumMode::full);
  require(test::checksums_ok(packet) == header_good, "a full checksum is right");
}

/// What the parsers of whole packets accept.
void check_packet(std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  net::PacketView view;
  const net::ParseError error = net::parse(bytes, view);
  require(std::equal(bytes.begin(), bytes.end(), input.begin(), input.end()), "parsing changes nothing");
  if (error != net::ParseError::none) return;
  require(view.bytes.data() == bytes.data() && view.bytes.size() <= bytes.size(), "the view lies in the packet");
  require(view.bytes.size() == stated_length(bytes), "the view is as long as the IP header says");
  net::PacketView headers;
  require(net::parse(bytes, headers, net::Extent::headers) == net::ParseError::none, "what is whole has its headers");
  require(headers.tuple == view.tuple && headers.bytes.size() == view.bytes.size(), "and they say the same");
  const Bytes packet(view.bytes.begin(), view.bytes.end());  // without the link layer's padding
  for (const net::Rewrite& to : rewrites(view.family())) {
    check_incremental(packet, to);
    check_full(packet, to);
  }
}

/// A packet of which only the headers are asked for.
void check_headers(std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  net::PacketView view;
  if (net::parse(bytes, view, net::Extent::headers) != net::ParseError::none) return;
  require(view.bytes.size() <= bytes.size() && view.l4_offset + 8 <= view.bytes.size(), "the headers are there");
  for (const net::Rewrite& to : rewrites(view.family())) net::rewrite(view, to, net::ChecksumMode::incremental);
}

/// The quoted packet's own checksums, as far as they can be verified.
struct QuotedChecksums {
  bool header, transport;
  bool operator==(const QuotedChecksums&) const = default;
};
QuotedChecksums quoted_checksums(const Bytes& packet, const net::IcmpView& view) {
  const std::span<const std::byte> quoted =
      std::span(packet).subspan(view.quoted_offset, view.quoted_end - view.quoted_offset);
  Bytes copy(quoted.begin(), quoted.end());
  net::PacketView whole;
  const bool verifiable = net::parse(copy, whole) == net::ParseError::none &&
                          whole.tuple.protocol != net::Protocol::sctp && whole.bytes.size() == copy.size();
  return {test::header_checksum_ok(quoted), !verifiable || test::transport_checksum_ok(quoted)};
}

/// The message without all checksums that may have two forms: three, or four.
Bytes without_icmp_checksums(Bytes packet, const net::IcmpView& view) {
  const bool is_v4 = view.source.is_v4();
  test::wire::set16(packet, view.icmp_offset + 2, 0);
  if (is_v4) test::wire::set16(packet, 10, 0), test::wire::set16(packet, view.quoted_offset + 10, 0);
  const std::size_t transport = view.quoted_l4_offset + (view.quoted.protocol == net::Protocol::tcp ? 16 : 6);
  if (view.quoted.protocol != net::Protocol::sctp && transport + 2 <= view.quoted_end)
    test::wire::set16(packet, transport, 0);
  return packet;
}

void check_error(const Bytes& original, const net::Rewrite& to) {
  Bytes packet = original;
  net::IcmpView view;
  require(net::parse_icmp(packet, view) == net::ParseError::none, "an error that parsed parses again");
  const net::IcmpRewrite home{view.source, view.destination, {view.quoted.source, view.quoted.destination}};
  const bool good = test::checksums_ok(packet);
  const QuotedChecksums quoted = quoted_checksums(packet, view);
  net::rewrite(view, {to.source.address, to.destination.address, to}, net::ChecksumMode::incremental);
  require(test::checksums_ok(packet) == good, "the message's checksums are as right as they were");
  require(quoted_checksums(packet, view) == quoted, "the quoted ones, too");
  net::IcmpView again;
  require(net::parse_icmp(packet, again) == net::ParseError::none, "a rewritten error parses");
  require(again.quoted == view.quoted && again.source == view.source, "the view says what the message says");
  net::rewrite(view, home, net::ChecksumMode::incremental);
  require(without_icmp_checksums(packet, view) == without_icmp_checksums(original, view),
          "there and back restores every byte of an error");
  net::rewrite(view, {to.source.address, to.destination.address, to}, net::ChecksumMode::full);
  require(test::transport_checksum_ok(packet), "a full ICMP checksum is right");
}

void check_icmp(std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  net::IcmpView view;
  if (net::parse_icmp(bytes, view) != net::ParseError::none || view.kind != net::IcmpKind::error) return;
  require(view.quoted_l4_offset + 8 <= view.quoted_end && view.quoted_end <= view.bytes.size(), "the ports are there");
  const Bytes packet(view.bytes.begin(), view.bytes.end());
  for (const net::Rewrite& to : rewrites(view.source.family())) check_error(packet, to);
}

void check_fragment(std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  net::Fragment fragment;
  if (net::parse_fragment(bytes, fragment) != net::ParseError::none) return;
  net::PacketView& view = fragment.view;
  require(view.bytes.size() <= bytes.size() && view.l4_offset <= view.bytes.size(), "the fragment lies in the bytes");
  const Bytes original(view.bytes.begin(), view.bytes.end());
  const net::Rewrite home{view.tuple.source, view.tuple.destination};
  const bool good = test::header_checksum_ok(view.bytes);
  const auto put = [&](const net::Rewrite& to) {
    fragment.first ? net::rewrite(view, to, net::ChecksumMode::incremental)
                   : net::rewrite_later(view, to.source.address, to.destination.address);
    require(test::header_checksum_ok(view.bytes) == good, "the header checksum is as right as it was");
  };
  for (const net::Rewrite& to : rewrites(view.family())) {
    put(to);
    put(home);
    Bytes restored(view.bytes.begin(), view.bytes.end()), expected = original;
    for (Bytes* packet : {&restored, &expected}) {
      if (view.family() == net::Family::v4) test::wire::set16(*packet, 10, 0);
      if (fragment.first) test::wire::set16(*packet, net::l4_checksum_offset(view), 0);
    }
    require(restored == expected, "there and back restores every byte of a fragment");
  }
}

void check_replies(std::span<const std::byte> input, net::RequestChecksum checksum) {
  for (const net::ReplyKind kind : {net::ReplyKind::port_unreachable, net::ReplyKind::tcp_reset}) {
    Bytes bytes(input.begin(), input.end()), out(net::kMaxReply);
    const std::span<const std::byte> reply = net::build_reply(kind, bytes, out, checksum);
    if (reply.empty()) continue;
    require(reply.data() == out.data() && reply.size() <= out.size(), "the answer lies in its buffer");
    require(stated_length(reply) == reply.size(), "the answer is as long as it says");
    require(test::checksums_ok(reply), "the answer's checksums are right");
    require(std::equal(bytes.begin(), bytes.end(), input.begin(), input.end()), "the request is as it was");
  }
  Bytes bytes(input.begin(), input.end());
  net::IcmpView view;
  if (net::parse_icmp(bytes, view) != net::ParseError::none) return;
  const bool good = test::transport_checksum_ok(view.bytes);
  const std::span<const std::byte> reply = net::build_reply(net::ReplyKind::echo_reply, bytes, {}, checksum);
  if (reply.empty()) return;
  require(stated_length(reply) == reply.size(), "the echo is as long as it says");
  require(test::header_checksum_ok(reply), "the echo's header checksum is right");
  require(test::transport_checksum_ok(reply), "the echo's checksum is right");
  require(good || checksum == net::RequestChecksum::pending, "a damaged request is not answered");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  check_packet(input);
  check_headers(input);
  check_icmp(input);
  check_fragment(input);
  for (const auto checksum : {net::RequestChecksum::verify, net::RequestChecksum::pending})
    check_replies(input, checksum);
  return 0;
}
