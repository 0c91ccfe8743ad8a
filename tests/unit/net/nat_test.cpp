#include "conntrack/net/nat.h"

#include <gtest/gtest.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;
using test::to_hex;

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

struct Case {
  std::string name;
  Bytes before;
  Rewrite wanted;
  ChecksumMode mode;
  Bytes after;
};

// Checksums worked out by hand, full sums (not differences): every 16-bit word of the header, or of pseudo-header
// (addresses, protocol, length) and transport, added up; carries folded in; inverted.
TEST(Rewrite, BytesWorkedOutByHand) {
  using enum ChecksumMode;
  const Bytes tcp4 = from_hex(
      "45 00 00 28 00 00 40 00 40 06 26 6f 0a 00 00 01 0a 60 00 01"
      "10 92 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 8f ad 00 00");
  // IP: 4500+0028+0000+4000+4006+0a00+0001+0a1c+0805 = e150 -> 1eaf.
  // TCP: 0a00+0001+0a1c+0805+0006+0014 = 1c3c; 1092+1f90+0001+5002+faf0 = 1 7b15; 1 9751 -> 9752 -> 68ad.
  const Bytes tcp4_dnat = from_hex(
      "45 00 00 28 00 00 40 00 40 06 1e af 0a 00 00 01 0a 1c 08 05"
      "10 92 1f 90 00 00 00 01 00 00 00 00 50 02 fa f0 68 ad 00 00");
  const Bytes tcp6 = from_hex(
      "60 00 00 00 00 14 06 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 00 00 00 00 00 00 00 00 00 00 "
      "00 00 02"
      "10 92 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 aa 0a 00 00");
  // fd00+0001+fd00+0042+0005+0014+0006 = 1 fa62; TCP 1 7b15; 3 7577 -> 757a -> 8a85.
  const Bytes tcp6_dnat = from_hex(
      "60 00 00 00 00 14 06 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 42 00 00 00 00 00 00 00 00 00 "
      "00 00 05"
      "10 92 1f 90 00 00 00 01 00 00 00 00 50 02 fa f0 8a 85 00 00");
  // IP: 4500+0021+0000+4000+4011+0a00+0001+0a60+000a = d99d -> 2662. UDP: as in checksum_test, 96d0.
  const Bytes udp4 =
      from_hex("45 00 00 21 00 00 40 00 40 11 26 62 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 0d 96 d0 68 65 6c 6c 6f");
  // IP: 4500+0021+0000+4000+4011+0a00+0001+0a1c+0805 = e154 -> 1eab.
  // UDP: 0a00+0001+0a1c+0805+0011+000d = 1c40; 1092+14e9+000d+6865+6c6c+6f00 = 1 6959; 1 8599 -> 859a -> 7a65.
  const Bytes udp4_dnat =
      from_hex("45 00 00 21 00 00 40 00 40 11 1e ab 0a 00 00 01 0a 1c 08 05 10 92 14 e9 00 0d 7a 65 68 65 6c 6c 6f");
  // fd00+0001+fd00+0002+000d+0011 = 1 fa21; UDP 1092+0035+000d+6865+6c6c+6f00 = 1 54a5; 3 4ec6 -> 4ec9 -> b136.
  const Bytes udp6 = from_hex(
      "60 00 00 00 00 0d 11 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 fd 00 00 00 00 00 00 00 00 00 00 00 00 "
      "00 00 02"
      "10 92 00 35 00 0d b1 36 68 65 6c 6c 6f");
  // Source fd00::7, port 1093: fd00+0007+fd00+0002+000d+0011 = 1 fa27; UDP 1 54a6; 3 4ecd -> 4ed0 -> b12f.
  const Bytes udp6_snat = from_hex(
      "60 00 00 00 00 0d 11 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 07 fd 00 00 00 00 00 00 00 00 00 00 00 00 "
      "00 00 02"
      "10 93 00 35 00 0d b1 2f 68 65 6c 6c 6f");
  const Rewrite dnat4 = to("10.0.0.1:4242", "10.28.8.5:8080"), dnat6 = to("[fd00::1]:4242", "[fd00:42::5]:8080");
  const Rewrite dns4 = to("10.0.0.1:4242", "10.28.8.5:5353"), snat6 = to("[fd00::7]:4243", "[fd00::2]:53");

  const Case kCases[] = {
      {"TCP over IPv4, destination", tcp4, dnat4, incremental, tcp4_dnat},
      {"and back", tcp4_dnat, to("10.0.0.1:4242", "10.96.0.1:80"), incremental, tcp4},
      {"TCP over IPv4, in full", tcp4, dnat4, full, tcp4_dnat},
      {"TCP over IPv6, destination", tcp6, dnat6, incremental, tcp6_dnat},
      {"TCP over IPv6, in full", tcp6, dnat6, full, tcp6_dnat},
      {"UDP over IPv4, destination, odd payload", udp4, dns4, incremental, udp4_dnat},
      {"UDP over IPv4, in full", udp4, dns4, full, udp4_dnat},
      {"UDP over IPv6, source", udp6, snat6, incremental, udp6_snat},
      {"UDP over IPv6, in full", udp6, snat6, full, udp6_snat},
      {"nothing to change", tcp4, to("10.0.0.1:4242", "10.96.0.1:80"), incremental, tcp4},
  };
  for (const auto& [name, before, wanted, mode, after] : kCases)
    EXPECT_EQ(to_hex(rewritten(before, wanted, mode)), to_hex(after)) << name;
}

