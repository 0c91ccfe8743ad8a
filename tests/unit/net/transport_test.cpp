// SCTP, UDP-Lite and packets that are not there whole.
#include <gtest/gtest.h>

#include "conntrack/net/packet.h"
#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;

PacketBuilder sctp4() {
  return PacketBuilder().v4("10.0.0.1", "10.96.0.1").sctp(4242, 3868, 0xdeadbeef);
}
PacketBuilder udplite(unsigned coverage) {
  return PacketBuilder().v4("10.0.0.1", "10.96.0.1").udplite(4242, 53, coverage).payload("hello");
}
Bytes cut(Bytes packet, std::size_t size) {
  return packet.resize(size), packet;
}
Bytes with(Bytes packet, std::size_t at, unsigned value) {
  return packet[at] = static_cast<std::byte>(value), packet;
}

// RFC 9260 section 3.3.2: an INIT of 20 bytes, with the initial tag, window, streams and TSN; verification tag 0.
TEST(Sctp, AnInitTypedIn) {
  Bytes bytes = from_hex(
      "45 00 00 34 00 00 40 00 40 84 00 00 0a 00 00 01 0a 60 00 01"
      "10 92 0f 1c 00 00 00 00 00 00 00 00"
      "01 00 00 14 de ad be ef 00 01 00 00 00 0a 00 0a 00 00 00 01");
  PacketView view;
  ASSERT_EQ(to_string(parse(bytes, view)), "none");
  EXPECT_EQ(view.tuple.to_string(), "sctp 10.0.0.1:4242 -> 10.96.0.1:3868");
  EXPECT_EQ(view.sctp_tag, 0U);
  EXPECT_EQ(view.sctp_chunks.bits, 1U << 1);
  EXPECT_TRUE(view.sctp_chunks.init());
  EXPECT_TRUE(opens_connection(view));
}

TEST(Sctp, WalksTheChunks) {
  struct Case {
    const char* name;
    Bytes packet;
    unsigned types;  // bits
  };
  const Case kCases[] = {
      {"none", sctp4().build(), 0},
      {"INIT ACK", sctp4().chunk(2, "sixteen bytes...").build(), 1U << 2},
      {"COOKIE ECHO with DATA", sctp4().chunk(10, "cookie").chunk(0, "0123456789ab data").build(), 1U << 10 | 1U},
      {"COOKIE ACK, SACK, DATA", sctp4().chunk(11).chunk(3, "0123456789ab").chunk(0, "x").build(), 1U << 11 | 8U | 1U},
      {"padding of three bytes is skipped", sctp4().chunk(4, "h").chunk(6).build(), 1U << 4 | 1U << 6},
      {"SHUTDOWN COMPLETE", sctp4().chunk(14).build(), 1U << 14},
      {"types of 16 and above are not kept", sctp4().chunk(0xc1, "abcd").chunk(7, "abcd").build(), 1U << 7},
      {"length 3 ends the walk", with(sctp4().chunk(4).chunk(6).build(), 39, 3), 1U << 4},
      {"length 0 ends the walk", with(sctp4().chunk(4).chunk(6).build(), 39, 0), 1U << 4},
      {"a length beyond the packet ends the walk", with(sctp4().chunk(4).chunk(6).build(), 35, 99), 1U << 4},
      {"three bytes are no chunk", with(cut(sctp4().chunk(6).build(), 35), 3, 35), 0},
  };
  for (const auto& [name, packet, types] : kCases) {
    Bytes bytes = packet;
    PacketView view;
    ASSERT_EQ(to_string(parse(bytes, view)), "none") << name;
    EXPECT_EQ(view.sctp_chunks.bits, types) << name;
    EXPECT_EQ(view.sctp_tag, 0xdeadbeefU) << name;
    EXPECT_FALSE(opens_connection(view)) << name;
  }
}

TEST(Sctp, OfManyChunksTheFirstAreWalked) {
  PacketBuilder builder = sctp4();
  for (int i = 0; i < 5000; ++i) builder.chunk(3);
  Bytes bytes = builder.chunk(6).build();
  PacketView view;
  ASSERT_EQ(parse(bytes, view), ParseError::none);
  EXPECT_EQ(view.sctp_chunks.bits, 1U << 3);
}

TEST(Sctp, OverIpv6BehindExtensions) {
  Bytes bytes = PacketBuilder().v6("fd00::1", "fd00::2").extension(0, 8).sctp(1, 2, 3).chunk(1).build();
  PacketView view;
  ASSERT_EQ(parse(bytes, view), ParseError::none);
  EXPECT_EQ(view.tuple.to_string(), "sctp [fd00::1]:1 -> [fd00::2]:2");
  EXPECT_EQ(view.l4_offset, 48U);
  EXPECT_TRUE(view.sctp_chunks.init());
}

