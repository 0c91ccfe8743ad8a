#include "conntrack/net/icmp.h"

#include <gtest/gtest.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;
using test::to_hex;

// Client 10.1.0.2 asks 10.96.0.1, is answered by 10.2.0.2; a router on the way is 10.3.0.1. The same in IPv6.
constexpr const char *kClient = "10.1.0.2", *kVip = "10.96.0.1", *kEndpoint = "10.2.0.2", *kRouter = "10.3.0.1";
constexpr const char *kClient6 = "fd00:1::2", *kVip6 = "fd00:96::1", *kEndpoint6 = "fd00:2::2";

Bytes cut(Bytes packet, std::size_t size) {
  return packet.resize(size), packet;
}
Bytes with(Bytes packet, std::size_t at, unsigned value) {
  return packet[at] = static_cast<std::byte>(value), packet;
}
/// A destination unreachable, from `source` to `destination`, about `quoted`.
Bytes error4(const char* source, const char* destination, Bytes quoted) {
  return PacketBuilder().v4(source, destination).icmp(3, 3).payload(std::move(quoted)).build();
}
Bytes error6(const char* source, const char* destination, Bytes quoted) {
  return PacketBuilder().v6(source, destination).icmp(1, 4).payload(std::move(quoted)).build();
}
PacketBuilder udp4(const char* source, const char* destination) {
  return PacketBuilder().v4(source, destination).udp(4242, 80).payload("query");
}
PacketBuilder tcp6(const char* source, const char* destination) {
  return PacketBuilder().v6(source, destination).tcp(4242, 80).seq(7).payload("query");
}

IcmpRewrite to(const char* source, const char* destination, const char* quoted_source, const char* quoted_destination) {
  return {*Address::parse(source),
          *Address::parse(destination),
          {*AddressPort::parse(quoted_source), *AddressPort::parse(quoted_destination)}};
}

Bytes rewritten(Bytes packet, const IcmpRewrite& wanted, ChecksumMode mode = ChecksumMode::incremental) {
  IcmpView view;
  EXPECT_EQ(to_string(parse_icmp(packet, view)), "none");
  EXPECT_EQ(view.kind, IcmpKind::error);
  rewrite(view, wanted, mode);
  EXPECT_EQ(view.source, wanted.source);
  EXPECT_EQ(view.destination, wanted.destination);
  EXPECT_EQ(view.quoted.source, wanted.quoted.source);
  EXPECT_EQ(view.quoted.destination, wanted.quoted.destination);
  return packet;
}

TEST(ParseIcmp, ReadsAnError) {
  Bytes bytes = error4(kRouter, kClient, udp4(kClient, kVip).ip_options(8).build());
  IcmpView view;
  ASSERT_EQ(parse_icmp(bytes, view), ParseError::none);
  EXPECT_EQ(view.kind, IcmpKind::error);
  EXPECT_EQ(view.type, 3);
  EXPECT_EQ(view.code, 3);
  EXPECT_EQ(view.source.to_string(), kRouter);
  EXPECT_EQ(view.destination.to_string(), kClient);
  EXPECT_EQ(view.quoted.to_string(), "udp 10.1.0.2:4242 -> 10.96.0.1:80");
  EXPECT_EQ(view.icmp_offset, 20U);
  EXPECT_EQ(view.quoted_offset, 28U);
  EXPECT_EQ(view.quoted_l4_offset, 56U);
  EXPECT_EQ(view.quoted_end, bytes.size());
}

// RFC 4884: the quotation is padded to 128 bytes, behind which an extension stands.
TEST(ParseIcmp, TheQuotationEndsWhereItsHeaderSays) {
  Bytes quoted = udp4(kClient, kVip).build();
  const std::size_t length = quoted.size();
  quoted.resize(160);
  Bytes bytes = error4(kRouter, kClient, quoted);
  IcmpView view;
  ASSERT_EQ(parse_icmp(bytes, view), ParseError::none);
  EXPECT_EQ(view.quoted_end, 28 + length);
}

TEST(ParseIcmp, KindsByType) {
  struct Case {
    bool v6;
    std::vector<unsigned> errors;
    unsigned echo;
  };
  for (const auto& [v6, errors, echo] : {Case{false, {3, 4, 11, 12}, 8}, Case{true, {1, 2, 3, 4}, 128}}) {
    for (unsigned type = 0; type < 256; ++type) {
      PacketBuilder builder = v6 ? PacketBuilder().v6(kClient6, kVip6) : PacketBuilder().v4(kClient, kVip);
      builder.icmp(type, 0).payload(v6 ? tcp6(kVip6, kClient6).build() : udp4(kVip, kClient).build());
      Bytes bytes = builder.build();
      IcmpView view;
      ASSERT_EQ(parse_icmp(bytes, view), ParseError::none) << type;
      const bool is_error = std::find(errors.begin(), errors.end(), type) != errors.end();
      EXPECT_EQ(view.kind == IcmpKind::error, is_error) << v6 << ' ' << type;
      EXPECT_EQ(view.kind == IcmpKind::echo_request, type == echo) << v6 << ' ' << type;
      EXPECT_EQ(view.type, type);
    }
  }
}

