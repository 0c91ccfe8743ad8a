// Rewriting SCTP and UDP-Lite.
#include <gtest/gtest.h>

#include "conntrack/net/checksum.h"
#include "conntrack/net/nat.h"
#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;
using test::to_hex;
using enum ChecksumMode;

Rewrite to(std::string_view source, std::string_view destination) {
  return {*AddressPort::parse(source), *AddressPort::parse(destination)};
}

Bytes rewritten(Bytes packet, const Rewrite& wanted, ChecksumMode mode) {
  PacketView view;
  EXPECT_EQ(parse(packet, view), ParseError::none);
  rewrite(view, wanted, mode);
  EXPECT_EQ(view.tuple.source, wanted.source);
  EXPECT_EQ(view.tuple.destination, wanted.destination);
  return packet;
}

// An INIT over IPv4 and DATA over IPv6, each as scapy 2.5 makes it before and after.
TEST(RewriteSctp, PacketsFromScapy) {
  struct Case {
    const char *name, *before, *after;
    Rewrite there, back;
  };
  const Case kCases[] = {
      {"INIT, destination",
       "45 00 00 34 00 00 40 00 40 84 25 e5 0a 00 00 01 0a 60 00 01 10 92 0f 1c 00 00 00 00 fd 1b 5a e6"
       "01 00 00 14 de ad be ef 00 01 00 00 00 0a 00 0a 00 00 00 01",
       "45 00 00 34 00 00 40 00 40 84 1e 25 0a 00 00 01 0a 1c 08 05 10 92 0f 1d 00 00 00 00 d8 d0 81 11"
       "01 00 00 14 de ad be ef 00 01 00 00 00 0a 00 0a 00 00 00 01",
       to("10.0.0.1:4242", "10.28.8.5:3869"), to("10.0.0.1:4242", "10.96.0.1:3868")},
      {"DATA over IPv6, source",
       "60 00 00 00 00 24 84 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
       "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 10 92 00 50 00 00 00 07 88 0d a6 a4"
       "00 03 00 15 00 00 00 01 00 00 00 00 00 00 00 00 68 65 6c 6c 6f 00 00 00",
       "60 00 00 00 00 24 84 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 07"
       "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 9c 41 00 50 00 00 00 07 6f 4c b8 f4"
       "00 03 00 15 00 00 00 01 00 00 00 00 00 00 00 00 68 65 6c 6c 6f 00 00 00",
       to("[fd00::7]:40001", "[fd00::2]:80"), to("[fd00::1]:4242", "[fd00::2]:80")},
  };
  for (const auto& [name, before, after, there, back] : kCases) {
    for (const ChecksumMode mode : {incremental, full}) {
      EXPECT_EQ(to_hex(rewritten(from_hex(before), there, mode)), to_hex(from_hex(after))) << name;
      EXPECT_EQ(to_hex(rewritten(from_hex(after), back, mode)), to_hex(from_hex(before))) << name;
    }
  }
}

TEST(RewriteSctp, NewAddressesAloneLeaveTheChecksum) {
  const Bytes before = PacketBuilder().v4("10.0.0.1", "10.96.0.1").sctp(1, 2, 3).chunk(1).bad_checksum().build();
  const Bytes after = rewritten(before, to("10.0.0.1:1", "10.28.8.5:2"), incremental);
  EXPECT_TRUE(std::equal(before.begin() + 20, before.end(), after.begin() + 20));
  EXPECT_TRUE(test::header_checksum_ok(after));
}

// Linux leaves SCTP's field 0 for a device to fill (sctp_packet_pack), and cuts SCTP up before it is queued: whatever is
// asked for, it is computed.
TEST(RewriteSctp, EveryOtherModeComputesTheWhole) {
  const auto packet = [](const char* destination, std::uint16_t port) {
    return PacketBuilder().v4("10.0.0.1", destination).sctp(4242, port, 7).chunk(0, "some data here");
  };
  const Bytes expected = packet("10.28.8.5", 81).build();
  for (const ChecksumMode mode : {full, pending, absent}) {
    const Bytes before = packet("10.96.0.1", 80).partial_checksum().build();
    EXPECT_EQ(to_hex(rewritten(before, to("10.0.0.1:4242", "10.28.8.5:81"), mode)), to_hex(expected));
  }
}

TEST(RewriteSctp, AWrongChecksumStaysWrong) {
  const Bytes bad = PacketBuilder().v6("fd00::1", "fd00::2").sctp(1, 2, 3).chunk(6).bad_checksum().build();
  EXPECT_FALSE(test::checksums_ok(rewritten(bad, to("[fd00::1]:9", "[fd00::3]:8"), incremental)));
}

