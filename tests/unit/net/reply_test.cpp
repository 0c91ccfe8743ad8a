#include "conntrack/net/reply.h"

#include <array>

#include <gtest/gtest.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;
using test::to_hex;
using enum ReplyKind;

/// The answer; empty if there is none.
Bytes reply(ReplyKind kind, Bytes request, RequestChecksum checksum = RequestChecksum::verify) {
  std::array<std::byte, kMaxReply> out;
  const std::span<const std::byte> made = build_reply(kind, request, out, checksum);
  return {made.begin(), made.end()};
}

PacketBuilder v4() {
  return PacketBuilder().v4("10.1.0.2", "10.96.0.1");
}
PacketBuilder v6() {
  return PacketBuilder().v6("fd00:1::2", "fd00:96::1");
}

// Requests and answers made by scapy 2.5, with what design, RFC and kernel ask for filled in by hand: hop limit 64,
// identification 0, don't-fragment but for the echo, TOS c0 of the error; of the RST to a SYN with seq ffff fffe and three bytes, ack 2.
TEST(Reply, PacketsFromScapy) {
  const char* const syn4 =
      "45 00 00 2f 00 07 40 00 3d 06 29 5f 0a 01 00 02 0a 60 00 01 10 92 00 50 ff ff ff fe 00 00 00 00 60 02 fa f0 85 "
      "74 00 00 02 04 05 b4 78 79 7a";
  const char* const udp6 =
      "60 00 00 00 00 0d 11 3d fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 02 fd 00 00 96 00 00 00 00 00 00 00 00 00 "
      "00 00 01 10 92 00 35 00 0d b0 9f 68 65 6c 6c 6f";
  struct Case {
    const char* name;
    ReplyKind kind;
    std::string request, reply;
  };
  const Case kCases[] = {
      {"RST to a SYN with data", tcp_reset, syn4,
       "45 00 00 28 00 00 40 00 40 06 26 6d 0a 60 00 01 0a 01 00 02 00 50 10 92 00 00 00 00 00 00 00 02 50 14 00 00 8a "
       "89 00 00"},
      {"RST to a FIN with ACK, IPv6", tcp_reset,
       "60 00 00 00 00 14 06 3d fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 02 fd 00 00 96 00 00 00 00 00 00 00 00 00 "
       "00 00 01 10 92 00 50 00 00 00 05 01 02 03 04 50 11 00 01 a0 4a 00 00",
       "60 00 00 00 00 14 06 40 fd 00 00 96 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 01 00 00 00 00 00 00 00 00 00 "
       "00 00 02 00 50 10 92 01 02 03 04 00 00 00 00 50 04 00 00 a0 5d 00 00"},
      {"port unreachable", port_unreachable, syn4,
       std::string("45 c0 00 4b 00 00 40 00 40 01 25 8f 0a 60 00 01 0a 01 00 02 03 03 11 82 00 00 00 00 ") + syn4},
      {"port unreachable, IPv6", port_unreachable, udp6,
       std::string("60 00 00 00 00 3d 3a 40 fd 00 00 96 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 01 00 00 00 00 00 "
                   "00 00 00 00 00 00 02 01 04 92 bc 00 00 00 00 ") +
           udp6},
      {"echo", echo_reply,
       "45 28 00 1f 00 07 00 00 3d 01 69 4c 0a 01 00 02 0a 60 00 01 08 00 12 66 12 34 00 01 6f 64 64",
       "45 28 00 1f 00 00 00 00 40 01 66 53 0a 60 00 01 0a 01 00 02 00 00 1a 66 12 34 00 01 6f 64 64"},
      {"echo, IPv6", echo_reply,
       "60 00 00 00 00 0b 3a 3d fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 02 fd 00 00 96 00 00 00 00 00 00 00 00 00 "
       "00 00 01 80 00 9f 84 12 34 00 01 6f 64 64",
       "60 00 00 00 00 0b 3a 40 fd 00 00 96 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 01 00 00 00 00 00 00 00 00 00 "
       "00 00 02 81 00 9e 84 12 34 00 01 6f 64 64"},
  };
  for (const auto& [name, kind, request, expected] : kCases)
    EXPECT_EQ(to_hex(reply(kind, from_hex(request))), to_hex(from_hex(expected))) << name;
}