struct Refused {
  std::string name;
  Bytes packet;
  ParseError error;
};

TEST(ParseIcmp, RefusedMessages) {
  using enum ParseError;
  const Bytes u4 = udp4(kClient, kVip).build(), t6 = tcp6(kClient6, kVip6).build();
  const auto e4 = [](Bytes quoted) { return error4(kRouter, kClient, std::move(quoted)); };
  const auto e6 = [](Bytes quoted) { return error6(kEndpoint6, kClient6, std::move(quoted)); };
  const auto echo4 = [] { return PacketBuilder().v4(kClient, kVip).icmp(8, 0); };
  const Refused kCases[] = {
      {"nothing", {}, truncated},
      {"UDP", u4, unsupported_protocol},
      {"ICMPv6 over IPv4", PacketBuilder().v4(kClient, kVip).protocol(58).payload("12345678").build(),
       unsupported_protocol},
      {"ICMP over IPv6", PacketBuilder().v6(kClient6, kVip6).protocol(1).payload("12345678").build(),
       unsupported_protocol},
      {"ICMP header cut", PacketBuilder().v4(kClient, kVip).protocol(1).payload("1234567").build(), truncated},
      {"shorter than stated", cut(e4(u4), 50), truncated},
      {"a first fragment", echo4().fragment(0, true).build(), fragment},
      {"a later fragment", echo4().fragment(9, false).build(), fragment},
      {"a fragment over IPv6", PacketBuilder().v6(kClient6, kVip6).icmp(128, 0).fragment(0, true).build(), fragment},
      {"nothing quoted", e4({}), truncated},
      {"quoted IPv4 header cut", e4(cut(u4, 19)), truncated},
      {"quoted IPv4 options cut", e4(cut(udp4(kClient, kVip).ip_options(40).build(), 59)), truncated},
      {"quoted IHL 4", e4(with(u4, 0, 0x44)), bad_header_length},
      {"quoted total length below the header", e4(with(u4, 3, 19)), truncated},
      {"seven bytes of the transport", e4(cut(u4, 27)), truncated},
      {"quoted total length ends before the ports", e4(with(u4, 3, 27)), truncated},
      {"IPv6 quoted by IPv4", e4(t6), bad_version},
      {"IPv4 quoted by IPv6", e6(u4), bad_version},
      {"version 0 quoted", e4(with(u4, 0, 0x05)), bad_version},
      {"a later fragment quoted", e4(udp4(kClient, kVip).fragment(1, false).build()), unsupported_protocol},
      {"a later IPv6 fragment quoted", e6(tcp6(kClient6, kVip6).fragment(1, true).build()), unsupported_protocol},
      {"ICMP quoted", e4(echo4().build()), unsupported_protocol},
      {"quoted extension cut", e6(cut(tcp6(kClient6, kVip6).extension(0, 16).build(), 55)), truncated},
      {"quoted source route", e6(with(tcp6(kClient6, kVip6).extension(43, 24).build(), 43, 1)), extension_chain},
      {"eight bytes of the transport", e4(cut(u4, 28)), none},
      {"eight bytes of TCP behind extensions", e6(cut(tcp6(kClient6, kVip6).extension(0, 16).build(), 64)), none},
      {"an atomic fragment", PacketBuilder().v6(kClient6, kVip6).icmp(128, 0).fragment(0, false).build(), none},
  };
  for (const auto& [name, packet, error] : kCases) {
    Bytes bytes = packet;
    IcmpView view;
    EXPECT_EQ(to_string(parse_icmp(bytes, view)), to_string(error)) << name;
  }
}

PacketBuilder with_chain(std::size_t n) {
  PacketBuilder builder = tcp6(kClient6, kVip6);
  for (std::size_t i = 0; i < n; ++i) builder.extension(60, 8);
  return builder;
}
TEST(ParseIcmp, TheQuotedExtensionHeadersAreBounded) {
  for (const std::size_t n : {std::size_t{kMaxExtensionHeaders}, std::size_t{kMaxExtensionHeaders + 1}}) {
    Bytes bytes = error6(kEndpoint6, kClient6, with_chain(n).build());
    IcmpView view;
    EXPECT_EQ(parse_icmp(bytes, view), n == kMaxExtensionHeaders ? ParseError::none : ParseError::extension_chain);
  }
}

