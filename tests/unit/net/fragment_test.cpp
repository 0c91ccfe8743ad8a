#include "conntrack/net/fragment.h"

#include <gtest/gtest.h>

#include "conntrack/net/nat.h"
#include "tests/support/fragments.h"
#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::cut_up;
using test::PacketBuilder;
using test::to_hex;

PacketBuilder v4(const char* destination = "10.96.0.1") {
  return PacketBuilder().v4("10.0.0.1", destination).id(0x1234);
}
PacketBuilder v6(const char* destination = "fd00:96::1") {
  return PacketBuilder().v6("fd00::1", destination);
}
const Bytes kPayload(1000, std::byte{0x5a});

TEST(ParseFragment, ReadsFirstAndLater) {
  struct Case {
    const char* name;
    Bytes whole;
    std::string first, later;
    std::uint32_t identification;
    Protocol named;
    std::size_t first_l4, later_data;
  };
  const Case kCases[] = {
      {"UDP", v4().udp(4242, 53).payload(kPayload).build(), "udp 10.0.0.1:4242 -> 10.96.0.1:53",
       "udp 10.0.0.1:0 -> 10.96.0.1:0", 0x1234, Protocol::udp, 20, 20},
      {"TCP with IP options", v4().ip_options(8).tcp(4242, 80).payload(kPayload).build(),
       "tcp 10.0.0.1:4242 -> 10.96.0.1:80", "tcp 10.0.0.1:0 -> 10.96.0.1:0", 0x1234, Protocol::tcp, 28, 28},
      {"UDP-Lite", v4().udplite(4242, 53, 900).payload(kPayload).build(), "udplite 10.0.0.1:4242 -> 10.96.0.1:53",
       "udplite 10.0.0.1:0 -> 10.96.0.1:0", 0x1234, Protocol::udplite, 20, 20},
      {"UDP over IPv6", v6().udp(4242, 53).payload(kPayload).build(), "udp [fd00::1]:4242 -> [fd00:96::1]:53",
       "udp [fd00::1]:0 -> [fd00:96::1]:0", 0xcafe1234, Protocol{}, 48, 48},
  };
  for (const auto& [name, whole, first, later, identification, named, first_l4, later_data] : kCases) {
    std::vector<Bytes> pieces = cut_up(whole, 400, identification);
    ASSERT_EQ(pieces.size(), 3U) << name;
    DatagramId datagram;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      Fragment fragment;
      fragment.view.tuple.source.port = 99;
      ASSERT_EQ(to_string(parse_fragment(pieces[i], fragment)), "none") << name << i;
      EXPECT_EQ(fragment.first, i == 0) << name << i;
      EXPECT_EQ(fragment.last, i == 2) << name << i;
      EXPECT_EQ(fragment.view.tuple.to_string(), i == 0 ? first : later) << name << i;
      EXPECT_EQ(fragment.view.l4_offset, i == 0 ? first_l4 : later_data) << name << i;
      EXPECT_EQ(fragment.view.bytes.size(), pieces[i].size()) << name << i;
      EXPECT_EQ(fragment.datagram.identification, identification) << name << i;
      EXPECT_EQ(fragment.datagram.protocol, named) << name << i;
      if (i == 0) datagram = fragment.datagram;
      EXPECT_EQ(fragment.datagram, datagram) << name << i;
    }
  }
}

// RFC 8200 section 4.5: destination options may stand in the fragmentable part. The first fragment shows what follows
// them, the others state only that they were there; the datagram's name is the same.
TEST(ParseFragment, Ipv6ExtensionHeadersInTheFragmentablePart) {
  Bytes first = v6().extension(0, 8).fragment(0, true).extension(60, 8).udp(4242, 53).build();
  Bytes later = v6().extension(0, 8).fragment(2, false).protocol(60).payload("the rest of it").build();
  Fragment one, other;
  ASSERT_EQ(parse_fragment(first, one), ParseError::none);
  ASSERT_EQ(parse_fragment(later, other), ParseError::none);
  EXPECT_EQ(one.view.tuple.to_string(), "udp [fd00::1]:4242 -> [fd00:96::1]:53");
  EXPECT_EQ(one.view.l4_offset, 64U);
  EXPECT_FALSE(other.first);
  EXPECT_TRUE(other.last);
  EXPECT_EQ(other.view.l4_offset, 56U);
  EXPECT_EQ(one.datagram, other.datagram);
}