// RFC 9293 section 3.10.7.1. The length of a segment counts SYN and FIN.
TEST(TcpReset, SequenceNumbers) {
  struct Case {
    const char *flags, *payload;
    std::uint32_t seq, ack;              // of the request
    std::uint32_t reset_seq, reset_ack;  // of the answer
    unsigned reset_flags;
  };
  constexpr Case kCases[] = {
      {"S", "", 100, 0, 0, 101, 0x14},      {"", "", 100, 77, 0, 100, 0x14},
      {"F", "ab", 100, 77, 0, 103, 0x14},   {"SF", "", 0xffffffff, 0, 0, 1, 0x14},
      {"A", "abc", 100, 77, 77, 0, 0x04},   {"SA", "", 100, 0xffffffff, 0xffffffff, 0, 0x04},
      {"PAU", "abc", 100, 78, 78, 0, 0x04},
  };
  for (const auto& [flags, payload, seq, ack, reset_seq, reset_ack, reset_flags] : kCases) {
    const Bytes made =
        reply(tcp_reset, v4().ip_options(8).tcp(4242, 80).flags(flags).seq(seq).ack(ack).payload(payload).build());
    ASSERT_EQ(made.size(), 40U) << flags;
    EXPECT_EQ(test::wire::get32(made, 24), reset_seq) << flags;
    EXPECT_EQ(test::wire::get32(made, 28), reset_ack) << flags;
    EXPECT_EQ(test::wire::get8(made, 33), reset_flags) << flags;
    EXPECT_TRUE(test::checksums_ok(made)) << flags;
  }
}

// IPv4: 576 bytes in all, RFC 1812 section 4.3.2.3. IPv6: 1280, RFC 4443 section 2.4 c.
TEST(PortUnreachable, QuotesAsMuchAsFits) {
  for (const std::size_t payload : {0, 1, 500, 519, 520, 521, 1400, 65000}) {
    const Bytes request4 = v4().udp(1, 2).payload(Bytes(payload)).build();
    const Bytes request6 = v6().udp(1, 2).payload(Bytes(payload)).build();
    const Bytes made4 = reply(port_unreachable, request4), made6 = reply(port_unreachable, request6);
    EXPECT_EQ(made4.size(), std::min<std::size_t>(28 + request4.size(), 576));
    EXPECT_EQ(made6.size(), std::min<std::size_t>(48 + request6.size(), 1280));
    EXPECT_TRUE(test::checksums_ok(made4));
    EXPECT_TRUE(test::checksums_ok(made6));
    EXPECT_TRUE(std::equal(made4.begin() + 28, made4.end(), request4.begin()));
    EXPECT_TRUE(std::equal(made6.begin() + 48, made6.end(), request6.begin()));
  }
}

TEST(Reply, RequestsThatAreAnswered) {
  struct Case {
    const char* name;
    ReplyKind kind;
    Bytes request;
  };
  const Case kCases[] = {
      {"SCTP", port_unreachable, v4().sctp(1, 2).chunk(1).build()},
      {"a protocol without a name", port_unreachable, v6().protocol(253).payload("x").build()},
      {"a first fragment", port_unreachable, v4().fragment(0, true).udp(1, 2).payload("12345678").build()},
      {"a first fragment, IPv6", port_unreachable, v6().fragment(0, true).udp(1, 2).build()},
      {"an echo request", port_unreachable, v4().icmp(8, 0).build()},
      {"extension headers", port_unreachable, v6().extension(0, 8).udp(1, 2).build()},
      {"no checksum", port_unreachable, v4().udp(1, 2).no_checksum().build()},
      {"no checksum, IPv6", port_unreachable, v6().udp(1, 2).no_checksum().build()},
      {"SCTP with a bad checksum", port_unreachable, v4().sctp(1, 2).chunk(1).bad_checksum().build()},
      {"UDP-Lite with a bad checksum", port_unreachable, v4().udplite(1, 2).bad_checksum().build()},
      {"a loopback source", port_unreachable, PacketBuilder().v4("127.0.0.1", "127.0.0.1").udp(1, 2).build()},
      {"an echo request behind options", echo_reply, v4().ip_options(40).icmp(8, 0, 7).payload("ping").build()},
      {"behind extensions", echo_reply, v6().extension(0, 24).fragment(0, false).icmp(128, 0).payload("x").build()},
  };
  for (const auto& [name, kind, request] : kCases) {
    const Bytes made = reply(kind, request);
    ASSERT_FALSE(made.empty()) << name;
    EXPECT_TRUE(test::checksums_ok(made)) << name;
  }
}

