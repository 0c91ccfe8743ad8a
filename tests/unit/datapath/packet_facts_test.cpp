#include "lb/datapath/packet_facts.h"

#include <ostream>

#include <gtest/gtest.h>

#include "tests/support/packet_builder.h"

namespace limpet::datapath {
namespace {

using net::Protocol;
using test::Bytes;
using test::PacketBuilder;
using Kind = PacketFacts::Kind;

net::Address ip(const char* text) {
  return net::Address::parse(text).value();
}

net::Tuple tuple(Protocol protocol, const char* from, const char* to) {
  return {protocol, net::AddressPort::parse(from).value(), net::AddressPort::parse(to).value()};
}

PacketFacts facts(Bytes packet) {
  const Bytes before = packet;
  const PacketFacts result = facts_of(packet);
  EXPECT_EQ(packet, before);
  return result;
}

TEST(PacketFacts, name_ports_and_flags) {
  const PacketFacts tcp = facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").tcp(1, 2).flags("SFRPA").build());
  EXPECT_EQ(tcp.kind, Kind::transport);
  EXPECT_EQ(tcp.tuple, tuple(Protocol::tcp, "10.0.0.1:1", "10.0.0.2:2"));
  EXPECT_EQ(tcp.detail, "SFRPA");
  EXPECT_EQ(facts(PacketBuilder().v6("fd00::1", "fd00::2").udp(1, 2).build()).detail, "");
  const PacketFacts sctp =
      facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").sctp(1, 2, 3).chunk(10).chunk(0, "x").build());
  EXPECT_EQ(sctp.tuple.protocol, Protocol::sctp);
  EXPECT_EQ(sctp.detail, "data,cookie-echo");
}

TEST(PacketFacts, name_what_an_icmp_error_is_about) {
  const Bytes about = PacketBuilder().v4("10.0.0.2", "10.0.0.1").udp(5, 6).payload("12345678").build();
  const PacketFacts error = facts(PacketBuilder().v4("10.0.0.9", "10.0.0.2").icmp(3, 3).payload(about).build());
  EXPECT_EQ(error.kind, Kind::icmp_error);
  EXPECT_EQ(error.tuple, (net::Tuple{Protocol::icmp, {ip("10.0.0.9"), 0}, {ip("10.0.0.2"), 0}}));
  EXPECT_EQ(error.quoted, tuple(Protocol::udp, "10.0.0.2:5", "10.0.0.1:6"));
  EXPECT_EQ(error.detail, "port-unreachable");
  const PacketFacts redirect = facts(PacketBuilder().v4("10.0.0.9", "10.0.0.2").icmp(5, 1).payload(about).build());
  EXPECT_EQ(redirect.kind, Kind::icmp_error) << "the rules divert it as one";
  EXPECT_EQ(redirect.detail, "redirect-host");
}

TEST(PacketFacts, name_echo_requests_as_rules_do) {
  const PacketFacts four = facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").icmp(8, 0).build());
  EXPECT_EQ(four.kind, Kind::echo_request);
  EXPECT_EQ(four.tuple.destination.port, 0x0800);
  const PacketFacts six = facts(PacketBuilder().v6("fd00::1", "fd00::2").icmp(128, 0).build());
  EXPECT_EQ(six.kind, Kind::echo_request);
  EXPECT_EQ(six.tuple.destination.port, 0x8000);
  const PacketFacts reply = facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").icmp(0, 0).build());
  EXPECT_EQ(reply.kind, Kind::other);
  EXPECT_EQ(reply.detail, "type 0 code 0");
}

TEST(PacketFacts, tell_fragments_apart) {
  const Bytes payload(64);
  const auto fragment = [&](unsigned offset, bool more) {
    return facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").udp(1, 2).payload(payload).fragment(offset, more).build());
  };
  EXPECT_EQ(fragment(0, true).kind, Kind::first_fragment);
  EXPECT_EQ(fragment(0, true).tuple.source.port, 1);
  EXPECT_EQ(fragment(9, true).kind, Kind::later_fragment);
  EXPECT_EQ(fragment(9, false).tuple.source.port, 0);
  EXPECT_FALSE(facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").udp(1, 2).build()).is_fragment());
}

TEST(PacketFacts, of_what_cannot_be_read_are_none) {
  EXPECT_EQ(facts({}).kind, Kind::unreadable);
  EXPECT_EQ(facts(Bytes(3, std::byte{0x45})).kind, Kind::unreadable);
  const PacketFacts gre = facts(PacketBuilder().v4("10.0.0.1", "10.0.0.2").protocol(47).payload("1234").build());
  EXPECT_EQ(gre.kind, Kind::other);
  EXPECT_EQ(gre.tuple.source.address, ip("10.0.0.1"));
}

TEST(PacketFacts, name_icmp_errors) {
  EXPECT_EQ(icmp_error_name(net::Family::v4, 3, 4), "fragmentation-needed");
  EXPECT_EQ(icmp_error_name(net::Family::v6, 2, 0), "packet-too-big");
  EXPECT_EQ(icmp_error_name(net::Family::v6, 1, 4), "port-unreachable");
  EXPECT_EQ(icmp_error_name(net::Family::v4, 3, 200), "3/200");
}

}  // namespace
}  // namespace limpet::datapath