/// The transport checksum field of a UDP packet over IPv4 without options.
unsigned udp4_field(const Bytes& packet) {
  return test::wire::get16(packet, 26);
}

TEST(Rewrite, UdpWithoutAChecksumStaysWithout) {
  const Bytes packet = PacketBuilder().v4("10.0.0.1", "10.96.0.1").udp(4242, 53).payload("q").no_checksum().build();
  const Bytes after = rewritten(packet, to("10.0.0.1:4242", "10.28.8.5:53"), ChecksumMode::incremental);
  EXPECT_EQ(udp4_field(after), 0U);
  EXPECT_TRUE(test::checksums_ok(after)) << "the IPv4 header's";
}

// 10.0.0.1:1 -> 10.0.0.2:2, payload ebd3: 0a00+0001+0a00+0002+0011+000a + 0001+0002+000a+ebd3 = fffe, checksum 0001.
// To 10.0.0.3 the sum is ffff, its inverse 0000, which UDP sends as ffff.
TEST(Rewrite, UdpResultZeroIsSentAsOnes) {
  const Bytes packet =
      from_hex("45 00 00 1e 00 00 00 00 40 11 66 cd 0a 00 00 01 0a 00 00 02 00 01 00 02 00 0a 00 01 eb d3");
  for (const ChecksumMode mode : {ChecksumMode::incremental, ChecksumMode::full})
    EXPECT_EQ(udp4_field(rewritten(packet, to("10.0.0.1:1", "10.0.0.3:2"), mode)), 0xffffU);
}

// And from there: ffff is a checksum like another, not "none".
TEST(Rewrite, UdpChecksumOfOnesIsUpdated) {
  const Bytes packet =
      from_hex("45 00 00 1e 00 00 00 00 40 11 66 cc 0a 00 00 01 0a 00 00 03 00 01 00 02 00 0a ff ff eb d3");
  EXPECT_EQ(udp4_field(rewritten(packet, to("10.0.0.1:1", "10.0.0.2:2"), ChecksumMode::incremental)), 0x0001U);
}

TEST(Rewrite, FullModeCompletesAPseudoHeaderSum) {
  const auto partial = [](PacketBuilder builder) { return builder.payload("odd").partial_checksum().build(); };
  const Case kCases[] = {
      {"TCP over IPv4", partial(PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80)),
       to("10.0.0.1:4242", "10.28.8.5:8080"), ChecksumMode::full,
       PacketBuilder().v4("10.0.0.1", "10.28.8.5").tcp(4242, 8080).payload("odd").build()},
      {"UDP over IPv6", partial(PacketBuilder().v6("fd00::1", "fd00::2").udp(4242, 53)),
       to("[fd00::1]:4242", "[fd00::3]:53"), ChecksumMode::full,
       PacketBuilder().v6("fd00::1", "fd00::3").udp(4242, 53).payload("odd").build()},
      {"nothing else to change", partial(PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80)),
       to("10.0.0.1:4242", "10.96.0.1:80"), ChecksumMode::full,
       PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80).payload("odd").build()},
  };
  for (const auto& [name, before, wanted, mode, after] : kCases)
    EXPECT_EQ(to_hex(rewritten(before, wanted, mode)), to_hex(after)) << name;
}