TEST(Reply, RequestsThatAreNotAnswered) {
  const auto from4 = [](const char* source) { return PacketBuilder().v4(source, "10.96.0.1"); };
  const auto to4 = [](const char* destination) { return PacketBuilder().v4("10.1.0.2", destination); };
  const auto about4 = [&](unsigned type) { return v4().icmp(type, 0).payload(v4().udp(1, 2).build()).build(); };
  const auto about6 = [&](unsigned type) { return v6().icmp(type, 0).payload(v6().udp(1, 2).build()).build(); };
  Bytes cut_echo = v4().icmp(8, 0).payload("0123456789").build();
  cut_echo.resize(30);
  Bytes too_long = v4().udp(1, 2).build();
  test::wire::set16(too_long, 24, 9);
  struct Case {
    const char* name;
    ReplyKind kind;
    Bytes request;
  };
  std::vector<Case> cases = {
      {"nothing asked for", none, v4().udp(1, 2).build()},
      {"nothing", port_unreachable, {}},
      {"from a multicast group", port_unreachable, from4("224.0.0.1").udp(1, 2).build()},
      {"from the broadcast address", port_unreachable, from4("255.255.255.255").udp(1, 2).build()},
      {"from no address", port_unreachable, from4("0.0.0.0").udp(1, 2).build()},
      {"to a multicast group", port_unreachable, to4("239.255.255.255").udp(1, 2).build()},
      {"to the broadcast address", port_unreachable, to4("255.255.255.255").udp(1, 2).build()},
      {"to no address", port_unreachable, to4("0.0.0.0").udp(1, 2).build()},
      {"from ::", port_unreachable, PacketBuilder().v6("::", "fd00::1").udp(1, 2).build()},
      {"to ff02::1", port_unreachable, PacketBuilder().v6("fd00::1", "ff02::1").udp(1, 2).build()},
      {"RST", tcp_reset, v4().tcp(1, 2).flags("R").build()},
      {"RST with ACK", tcp_reset, v6().tcp(1, 2).flags("RA").build()},
      {"a RST for UDP", tcp_reset, v4().udp(1, 2).build()},
      {"a RST for a first fragment", tcp_reset, v4().fragment(0, true).tcp(1, 2).flags("S").build()},
      {"a SYN from the broadcast address", tcp_reset, from4("255.255.255.255").tcp(1, 2).flags("S").build()},
      {"a later fragment", port_unreachable, v4().fragment(1, false).udp(1, 2).payload("12345678").build()},
      {"a later fragment, IPv6", port_unreachable, v6().fragment(1, false).udp(1, 2).build()},
      {"ICMP without a type", port_unreachable, v4().protocol(1).build()},
      {"a redirect", port_unreachable, about4(5)},
      {"an ICMP type that nobody knows", port_unreachable, about4(40)},
      {"an ICMPv6 redirect", port_unreachable, about6(137)},
      {"an ICMPv6 type of an error to come", port_unreachable, about6(100)},
      {"an echo reply", echo_reply, v4().icmp(0, 0).build()},
      {"UDP for an echo", echo_reply, v4().udp(1, 2).build()},
      {"an echo to a multicast group", echo_reply, to4("224.0.0.1").icmp(8, 0).build()},
      {"an echo that is cut short", echo_reply, cut_echo},
      {"a fragment of an echo", echo_reply, v4().fragment(0, true).icmp(8, 0).build()},
      {"a damaged echo", echo_reply, v4().icmp(8, 0).payload("x").bad_checksum().build()},
      {"a damaged echo, IPv6", echo_reply, v6().icmp(128, 0).payload("x").bad_checksum().build()},
      {"damaged UDP", port_unreachable, v4().udp(1, 2).payload("x").bad_checksum().build()},
      {"damaged UDP, IPv6", port_unreachable, v6().udp(1, 2).payload("x").bad_checksum().build()},
      {"damaged TCP", port_unreachable, v4().tcp(1, 2).flags("S").bad_checksum().build()},
      {"damaged TCP", tcp_reset, v6().tcp(1, 2).flags("S").bad_checksum().build()},
      {"a damaged echo", port_unreachable, v4().icmp(8, 0).bad_checksum().build()},
      {"UDP longer than the packet", port_unreachable, too_long},
  };
  for (const unsigned type : {3U, 4U, 11U, 12U}) cases.push_back({"ICMP error", port_unreachable, about4(type)});
  for (const unsigned type : {1U, 2U, 3U, 4U}) cases.push_back({"ICMPv6 error", port_unreachable, about6(type)});
  for (const auto& [name, kind, request] : cases) EXPECT_EQ(to_hex(reply(kind, request)), "") << name;
}