// Both packets were made by scapy 2.5: a port unreachable of 10.2.0.2 about 10.1.0.2:4242 -> 10.2.0.2:8080, of which 28
// of 29 bytes are quoted, and the same of 10.96.0.1 about 10.1.0.2:4242 -> 10.96.0.1:80.
TEST(RewriteIcmp, APortUnreachableFromScapy) {
  const Bytes before = from_hex(
      "45 c0 00 38 00 00 40 00 40 01 25 ff 0a 02 00 02 0a 01 00 02 03 03 89 1e 00 00 00 00"
      "45 00 00 1d 12 34 00 00 3f 11 55 96 0a 01 00 02 0a 02 00 02 10 92 1f 90 00 09 43 b3");
  const Bytes after = from_hex(
      "45 c0 00 38 00 00 40 00 40 01 25 a2 0a 60 00 01 0a 01 00 02 03 03 89 7b 00 00 00 00"
      "45 00 00 1d 12 34 00 00 3f 11 55 39 0a 01 00 02 0a 60 00 01 10 92 00 50 00 09 62 96");
  const IcmpRewrite there = to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80");
  EXPECT_EQ(to_hex(rewritten(before, there)), to_hex(after));
  EXPECT_EQ(to_hex(rewritten(before, there, ChecksumMode::full)), to_hex(after));
  EXPECT_EQ(to_hex(rewritten(after, to(kEndpoint, kClient, "10.1.0.2:4242", "10.2.0.2:8080"))), to_hex(before));
}

// And these: a packet too big of the router fd00:9::1 about a whole TCP packet fd00:2::2:8080 -> fd00:1::2:4242, of
// which the destination becomes fd00:9::7:40001. The quoted checksum takes up the change, so the ICMPv6 one stays.
TEST(RewriteIcmp, APacketTooBigFromScapy) {
  const std::string outer =
      "60 00 00 00 00 47 3a 40 fd 00 00 09 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 02 00 00 00 00 00 00 00 00 00 "
      "00 00 02"
      "02 00 97 bd 00 00 05 78 60 00 00 00 00 17 06 3f fd 00 00 02 00 00 00 00 00 00 00 00 00 00 00 02";
  const Bytes before = from_hex(outer +
                                "fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 02"
                                "1f 90 10 92 00 00 00 01 00 00 00 02 50 10 fa f0 c6 50 00 00 61 62 63");
  const Bytes after = from_hex(outer +
                               "fd 00 00 09 00 00 00 00 00 00 00 00 00 00 00 07"
                               "1f 90 9c 41 00 00 00 01 00 00 00 02 50 10 fa f0 3a 94 00 00 61 62 63");
  const IcmpRewrite there = to("fd00:9::1", "fd00:2::2", "[fd00:2::2]:8080", "[fd00:9::7]:40001");
  EXPECT_EQ(to_hex(rewritten(before, there)), to_hex(after));
  EXPECT_EQ(to_hex(rewritten(before, there, ChecksumMode::full)), to_hex(after));
}