// What __udp_gso_segment (Linux net/ipv4/udp_offload.c) starts from: the pseudo-header's sum, whatever stood there before.
TEST(Rewrite, PendingModeLeavesThePseudoHeaderSumOfAUdpSuperPacket) {
  const auto v4 = [](const char* destination) { return PacketBuilder().v4("10.0.0.1", destination).udp(4242, 53); };
  const auto v6 = [](const char* destination) { return PacketBuilder().v6("fd00::1", destination).udp(4242, 53); };
  const auto pending = [](PacketBuilder builder) { return builder.payload("odd").partial_checksum().build(); };
  const auto complete = [](PacketBuilder builder) { return builder.payload("odd").build(); };
  const Rewrite to4 = to("10.0.0.1:4242", "10.28.8.5:53"), to6 = to("[fd00::1]:4242", "[fd00::3]:53");
  for (const Bytes& before : {pending(v4("10.96.0.1")), complete(v4("10.96.0.1"))})
    EXPECT_EQ(to_hex(rewritten(before, to4, ChecksumMode::pending)), to_hex(pending(v4("10.28.8.5"))));
  for (const Bytes& before : {pending(v6("fd00::2")), complete(v6("fd00::2"))})
    EXPECT_EQ(to_hex(rewritten(before, to6, ChecksumMode::pending)), to_hex(pending(v6("fd00::3"))));
}

TEST(Rewrite, AbsentModeSaysNoChecksum) {
  const Bytes packet =
      PacketBuilder().v4("10.0.0.1", "10.96.0.1").udp(4242, 53).payload("odd").partial_checksum().build();
  const Bytes expected = PacketBuilder().v4("10.0.0.1", "10.28.8.5").udp(4242, 53).payload("odd").no_checksum().build();
  EXPECT_EQ(to_hex(rewritten(packet, to("10.0.0.1:4242", "10.28.8.5:53"), ChecksumMode::absent)), to_hex(expected));
}

TEST(Rewrite, AWrongChecksumStaysWrong) {
  for (PacketBuilder builder : {PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80),
                                PacketBuilder().v4("10.0.0.1", "10.96.0.1").udp(4242, 80)}) {
    const Bytes bad = builder.payload("data").bad_checksum().build();
    EXPECT_FALSE(test::checksums_ok(rewritten(bad, to("10.0.0.1:4242", "10.28.8.5:80"), ChecksumMode::incremental)));
  }
}

TEST(Rewrite, TouchesOnlyAddressesPortsAndChecksums) {
  const PacketBuilder builder = PacketBuilder().tcp(4242, 80).flags("PA").seq(0xdeadbeef).ack(0xcafe).payload("hello");
  const auto headers = [](PacketBuilder packet) { return packet.ip_options(8).tcp_options(12).ttl(3).dscp(46).id(99); };
  const Bytes before = headers(builder).v4("10.0.0.1", "10.96.0.1").build();
  const Bytes after = headers(builder).v4("192.168.7.9", "10.28.8.5").tcp(1024, 8080).build();
  EXPECT_EQ(to_hex(rewritten(before, to("192.168.7.9:1024", "10.28.8.5:8080"), ChecksumMode::incremental)),
            to_hex(after));
}

TEST(Rewrite, WalksIpv6ExtensionHeaders) {
  const PacketBuilder builder = PacketBuilder().extension(0, 16).fragment(0, false).payload("hello");
  const auto packet = [&](const char* destination, std::uint16_t port) {
    return PacketBuilder(builder).v6("fd00::1", destination).udp(4242, port).build();
  };
  EXPECT_EQ(
      to_hex(rewritten(packet("fd00::2", 53), to("[fd00::1]:4242", "[fd00:1::9]:5353"), ChecksumMode::incremental)),
      to_hex(packet("fd00:1::9", 5353)));
}

}  // namespace
}  // namespace limpet::net