TEST(Sctp, AHeaderCutShortIsTruncated) {
  Bytes bytes = with(cut(sctp4().build(), 31), 3, 31);
  PacketView view;
  EXPECT_EQ(parse(bytes, view), ParseError::truncated);
}

// RFC 3828 section 3.1: coverage 0 is all of the packet, 1 to 7 are illegal, and so is more than the packet has.
TEST(UdpLite, Coverage) {
  struct Case {
    unsigned coverage;
    ParseError error;
  };
  constexpr Case kCases[] = {
      {0, ParseError::none},
      {1, ParseError::bad_header_length},
      {7, ParseError::bad_header_length},
      {8, ParseError::none},
      {11, ParseError::none},
      {13, ParseError::none},
      {14, ParseError::truncated},
      {0xffff, ParseError::truncated},
  };
  for (const auto& [coverage, error] : kCases) {
    Bytes bytes = udplite(0).build();
    test::wire::set16(bytes, 24, coverage);
    PacketView view;
    ASSERT_EQ(to_string(parse(bytes, view)), to_string(error)) << coverage;
    if (error != ParseError::none) continue;
    EXPECT_EQ(view.tuple.to_string(), "udplite 10.0.0.1:4242 -> 10.96.0.1:53");
    EXPECT_EQ(view.bytes.size(), bytes.size());
    EXPECT_TRUE(opens_connection(view));
  }
}

TEST(Parse, OpensAConnection) {
  const auto opens = [](const PacketBuilder& builder) {
    Bytes bytes = builder.build();
    PacketView view;
    EXPECT_EQ(parse(bytes, view), ParseError::none);
    return opens_connection(view);
  };
  const PacketBuilder tcp = PacketBuilder().v6("::1", "::2").tcp(1, 2);
  EXPECT_TRUE(opens(PacketBuilder(tcp).flags("S")));
  EXPECT_FALSE(opens(PacketBuilder(tcp).flags("SA")));
  EXPECT_FALSE(opens(PacketBuilder(tcp).flags("A")));
  EXPECT_TRUE(opens(PacketBuilder().v6("::1", "::2").udp(1, 2)));
  EXPECT_TRUE(opens(sctp4().chunk(1)));
  EXPECT_FALSE(opens(sctp4().chunk(10)));
}

TEST(Parse, NothingOfAnEarlierPacketStaysInTheView) {
  PacketView view;
  Bytes sctp = sctp4().chunk(1).build(), udp = udplite(8).build();
  Bytes tcp = PacketBuilder().v4("10.0.0.1", "10.0.0.2").tcp(1, 2).flags("SA").seq(7).ack(8).payload("x").build();
  ASSERT_EQ(parse(tcp, view), ParseError::none);
  ASSERT_EQ(parse(sctp, view), ParseError::none);
  EXPECT_EQ(view.tcp_flags.bits, 0);
  EXPECT_EQ(view.tcp_sequence + view.tcp_acknowledgement + view.tcp_payload, 0U);
  ASSERT_EQ(parse(udp, view), ParseError::none);
  EXPECT_EQ(view.sctp_tag + view.sctp_chunks.bits, 0U);
  ASSERT_EQ(parse(sctp, view), ParseError::none);
  ASSERT_EQ(parse(tcp, view), ParseError::none);
  EXPECT_EQ(view.sctp_tag + view.sctp_chunks.bits, 0U);
}

TEST(Parse, AnotherProtocolLeavesAllButPorts) {
  Bytes bytes = PacketBuilder().v6("fd00::1", "fd00::2").extension(60, 16).ttl(9).icmp(128, 0).build();
  PacketView view;
  view.tuple.source.port = view.tuple.destination.port = 99;
  ASSERT_EQ(parse(bytes, view), ParseError::unsupported_protocol);
  EXPECT_EQ(view.tuple.to_string(), "icmp6 [fd00::1]:0 -> [fd00::2]:0");
  EXPECT_EQ(view.l4_offset, 56U);
  EXPECT_EQ(view.ttl, 9);
  EXPECT_EQ(view.bytes.size(), bytes.size());
}

PacketBuilder tcp4() {
  return PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80).payload("0123456789");
}
PacketBuilder tcp6() {
  return PacketBuilder().v6("fd00::1", "fd00::2").tcp(4242, 80).payload("0123456789");
}