TEST(EchoReply, IsMadeInPlaceAndDropsOptions) {
  Bytes request = v4().ip_options(12).dscp(46).icmp(8, 0, 0x12340001).payload("odd").build();
  const Bytes expected =
      PacketBuilder().v4("10.96.0.1", "10.1.0.2").dscp(46).icmp(0, 0, 0x12340001).payload("odd").build();
  const std::span<const std::byte> made = build_reply(echo_reply, request, {});
  ASSERT_EQ(made.size(), expected.size());
  EXPECT_EQ(made.data(), request.data() + 12);
  EXPECT_EQ(to_hex(made.subspan(20)), to_hex(std::span(expected).subspan(20)));
  EXPECT_EQ(test::wire::get8(made, 1), 46U << 2);
  EXPECT_TRUE(test::checksums_ok(made));
}

// Type 8 and all else 0: the checksum is ~0800 = f7ff. Of the reply, which is all zeros, ~0000 = ffff: with 0 in its
// place the words would add up to 0, which a receiver does not take for ffff.
TEST(EchoReply, OfZeros) {
  const Bytes request = v4().icmp(8, 0).build();
  ASSERT_EQ(test::wire::get16(request, 22), 0xf7ffU);
  EXPECT_EQ(to_hex(std::span<const std::byte>(reply(echo_reply, request)).subspan(20)),
            to_hex(from_hex("00 00 ff ff 00 00 00 00")));
}

// A checksum that cannot be judged: not complete yet, or of a packet that is not there as a whole.
TEST(Reply, WithoutLookingAtTheChecksum) {
  Bytes cut_short = v4().tcp(1, 2).flags("A").payload("0123456789").build();
  cut_short.resize(45);
  struct Case {
    const char* name;
    ReplyKind kind;
    Bytes request;
  };
  const Case kCases[] = {
      {"cut short", port_unreachable, cut_short},
      {"cut short", tcp_reset, cut_short},
      {"pending UDP", port_unreachable, v4().udp(1, 2).payload("abc").partial_checksum().build()},
      {"pending TCP", tcp_reset, v6().tcp(1, 2).flags("S").partial_checksum().build()},
      {"pending echo", echo_reply, v4().icmp(8, 0, 7).payload("ping").bad_checksum().build()},
      {"pending echo, IPv6", echo_reply, v6().icmp(128, 0, 7).payload("odd").bad_checksum().build()},
  };
  for (const auto& [name, kind, request] : kCases) {
    const Bytes made = reply(kind, request, RequestChecksum::pending);
    ASSERT_FALSE(made.empty()) << name;
    EXPECT_TRUE(test::checksums_ok(made)) << name;
    EXPECT_TRUE(reply(kind, request).empty()) << name << ": judged, it is wrong";
  }
}

}  // namespace
}  // namespace limpet::net
