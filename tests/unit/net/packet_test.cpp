#include "conntrack/net/packet.h"

#include <gtest/gtest.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;

PacketBuilder tcp4() {
  return PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80);
}
PacketBuilder udp4() {
  return PacketBuilder().v4("10.0.0.1", "10.96.0.1").udp(4242, 53);
}
PacketBuilder tcp6() {
  return PacketBuilder().v6("fd00::1", "fd00::2").tcp(4242, 80);
}
PacketBuilder udp6() {
  return PacketBuilder().v6("fd00::1", "fd00::2").udp(4242, 53);
}

Bytes cut(Bytes packet, std::size_t size) {
  return packet.resize(size), packet;
}
Bytes with(Bytes packet, std::size_t at, unsigned value) {
  return packet[at] = static_cast<std::byte>(value), packet;
}

struct Good {
  std::string name;
  Bytes packet;
  std::string tuple;
  std::size_t l4_offset;
};

TEST(Parse, WellFormedPackets) {
  const std::string t4 = "tcp 10.0.0.1:4242 -> 10.96.0.1:80", u4 = "udp 10.0.0.1:4242 -> 10.96.0.1:53";
  const std::string t6 = "tcp [fd00::1]:4242 -> [fd00::2]:80", u6 = "udp [fd00::1]:4242 -> [fd00::2]:53";
  const Good kCases[] = {
      {"IPv4 TCP", tcp4().build(), t4, 20},
      {"IPv4 UDP", udp4().build(), u4, 20},
      {"IPv4 with 4 bytes of options", tcp4().ip_options(4).build(), t4, 24},
      {"IPv4 with 40 bytes of options", udp4().ip_options(40).build(), u4, 60},
      {"TCP with 40 bytes of options", tcp4().tcp_options(40).build(), t4, 20},
      {"don't fragment", with(tcp4().build(), 6, 0x40), t4, 20},
      {"reserved flag", with(tcp4().build(), 6, 0x80), t4, 20},
      {"IPv6 TCP", tcp6().build(), t6, 40},
      {"IPv6 UDP", udp6().build(), u6, 40},
      {"hop-by-hop options", tcp6().extension(0, 8).build(), t6, 48},
      {"destination options of 24 bytes", udp6().extension(60, 24).build(), u6, 64},
      {"routing header, no segment left", tcp6().extension(43, 24).build(), t6, 64},
      {"atomic fragment", tcp6().fragment(0, false).build(), t6, 48},
      {"atomic fragment, reserved bits set", with(tcp6().fragment(0, false).build(), 43, 0x06), t6, 48},
      {"authentication header of 12 bytes", tcp6().extension(51, 12).build(), t6, 52},
      {"authentication header of 24 bytes", tcp6().extension(51, 24).build(), t6, 64},
      {"every extension", udp6().extension(0, 8).extension(60, 16).extension(43, 8).fragment(0, false).build(), u6, 80},
      {"no payload in UDP", udp4().payload("").build(), u4, 20},
      // UDP length 9 in an IP payload of 12: the last three bytes are not the datagram's (legal, if odd).
      {"UDP shorter than IP says", with(udp4().payload("abcd").build(), 25, 9), u4, 20},
  };
  for (const auto& [name, packet, tuple, l4_offset] : kCases) {
    Bytes bytes = packet;
    PacketView view;
    ASSERT_EQ(to_string(parse(bytes, view)), "none") << name;
    EXPECT_EQ(view.tuple.to_string(), tuple) << name;
    EXPECT_EQ(view.l4_offset, l4_offset) << name;
    EXPECT_EQ(view.bytes.size(), packet.size()) << name;
  }
}

std::string chain_of(std::size_t n) {
  return std::to_string(n) + " extension headers";
}
PacketBuilder with_chain(std::size_t n) {
  PacketBuilder builder = tcp6();
  for (std::size_t i = 0; i < n; ++i) builder.extension(60, 8);
  return builder;
}

struct Bad {
  std::string name;
  Bytes packet;
  ParseError error;
};