// A packet of more than 65,531 bytes comes to userspace cut short (nfnetlink_queue), one of more than 65,535 states no
// length at all: IPv4 total length 0 (Linux iph_totlen), IPv6 payload length 0 and a jumbo payload option (RFC 2675).
TEST(ExtentHeaders, AcceptsWhatIsThereOfThePacket) {
  PacketBuilder jumbo = PacketBuilder().v6("fd00::1", "fd00::2").extension(0, 8).tcp(4242, 80).payload("0123456789");
  Bytes jumbogram = jumbo.build();
  const Bytes option = from_hex("c2 04 00 01 00 00");  // 65,536 bytes
  std::copy(option.begin(), option.end(), jumbogram.begin() + 42);
  test::wire::set16(jumbogram, 4, 0);
  Bytes stated_more = tcp4().build(), stated_none = stated_more, stated_more6 = tcp6().build(), none6 = stated_more6;
  test::wire::set16(stated_more, 2, 0xffff), test::wire::set16(stated_none, 2, 0);
  test::wire::set16(stated_more6, 4, 0xffff), test::wire::set16(none6, 4, 0);

  struct Case {
    const char* name;
    Bytes packet;
    std::size_t size;
    std::uint32_t payload;
    ParseError taken_whole;
  };
  constexpr ParseError kNone = ParseError::none, kTruncated = ParseError::truncated;
  const Case kCases[] = {
      {"IPv4, whole", tcp4().build(), 50, 10, kNone},
      {"IPv4, more stated", stated_more, 50, 10, kTruncated},
      {"IPv4, length 0", stated_none, 50, 10, kTruncated},
      {"IPv4, only the headers", cut(stated_more, 40), 40, 0, kTruncated},
      {"IPv4, padding is cut off", cut(tcp4().build(), 60), 50, 10, kNone},
      {"IPv6, more stated", stated_more6, 70, 10, kTruncated},
      {"IPv6, length 0", none6, 70, 10, kTruncated},
      {"IPv6, length 0 and a jumbo payload option", jumbogram, 78, 10, kTruncated},
  };
  for (const auto& [name, packet, size, payload, taken_whole] : kCases) {
    Bytes bytes = packet;
    PacketView view;
    ASSERT_EQ(to_string(parse(bytes, view, Extent::headers)), "none") << name;
    EXPECT_EQ(view.bytes.size(), size) << name;
    EXPECT_EQ(view.tcp_payload, payload) << name;
    EXPECT_EQ(view.tuple.destination.port, 80) << name;
    EXPECT_EQ(to_string(parse(bytes, view)), to_string(taken_whole)) << name;
  }
}

TEST(ExtentHeaders, AcceptsTransportLengthsBeyondTheBytes) {
  Bytes udp = PacketBuilder().v4("10.0.0.1", "10.96.0.1").udp(4242, 53).payload("0123456789").build();
  Bytes lite = udplite(13).build();
  udp.resize(28), lite.resize(28);
  for (Bytes* packet : {&udp, &lite}) {
    PacketView view;
    EXPECT_EQ(parse(*packet, view), ParseError::truncated);
    ASSERT_EQ(parse(*packet, view, Extent::headers), ParseError::none);
    EXPECT_EQ(view.tuple.destination.port, 53);
    EXPECT_EQ(view.bytes.size(), 28U);
  }
}

TEST(ExtentHeaders, TheHeadersMustBeThere) {
  struct Case {
    const char* name;
    Bytes packet;
    ParseError error;
  };
  const Case kCases[] = {
      {"nothing", {}, ParseError::truncated},
      {"IPv4 options cut", cut(tcp4().ip_options(8).build(), 27), ParseError::truncated},
      {"IPv4 total length below the header", with(tcp4().build(), 3, 19), ParseError::truncated},
      {"TCP header cut", cut(tcp4().build(), 39), ParseError::truncated},
      {"TCP options cut", cut(tcp4().tcp_options(12).build(), 51), ParseError::truncated},
      {"UDP header cut", cut(PacketBuilder().v4("1.2.3.4", "1.2.3.5").udp(1, 2).build(), 27), ParseError::truncated},
      {"UDP length 0", with(PacketBuilder().v4("1.2.3.4", "1.2.3.5").udp(1, 2).build(), 25, 0),
       ParseError::bad_header_length},
      {"SCTP header cut", cut(sctp4().build(), 31), ParseError::truncated},
      {"IPv6 header cut", cut(tcp6().build(), 39), ParseError::truncated},
      {"IPv6 extension cut", cut(tcp6().extension(0, 16).build(), 55), ParseError::truncated},
      {"a fragment", tcp4().fragment(0, true).build(), ParseError::fragment},
  };
  for (const auto& [name, packet, error] : kCases) {
    Bytes bytes = packet;
    PacketView view;
    EXPECT_EQ(to_string(parse(bytes, view, Extent::headers)), to_string(error)) << name;
  }
}

}  // namespace
}  // namespace limpet::net