// Only ports and addresses change, at every length of the payload: so the distance to the end is right.
TEST(RewriteSctp, AtEveryLength) {
  for (std::size_t size = 0; size < 300; ++size) {
    const auto packet = [size](const char* destination, std::uint16_t port) {
      return PacketBuilder().v4("10.0.0.1", destination).sctp(4242, port, 7).payload(Bytes(size, std::byte{4})).build();
    };
    ASSERT_EQ(to_hex(rewritten(packet("10.96.0.1", 80), to("10.0.0.1:4242", "10.28.8.5:8080"), incremental)),
              to_hex(packet("10.28.8.5", 8080)));
  }
}

// By hand. The pseudo-header's length is that of the IP payload, 000d; the words summed are those covered.
TEST(RewriteUdpLite, BytesWorkedOutByHand) {
  struct Case {
    const char *name, *before, *after;
  };
  constexpr Case kCases[] = {
      // IP: as UDP's in nat_test, protocol 88 for 11: d99d + 77 = da14 -> 25eb; e154 + 77 = e1cb -> 1e34.
      // 0a00+0001+0a60+000a+0088+000d = 1500; 1092+0035+0008 = 10cf; 25cf -> da30.
      // 0a00+0001+0a1c+0805+0088+000d = 1cb7; 1092+14e9+0008 = 2583; 423a -> bdc5.
      {"the header covered",
       "45 00 00 21 00 00 40 00 40 88 25 eb 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 08 da 30 68 65 6c 6c 6f",
       "45 00 00 21 00 00 40 00 40 88 1e 34 0a 00 00 01 0a 1c 08 05 10 92 14 e9 00 08 bd c5 68 65 6c 6c 6f"},
      // Three bytes more: 6865+6c00 = d465; 1500 + 10d2 + d465 = fa37 -> 05c8; 1cb7 + 2586 + d465 = 1 16a2 -> e95c.
      {"an odd number of bytes covered",
       "45 00 00 21 00 00 40 00 40 88 25 eb 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 0b 05 c8 68 65 6c 6c 6f",
       "45 00 00 21 00 00 40 00 40 88 1e 34 0a 00 00 01 0a 1c 08 05 10 92 14 e9 00 0b e9 5c 68 65 6c 6c 6f"},
      // All: 6865+6c6c+6f00 = 1 43d1; 1500 + 10c7 + 1 43d1 = 1 6998 -> 9666; 1cb7 + 257b + 1 43d1 = 1 8603 -> 79fb.
      {"all covered",
       "45 00 00 21 00 00 40 00 40 88 25 eb 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 00 96 66 68 65 6c 6c 6f",
       "45 00 00 21 00 00 40 00 40 88 1e 34 0a 00 00 01 0a 1c 08 05 10 92 14 e9 00 00 79 fb 68 65 6c 6c 6f"},
  };
  for (const auto& [name, before, after] : kCases) {
    for (const ChecksumMode mode : {incremental, full, pending, absent}) {
      EXPECT_EQ(to_hex(rewritten(from_hex(before), to("10.0.0.1:4242", "10.28.8.5:5353"), mode)),
                to_hex(from_hex(after)))
          << name;
    }
  }
}

// RFC 3828 section 3.1: a checksum of 0 is transmitted as ones; one received as 0 must be discarded, which is for the
// receiver to do.
TEST(RewriteUdpLite, ZeroIsNeverMadeAndNeverMended) {
  // As UDP's in nat_test: 0a00+0001+0a00+0003+0088+000a + 0001+0002+0000 + the payload = ffff. The first six are 1496,
  // with the ports 1499, so the payload is eb66.
  const Bytes before =
      from_hex("45 00 00 1e 00 00 00 00 40 88 66 56 0a 00 00 01 0a 00 00 02 00 01 00 02 00 00 00 01 eb 66");
  for (const ChecksumMode mode : {incremental, full})
    EXPECT_EQ(test::wire::get16(rewritten(before, to("10.0.0.1:1", "10.0.0.3:2"), mode), 26), 0xffffU);
  const Bytes illegal = PacketBuilder().v4("10.0.0.1", "10.96.0.1").udplite(1, 2).payload("x").no_checksum().build();
  EXPECT_EQ(test::wire::get16(rewritten(illegal, to("10.0.0.1:1", "10.0.0.3:9"), incremental), 26), 0U);
}

TEST(L4ChecksumOffset, OfTheOthers) {
  Bytes sctp = PacketBuilder().v4("10.0.0.1", "10.0.0.2").sctp(1, 2).build();
  Bytes lite = PacketBuilder().v6("::1", "::2").udplite(1, 2).build();
  PacketView view;
  ASSERT_EQ(parse(sctp, view), ParseError::none);
  EXPECT_EQ(l4_checksum_offset(view), 20U + 8);
  ASSERT_EQ(parse(lite, view), ParseError::none);
  EXPECT_EQ(l4_checksum_offset(view), 40U + 6);
}

}  // namespace
}  // namespace limpet::net