TEST(Parse, RefusedPackets) {
  using enum ParseError;
  const Bad kCases[] = {
      {"nothing", {}, truncated},
      {"version 0", from_hex("00"), bad_version},
      {"version 5", with(tcp4().build(), 0, 0x55), bad_version},
      {"version 15", with(tcp6().build(), 0, 0xf0), bad_version},
      {"IPv4 header cut", cut(tcp4().build(), 19), truncated},
      {"IHL 0", with(tcp4().build(), 0, 0x40), bad_header_length},
      {"IHL 4", with(tcp4().build(), 0, 0x44), bad_header_length},
      {"IHL beyond the total length", with(cut(tcp4().build(), 40), 0, 0x4f), truncated},
      {"IHL leaves no room for TCP", with(tcp4().build(), 0, 0x46), truncated},
      {"total length 0 (BIG TCP)", with(tcp4().build(), 3, 0), truncated},
      {"total length below IHL", with(tcp4().build(), 3, 19), truncated},
      {"total length beyond the bytes", with(tcp4().build(), 3, 41), truncated},
      {"IPv4 options cut", cut(tcp4().ip_options(40).build(), 59), truncated},
      {"IPv4 first fragment", tcp4().fragment(0, true).build(), fragment},
      {"IPv4 later fragment", tcp4().fragment(185, true).build(), fragment},
      {"IPv4 last fragment", udp4().fragment(1, false).build(), fragment},
      {"IPv4 ICMP", PacketBuilder().v4("10.0.0.1", "10.0.0.2").protocol(1).payload("12345678").build(),
       unsupported_protocol},
      {"IPv4 with an empty unknown protocol", PacketBuilder().v4("10.0.0.1", "10.0.0.2").protocol(253).build(),
       unsupported_protocol},
      {"IPv4 with IPv6's hop-by-hop number", PacketBuilder().v4("10.0.0.1", "10.0.0.2").protocol(0).build(),
       unsupported_protocol},
      {"TCP header cut", cut(with(tcp4().build(), 3, 39), 39), truncated},
      {"TCP data offset 4", with(tcp4().build(), 32, 0x40), bad_header_length},
      {"TCP data offset beyond the packet", with(tcp4().build(), 32, 0x60), truncated},
      {"UDP header cut", cut(with(udp4().build(), 3, 27), 27), truncated},
      {"UDP length 0", with(udp4().build(), 25, 0), bad_header_length},
      {"UDP length 7", with(udp4().build(), 25, 7), bad_header_length},
      {"UDP length beyond the packet", with(udp4().build(), 25, 9), truncated},
      {"IPv6 header cut", cut(tcp6().build(), 39), truncated},
      {"IPv6 payload length 0 (jumbogram)", with(tcp6().build(), 5, 0), truncated},
      {"IPv6 payload length beyond the bytes", with(tcp6().build(), 5, 21), truncated},
      {"IPv6 first fragment", tcp6().fragment(0, true).build(), fragment},
      {"IPv6 later fragment", udp6().fragment(100, true).build(), fragment},
      {"IPv6 last fragment", udp6().extension(0, 8).fragment(1, false).build(), fragment},
      {"source route not yet travelled", with(tcp6().extension(43, 24).build(), 43, 1), extension_chain},
      {"extension header cut", with(cut(tcp6().extension(0, 8).build(), 47), 5, 7), truncated},
      {"extension length beyond the packet", with(tcp6().extension(0, 8).build(), 41, 3), truncated},
      {"AH length beyond the packet", with(tcp6().extension(51, 12).build(), 41, 7), truncated},
      {"no room for TCP behind extensions", with(tcp6().extension(60, 8).build(), 41, 1), truncated},
      {"no next header", PacketBuilder().v6("::1", "::2").protocol(59).build(), unsupported_protocol},
      {"ICMPv6", PacketBuilder().v6("::1", "::2").protocol(58).payload("12345678").build(), unsupported_protocol},
      {"ESP", PacketBuilder().v6("::1", "::2").protocol(50).payload("12345678").build(), unsupported_protocol},
      {chain_of(kMaxExtensionHeaders), with_chain(kMaxExtensionHeaders).build(), none},
      {chain_of(kMaxExtensionHeaders + 1), with_chain(kMaxExtensionHeaders + 1).build(), extension_chain},
  };
  for (const auto& [name, packet, error] : kCases) {
    Bytes bytes = packet;
    PacketView view;
    EXPECT_EQ(to_string(parse(bytes, view)), to_string(error)) << name;
  }
}

TEST(Parse, ReadsTheTcpHeader) {
  Bytes bytes = tcp4().flags("SA").seq(0xdeadbeef).ack(0x01020304).tcp_options(12).payload("hello").ttl(17).build();
  PacketView view;
  ASSERT_EQ(parse(bytes, view), ParseError::none);
  EXPECT_EQ(view.tcp_flags.bits, 0x12);
  EXPECT_EQ(view.tcp_sequence, 0xdeadbeefU);
  EXPECT_EQ(view.tcp_acknowledgement, 0x01020304U);
  EXPECT_EQ(view.tcp_payload, 5U);
  EXPECT_EQ(view.ttl, 17);
  EXPECT_EQ(view.family(), Family::v4);
  EXPECT_TRUE(view.is_tcp());
}

TEST(Parse, TcpFlags) {
  struct Case {
    const char* letters;
    bool fin, syn, rst, ack;
  };
  constexpr Case kCases[] = {{"", false, false, false, false}, {"F", true, false, false, false},
                             {"S", false, true, false, false}, {"R", false, false, true, false},
                             {"A", false, false, false, true}, {"P", false, false, false, false},
                             {"SA", false, true, false, true}, {"FPA", true, false, false, true}};
  for (const auto& [letters, fin, syn, rst, ack] : kCases) {
    Bytes bytes = tcp6().flags(letters).build();
    PacketView view;
    ASSERT_EQ(parse(bytes, view), ParseError::none);
    EXPECT_EQ(view.tcp_flags.fin(), fin) << letters;
    EXPECT_EQ(view.tcp_flags.syn(), syn) << letters;
    EXPECT_EQ(view.tcp_flags.rst(), rst) << letters;
    EXPECT_EQ(view.tcp_flags.ack(), ack) << letters;
  }
}