TEST(ParseFragment, Refused) {
  using enum ParseError;
  Bytes tcp_cut = v4().fragment(0, true).tcp(1, 2).build();
  tcp_cut.resize(36), test::wire::set16(tcp_cut, 2, 36);
  Bytes udp_cut = v6().fragment(0, true).udp(1, 2).build();
  udp_cut.resize(55), test::wire::set16(udp_cut, 4, 15);
  Bytes short_one = v4().fragment(1, true).udp(1, 2).build();
  short_one.resize(27);
  struct Case {
    const char* name;
    Bytes packet;
    ParseError error;
  };
  const Case kCases[] = {
      {"nothing", {}, truncated},
      {"whole", v4().udp(1, 2).build(), unsupported_protocol},
      {"whole, IPv6", v6().udp(1, 2).build(), unsupported_protocol},
      {"atomic", v6().fragment(0, false).udp(1, 2).build(), unsupported_protocol},
      {"shorter than stated", short_one, truncated},
      {"TCP header cut", tcp_cut, truncated},
      {"UDP header cut", udp_cut, truncated},
      {"extension chain cut (RFC 7112)", v6().fragment(0, true).protocol(60).payload("1234").build(), truncated},
      {"SCTP, first", v4().fragment(0, true).sctp(1, 2).build(), fragment},
      {"SCTP, later", v6().fragment(9, false).sctp(1, 2).build(), fragment},
      {"TCP at offset 8", v4().fragment(1, true).tcp(1, 2).build(), fragment},
      {"TCP at offset 16", v6().fragment(2, true).tcp(1, 2).build(), fragment},
      {"TCP at offset 24", v4().fragment(3, true).tcp(1, 2).build(), none},
      {"UDP at offset 8", v4().fragment(1, true).udp(1, 2).build(), none},
      {"ICMP, first", v4().fragment(0, true).icmp(8, 0).build(), unsupported_protocol},
      {"ICMP, later", v4().fragment(9, true).icmp(8, 0).build(), unsupported_protocol},
      {"ICMPv6, later", v6().fragment(9, true).icmp(128, 0).build(), unsupported_protocol},
      {"IPv4 with the number of an IPv6 header", v4().fragment(9, true).protocol(60).payload("x").build(),
       unsupported_protocol},
      {"a fragment of a fragment", v6().fragment(0, true).fragment(0, true).udp(1, 2).build(), extension_chain},
      {"a source route", v6().extension(43, 8).fragment(0, true).udp(1, 2).build(), none},
      {"no data", v4().fragment(9, false).protocol(17).build(), none},
  };
  for (const auto& [name, packet, error] : kCases) {
    Bytes bytes = packet;
    Fragment fragment;
    EXPECT_EQ(to_string(parse_fragment(bytes, fragment)), to_string(error)) << name;
  }
}

/// All fragments of `whole`, rewritten to `wanted`, put together.
Bytes translated(const Bytes& whole, std::size_t size, const Rewrite& wanted) {
  std::vector<Bytes> pieces = cut_up(whole, size);
  for (Bytes& piece : pieces) {
    Fragment fragment;
    EXPECT_EQ(parse_fragment(piece, fragment), ParseError::none);
    if (fragment.first) {
      rewrite(fragment.view, wanted, ChecksumMode::incremental);
    } else {
      rewrite_later(fragment.view, wanted.source.address, wanted.destination.address);
    }
    EXPECT_EQ(fragment.view.tuple.destination.address, wanted.destination.address);
    EXPECT_TRUE(test::header_checksum_ok(piece));
  }
  return test::reassembled(pieces);
}

TEST(RewriteFragments, PutTogetherTheyAreTheDatagramRewritten) {
  const Rewrite to4{*AddressPort::parse("10.0.0.1:4242"), *AddressPort::parse("10.28.8.5:5353")};
  const Rewrite to6{*AddressPort::parse("[fd00::1]:4242"), *AddressPort::parse("[fd00:2::5]:5353")};
  const auto udp = [](PacketBuilder b, std::uint16_t port) { return b.udp(4242, port).payload(kPayload).build(); };
  const auto none = [](PacketBuilder b, std::uint16_t port) {
    return b.udp(4242, port).no_checksum().payload(kPayload).build();
  };
  const auto tcp = [](PacketBuilder b, std::uint16_t port) { return b.tcp(4242, port).payload(kPayload).build(); };
  const auto lite = [](PacketBuilder b, std::uint16_t port) {
    return b.udplite(4242, port, 501).payload(kPayload).build();
  };
  for (const std::size_t size : {24, 512, 1000}) {
    EXPECT_EQ(to_hex(translated(udp(v4(), 53), size, to4)), to_hex(udp(v4("10.28.8.5"), 5353)));
    EXPECT_EQ(to_hex(translated(none(v4(), 53), size, to4)), to_hex(none(v4("10.28.8.5"), 5353)));
    EXPECT_EQ(to_hex(translated(tcp(v4().ip_options(4), 53), size, to4)),
              to_hex(tcp(v4("10.28.8.5").ip_options(4), 5353)));
    EXPECT_EQ(to_hex(translated(udp(v6(), 53), size, to6)), to_hex(udp(v6("fd00:2::5"), 5353)));
    EXPECT_EQ(to_hex(translated(lite(v6(), 53), size, to6)), to_hex(lite(v6("fd00:2::5"), 5353)));
  }
}

}  // namespace
}  // namespace limpet::net