// Each case is built twice, as it is and as it should be.
TEST(RewriteIcmp, IsWhatTheOtherSideWouldHaveSent) {
  struct Case {
    std::string name;
    Bytes before, after;
    IcmpRewrite wanted;
  };
  const auto quoted4 = [](auto fill) {
    return std::pair{fill(PacketBuilder().v4(kClient, kEndpoint), 8080), fill(PacketBuilder().v4(kClient, kVip), 80)};
  };
  const auto quoted6 = [](auto fill) {
    return std::pair{fill(PacketBuilder().v6(kClient6, kEndpoint6), 8080),
                     fill(PacketBuilder().v6(kClient6, kVip6), 80)};
  };
  using Port = std::uint16_t;
  const auto tcp = [](PacketBuilder b, Port port) { return b.tcp(4242, port).flags("A").payload("odd").build(); };
  const auto tcp_cut = [&](PacketBuilder b, Port port) { return cut(tcp(b, port), b.build().size() - 20 + 8); };
  const auto udp = [](PacketBuilder b, Port port) { return b.udp(4242, port).payload("odd").build(); };
  const auto none = [](PacketBuilder b, Port port) { return b.udp(4242, port).no_checksum().payload("x").build(); };
  const auto lite = [](PacketBuilder b, Port port) { return b.udplite(4242, port, 8).payload("odd").build(); };
  const auto options = [](PacketBuilder b, Port port) { return b.ip_options(12).udp(4242, port).build(); };
  const auto first = [](PacketBuilder b, Port port) { return b.fragment(0, true).udp(4242, port).build(); };
  const auto extended = [](PacketBuilder b, Port port) {
    return b.extension(0, 16).extension(60, 8).tcp(4242, port).payload("x").build();
  };

  std::vector<Case> cases;
  const auto add4 = [&](const char* name, const std::pair<Bytes, Bytes>& quoted) {
    cases.push_back({name, error4(kEndpoint, kClient, quoted.first), error4(kVip, kClient, quoted.second),
                     to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80")});
  };
  const auto add6 = [&](const char* name, const std::pair<Bytes, Bytes>& quoted) {
    cases.push_back({name, error6(kEndpoint6, kClient6, quoted.first), error6(kVip6, kClient6, quoted.second),
                     to(kVip6, kClient6, "[fd00:1::2]:4242", "[fd00:96::1]:80")});
  };
  add4("TCP", quoted4(tcp)), add6("TCP6", quoted6(tcp));
  add4("TCP, eight bytes", quoted4(tcp_cut)), add6("TCP6, eight bytes", quoted6(tcp_cut));
  add4("UDP", quoted4(udp)), add6("UDP6", quoted6(udp));
  add4("UDP without a checksum", quoted4(none)), add6("UDP6 without a checksum", quoted6(none));
  add4("UDP-Lite", quoted4(lite)), add6("UDP-Lite6", quoted6(lite));
  add4("IP options quoted", quoted4(options));
  add4("first fragment quoted", quoted4(first)), add6("first fragment quoted6", quoted6(first));
  add6("extension headers quoted", quoted6(extended));
  for (const auto& [name, before, after, wanted] : cases) {
    EXPECT_EQ(to_hex(rewritten(before, wanted)), to_hex(after)) << name;
    EXPECT_EQ(to_hex(rewritten(before, wanted, ChecksumMode::full)), to_hex(after)) << name;
  }
}

TEST(RewriteIcmp, HalfAQuotedChecksumIsLeft) {
  const Bytes quoted = cut(PacketBuilder().v4(kClient, kEndpoint).tcp(4242, 8080).build(), 20 + 17);
  const Bytes after = rewritten(error4(kEndpoint, kClient, quoted), to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80"));
  EXPECT_EQ(after.back(), quoted.back());
  EXPECT_TRUE(test::checksums_ok(after));
}

TEST(RewriteIcmp, AQuotedSctpChecksumIsKept) {
  const auto quoted = [](const char* destination, std::uint16_t port) {
    return PacketBuilder().v4(kClient, destination).sctp(4242, port, 9).chunk(4, "heartbeat").build();
  };
  Bytes expected_quote = quoted(kVip, 80);
  const Bytes before_quote = quoted(kEndpoint, 8080);
  std::copy(before_quote.begin() + 28, before_quote.begin() + 32, expected_quote.begin() + 28);
  EXPECT_EQ(
      to_hex(rewritten(error4(kEndpoint, kClient, before_quote), to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80"))),
      to_hex(error4(kVip, kClient, expected_quote)));
}

TEST(RewriteIcmp, TheOuterHeaderMayHaveOptions) {
  const auto packet = [](const char* source, const char* destination, std::uint16_t port) {
    return PacketBuilder()
        .v4(source, kClient)
        .ip_options(8)
        .ttl(3)
        .icmp(11, 0)
        .payload(PacketBuilder().v4(kClient, destination).udp(4242, port).build())
        .build();
  };
  EXPECT_EQ(to_hex(rewritten(packet(kRouter, kEndpoint, 8080), to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80"))),
            to_hex(packet(kVip, kVip, 80)));
}

// The quotation's own checksum may have been incomplete when the error was made: what was wrong by one bit stays so.
TEST(RewriteIcmp, WrongChecksumsStayWrong) {
  const IcmpRewrite wanted = to(kVip, kClient, "10.1.0.2:4242", "10.96.0.1:80");
  const Bytes quoted = udp4(kClient, kEndpoint).udp(4242, 8080).bad_checksum().build();
  const Bytes after = rewritten(error4(kEndpoint, kClient, quoted), wanted);
  EXPECT_TRUE(test::checksums_ok(after));
  EXPECT_FALSE(test::transport_checksum_ok(std::span(after).subspan(28)));

  const Bytes bad = PacketBuilder().v4(kEndpoint, kClient).icmp(3, 3).payload(quoted).bad_checksum().build();
  EXPECT_FALSE(test::transport_checksum_ok(rewritten(bad, wanted)));
  EXPECT_TRUE(test::transport_checksum_ok(rewritten(bad, wanted, ChecksumMode::full)));
}

}  // namespace
}  // namespace limpet::net