TEST(Parse, AViewMayBeUsedAgain) {
  PacketView view;
  Bytes first = tcp6().flags("SA").seq(7).ack(8).payload("x").build(), second = udp4().ttl(3).build();
  ASSERT_EQ(parse(first, view), ParseError::none);
  ASSERT_EQ(parse(second, view), ParseError::none);
  EXPECT_EQ(view.tcp_flags.bits, 0);
  EXPECT_EQ(view.tcp_sequence, 0U);
  EXPECT_EQ(view.tcp_acknowledgement, 0U);
  EXPECT_EQ(view.tcp_payload, 0U);
  EXPECT_EQ(view.ttl, 3);
  EXPECT_EQ(view.tuple.to_string(), "udp 10.0.0.1:4242 -> 10.96.0.1:53");
}

TEST(Parse, CutsOffLinkLayerPadding) {
  for (const Bytes& packet : {tcp4().build(), udp6().payload("x").build()}) {
    Bytes padded = packet;
    padded.resize(packet.size() + 6);
    PacketView view;
    ASSERT_EQ(parse(padded, view), ParseError::none);
    EXPECT_EQ(view.bytes.size(), packet.size());
    EXPECT_EQ(view.bytes.data(), padded.data());
    EXPECT_EQ(view.tcp_payload, 0U);
  }
}

// Typed in, not built: a SYN of 60 bytes as tcpdump -x shows one, with MSS, SACK, timestamps and window scale.
TEST(Parse, ASynFromTheWire) {
  Bytes bytes = from_hex(
      "45 00 00 3c 1c 46 40 00 40 06 b1 e6 ac 10 0a 63 ac 10 0a 0c  e1 5f 00 50 a2 3d 5c 11 00 00 00 00 a0 02 fa f0 00 "
      "00 00 00"
      "02 04 05 b4 04 02 08 0a 5b 7e 2c 1a 00 00 00 00 01 03 03 07");
  PacketView view;
  ASSERT_EQ(parse(bytes, view), ParseError::none);
  EXPECT_EQ(view.tuple.to_string(), "tcp 172.16.10.99:57695 -> 172.16.10.12:80");
  EXPECT_EQ(view.tcp_sequence, 0xa23d5c11U);
  EXPECT_EQ(view.tcp_payload, 0U);
  EXPECT_TRUE(view.tcp_flags.syn());
  EXPECT_FALSE(view.tcp_flags.ack());
}

/// RFC 9293 section 3.1 and RFC 7323 section 2.2: kind 3, length 3, shift; at most 14 counts.
TEST(Parse, TheWindowScale) {
  struct Row {
    std::string name;
    std::vector<std::uint8_t> options;  // padded to a multiple of four by the row
    unsigned scale;
  };
  for (const Row& row :
       std::vector<Row>{{"none", {}, 0},
                        {"alone", {3, 3, 7, 0}, 7},
                        {"as Linux sends it", {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 9}, 9},
                        {"0 is a scale", {3, 3, 0, 1}, 0},
                        {"more than 14 is 14", {1, 3, 3, 255}, 14},
                        {"behind the end of the list", {0, 3, 3, 7}, 0},
                        {"behind an option of length 0", {9, 0, 3, 3, 7, 0, 0, 0}, 7},
                        {"behind an option that is longer than the header", {9, 40, 3, 3, 7, 0, 0, 0}, 0},
                        {"cut off", {1, 1, 3, 3}, 0}}) {
    SCOPED_TRACE(row.name);
    test::Bytes bytes = test::PacketBuilder()
                            .v4("10.0.0.1", "10.0.0.2")
                            .tcp(1, 2)
                            .flags("S")
                            .tcp_options(row.options)
                            .payload("data")
                            .build();
    PacketView view;
    ASSERT_EQ(parse(bytes, view), ParseError::none);
    EXPECT_EQ(tcp_window_scale(view), row.scale);
  }
  EXPECT_EQ(tcp_window_scale(PacketView{}), 0u) << "no bytes at all";
}

TEST(ParseError, Names) {
  EXPECT_EQ(to_string(ParseError::none), "none");
  EXPECT_EQ(to_string(ParseError::bad_header_length), "bad_header_length");
  EXPECT_EQ(to_string(ParseError::unsupported_protocol), "unsupported_protocol");
  EXPECT_EQ(static_cast<std::size_t>(ParseError::unsupported_protocol), kParseErrors - 1);
}

}  // namespace
}  // namespace limpet::net
