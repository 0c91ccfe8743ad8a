// One packet at several places. What the kernel changes on the way: TTL (forwarding), addresses, ports and checksums
// (translation); a retransmission has another identification over IPv4, and comes at the same place.
#include "lb/lab/sightings.h"

#include <gtest/gtest.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using net::Protocol;
using std::chrono::milliseconds;
using test::Bytes;
using test::PacketBuilder;

const char* const kClient = "10.9.0.1";
const char* const kVip = "10.96.0.10";
const char* const kNode = "10.1.0.1";

datapath::DiversionPlan plan() {
  datapath::DiversionPlan plan;
  plan.services = {{Protocol::tcp, at("10.96.0.10:80")}};
  plan.endpoints = {{Protocol::tcp, at("10.2.0.1:8080")}, {Protocol::tcp, at("10.2.0.2:8080")}};
  return plan;
}

class OnTheNode : public testing::Test {
 protected:
  bool seen(Bytes packet, milliseconds time, Place place = {}) {
    return sightings.seen_before(captured(packet, time, place), packet, datapath::facts_of(packet));
  }
  void remember(Bytes packet, milliseconds time, Place place = {}) {
    sightings.remember(captured(packet, time, place), packet, datapath::facts_of(packet));
  }

  node::NodeView node{{{.interface = 1, .address = ip(kNode), .prefix_length = 24}}, {}, {}};
  OfflineRules rules{plan(), 0x1000, false};
  Sightings sightings{rules, node, ip(kClient)};
};

PacketBuilder tcp(const char* from, std::uint16_t from_port, const char* to, std::uint16_t to_port) {
  PacketBuilder packet;
  packet.v4(from, to).tcp(from_port, to_port).flags("A").seq(7).ack(9).id(55).payload("payload");
  return packet;
}

TEST_F(OnTheNode, forwarded_is_seen_before) {
  remember(tcp(kClient, 1, "10.7.0.7", 2).ttl(64).build(), milliseconds(0));
  EXPECT_TRUE(seen(tcp(kClient, 1, "10.7.0.7", 2).ttl(63).build(), milliseconds(1)));
  EXPECT_FALSE(seen(tcp(kClient, 1, "10.7.0.7", 2).ttl(62).build(), milliseconds(1)));
  EXPECT_FALSE(seen(tcp(kClient, 1, "10.7.0.7", 2).ttl(63).build(), milliseconds(1001))) << "too late";
}

TEST_F(OnTheNode, at_another_interface_is_seen_before) {
  remember(tcp(kClient, 1, "10.7.0.7", 2).build(), milliseconds(0), {2, false});
  EXPECT_TRUE(seen(tcp(kClient, 1, "10.7.0.7", 2).build(), milliseconds(0), {3, false}));
  EXPECT_TRUE(seen(tcp(kClient, 1, "10.7.0.7", 2).build(), milliseconds(0), {2, true}));
}

TEST_F(OnTheNode, a_retransmission_is_a_packet_of_its_own) {
  remember(tcp(kClient, 1, kVip, 80).build(), milliseconds(0), {2, false});
  EXPECT_FALSE(seen(tcp(kClient, 1, kVip, 80).build(), milliseconds(200), {2, false}));
  EXPECT_FALSE(seen(tcp(kClient, 1, kVip, 80).id(56).build(), milliseconds(200), {3, false}));
  EXPECT_FALSE(seen(tcp(kClient, 1, kVip, 80).seq(8).build(), milliseconds(0), {3, false}));
  EXPECT_FALSE(seen(tcp(kClient, 1, kVip, 80).payload("PAYLOAD").build(), milliseconds(0), {3, false}));
}

TEST_F(OnTheNode, a_translated_request_is_seen_before_and_tells_the_replies) {
  remember(tcp(kClient, 40000, kVip, 80).build(), milliseconds(0));
  EXPECT_TRUE(seen(tcp(kClient, 40000, "10.2.0.2", 8080).ttl(63).build(), milliseconds(0)));
  EXPECT_EQ(sightings.request_of(tuple(Protocol::tcp, "10.2.0.2:8080", "10.9.0.1:40000")),
            tuple(Protocol::tcp, "10.9.0.1:40000", "10.96.0.10:80"));
  EXPECT_EQ(sightings.request_of(tuple(Protocol::tcp, "10.2.0.1:8080", "10.9.0.1:40000")), std::nullopt);
}

TEST_F(OnTheNode, a_masqueraded_request_too) {
  remember(tcp(kClient, 40000, kVip, 80).build(), milliseconds(0));
  EXPECT_FALSE(seen(tcp("10.8.8.8", 1234, "10.2.0.2", 8080).build(), milliseconds(0))) << "neither client nor node";
  EXPECT_FALSE(seen(tcp(kNode, 1234, "10.2.0.3", 8080).build(), milliseconds(0))) << "no endpoint";
  EXPECT_TRUE(seen(tcp(kNode, 1234, "10.2.0.2", 8080).build(), milliseconds(0)));
  EXPECT_EQ(sightings.request_of(tuple(Protocol::tcp, "10.2.0.2:8080", "10.1.0.1:1234")),
            tuple(Protocol::tcp, "10.9.0.1:40000", "10.96.0.10:80"));
}

TEST_F(OnTheNode, a_translated_reply_is_seen_before) {
  remember(tcp("10.2.0.1", 8080, kNode, 1234).build(), milliseconds(0));
  EXPECT_FALSE(seen(tcp(kVip, 80, "10.8.8.8", 40000).build(), milliseconds(0))) << "to somebody else";
  EXPECT_TRUE(seen(tcp(kVip, 80, kClient, 40000).build(), milliseconds(0)));
  EXPECT_EQ(sightings.request_of(tuple(Protocol::tcp, "10.9.0.1:40000", "10.96.0.10:80")), std::nullopt);
}

TEST_F(OnTheNode, a_translated_icmp_error_is_seen_before) {
  const auto error = [](const Bytes& about, const char* from) {
    return PacketBuilder().v4(from, kClient).icmp(3, 3).payload(about).id(4).build();
  };
  remember(error(tcp(kClient, 40000, "10.2.0.1", 8080).build(), "10.2.0.1"), milliseconds(0));
  EXPECT_TRUE(seen(error(tcp(kClient, 40000, kVip, 80).build(), kVip), milliseconds(0)));
  EXPECT_FALSE(seen(error(tcp(kClient, 40000, kVip, 80).id(56).build(), kVip), milliseconds(0)));
}

TEST_F(OnTheNode, what_cannot_be_read_is_never_seen_before) {
  const Bytes rubbish(3, std::byte{0x45});
  remember(rubbish, milliseconds(0));
  EXPECT_FALSE(seen(rubbish, milliseconds(0), {2, true}));
}

}  // namespace
}  // namespace limpet::lab
