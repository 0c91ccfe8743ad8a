// The crossings of a client's packets, by the table of hooks in lb/datapath/pipeline.h. One endpoint a service, so that the
// choice is certain.
#include "lb/lab/packet_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using net::Protocol;
using std::chrono::milliseconds;
using test::Bytes;
using test::PacketBuilder;
using testing::ElementsAre;
using testing::IsEmpty;

const char* const kClient = "203.0.113.7";
const char* const kPod = "10.2.0.77";
const char* const kNode = "10.1.0.1";

service::Service service(const char* name, const char* vip, std::uint16_t port, const char* endpoint,
                         Protocol protocol = Protocol::tcp) {
  service::Service service;
  service.name = name;
  service.protocol = protocol;
  service.cluster_ip = ip(vip);
  service.port = port;
  if (endpoint != nullptr) service.endpoints = {{at(endpoint), "here", 1}};
  return service;
}

service::Config config() {
  service::Config config;
  config.node.name = "here";
  config.node.node_ip = ip(kNode);
  config.node.detect_local = {service::LocalDetector::Mode::cluster_cidr, {*net::Prefix::parse("10.2.0.0/16")}, ""};
  config.masquerade_ports = {{2000, 2000}};  // one: the port is certain, too
  config.services = {service("t/web:http", "10.96.0.10", 80, "10.2.0.1:8080"),
                     service("t/own:http", "10.96.0.11", 80, "10.1.0.1:8080"),
                     service("t/empty:http", "10.96.0.12", 80, nullptr),
                     service("t/dns:dns", "10.96.0.13", 53, "10.2.0.1:5353", Protocol::udp)};
  return config;
}

/// "HOOK source > destination" as a packet leaves each of its hooks, "drop" for the last if it does not.
std::vector<std::string> texts(const std::vector<Crossing>& crossings) {
  std::vector<std::string> result;
  for (const Crossing& crossing : crossings) {
    if (!crossing.hook) {
      result.push_back("not diverted");
    } else if (!crossing.verdict.accept) {
      result.push_back(std::string(datapath::to_string(*crossing.hook)) + " drop");
    } else {
      const net::Tuple& tuple = crossing.after.tuple;
      result.push_back(std::string(datapath::to_string(*crossing.hook)) + " " + tuple.source.to_string() + " > " +
                       tuple.destination.to_string());
    }
  }
  return result;
}

class Path : public testing::Test {
 protected:
  explicit Path(const char* client = kClient, const service::Config& from = config()) {
    auto node = described_node(from.node, "");
    auto built = PacketPath::build(from, std::move(*node), ip(client), 1);
    path = std::move(*built);
  }
  std::vector<Crossing> walk(const Bytes& packet, milliseconds time = {}) { return path->walk(captured(packet, time)); }
  std::vector<std::string> run(const Bytes& packet, milliseconds time = {}) { return texts(walk(packet, time)); }

  std::unique_ptr<PacketPath> path;
};

PacketBuilder tcp(const char* from, std::uint16_t from_port, const char* to, std::uint16_t to_port, const char* flags) {
  PacketBuilder packet;
  packet.v4(from, to).tcp(from_port, to_port).flags(flags).seq(1000);
  return packet;
}

TEST_F(Path, of_a_masqueraded_connection_is_two_hooks_each_way) {
  EXPECT_THAT(run(tcp(kClient, 1024, "10.96.0.10", 80, "S").build()),
              ElementsAre("PREROUTING 203.0.113.7:1024 > 10.2.0.1:8080", "POSTROUTING 10.1.0.1:1024 > 10.2.0.1:8080"));
  EXPECT_THAT(
      run(tcp("10.2.0.1", 8080, kNode, 1024, "SA").ack(1001).build()),
      ElementsAre("PREROUTING 10.2.0.1:8080 > 203.0.113.7:1024", "POSTROUTING 10.96.0.10:80 > 203.0.113.7:1024"));
  EXPECT_EQ(path->packets(), 2U);
}

TEST_F(Path, of_a_new_connection_tells_the_decision) {
  const std::vector<Crossing> crossings = walk(tcp(kClient, 1024, "10.96.0.10", 80, "S").build());
  ASSERT_EQ(crossings.size(), 2U);
  ASSERT_TRUE(crossings[0].decision);
  EXPECT_EQ(crossings[0].decision->endpoint, at("10.2.0.1:8080"));
  EXPECT_EQ(crossings[0].service, "t/web:http");
  EXPECT_EQ(crossings[0].outcome, datapath::Counter::rewritten);
  EXPECT_FALSE(crossings[0].hit);
  EXPECT_TRUE(crossings[0].verdict.set_mark);
  EXPECT_EQ(crossings[1].hit, flow::KeyRole::middle);
  EXPECT_FALSE(crossings[1].decision);
}

/// A pod keeps its address, and its packets meet no rule after the first.
class PodsPath : public Path {
 protected:
  PodsPath() : Path(kPod) {}
};

TEST_F(PodsPath, is_one_hook_each_way) {
  EXPECT_THAT(run(tcp(kPod, 1024, "10.96.0.10", 80, "S").build()),
              ElementsAre("PREROUTING 10.2.0.77:1024 > 10.2.0.1:8080"));
  EXPECT_THAT(run(tcp("10.2.0.1", 8080, kPod, 1024, "SA").ack(1001).build()),
              ElementsAre("POSTROUTING 10.96.0.10:80 > 10.2.0.77:1024"));
}

class NodesPath : public Path {
 protected:
  NodesPath() : Path(kNode) {}
};

TEST_F(NodesPath, begins_at_output_and_ends_at_input) {
  EXPECT_THAT(run(tcp(kNode, 1024, "10.96.0.10", 80, "S").build()),
              ElementsAre("OUTPUT 10.1.0.1:1024 > 10.2.0.1:8080", "POSTROUTING 10.1.0.1:2000 > 10.2.0.1:8080"))
      << "masqueraded, and the pair with its own port is taken";
  EXPECT_THAT(run(tcp("10.2.0.1", 8080, kNode, 2000, "SA").ack(1001).build()),
              ElementsAre("PREROUTING 10.2.0.1:8080 > 10.1.0.1:1024", "INPUT 10.96.0.10:80 > 10.1.0.1:1024"));
}

/// To a process of the node itself, through lo: a hairpin, and masqueraded. The reply is still the endpoint's when it leaves.
TEST_F(NodesPath, to_itself_leads_through_lo) {
  EXPECT_THAT(run(tcp(kNode, 1024, "10.96.0.11", 80, "S").build()),
              ElementsAre("OUTPUT 10.1.0.1:1024 > 10.1.0.1:8080", "POSTROUTING 10.1.0.1:2000 > 10.1.0.1:8080"));
  EXPECT_THAT(run(tcp(kNode, 8080, kNode, 2000, "SA").ack(1001).build()),
              ElementsAre("POSTROUTING 10.1.0.1:8080 > 10.1.0.1:2000", "PREROUTING 10.1.0.1:8080 > 10.1.0.1:1024",
                          "INPUT 10.96.0.11:80 > 10.1.0.1:1024"));
}

TEST_F(Path, of_a_refused_connection_ends_with_an_answer) {
  const std::vector<Crossing> crossings = walk(tcp(kClient, 1024, "10.96.0.12", 80, "S").build());
  EXPECT_THAT(texts(crossings), ElementsAre("PREROUTING drop"));
  EXPECT_EQ(crossings[0].verdict.reply, net::ReplyKind::port_unreachable);
  EXPECT_EQ(crossings[0].outcome, datapath::Counter::dropped_rejected);
}

TEST_F(Path, of_what_no_rule_diverts_is_empty) {
  EXPECT_THAT(run(tcp(kClient, 1024, "10.5.0.1", 80, "S").build()), ElementsAre("not diverted"));
  EXPECT_THAT(run(PacketBuilder().v4(kClient, "10.96.0.10").protocol(47).payload("gre!").build()),
              ElementsAre("not diverted"));
}

TEST_F(Path, is_the_clients_alone) {
  EXPECT_THAT(run(tcp("203.0.113.8", 1024, "10.96.0.10", 80, "S").build()), IsEmpty());
  EXPECT_THAT(run(tcp("10.2.0.1", 8080, kNode, 1024, "SA").build()), IsEmpty()) << "of no flow of the client";
  EXPECT_EQ(path->packets(), 0U);
}

TEST_F(Path, of_a_reply_that_is_translated_already_is_the_endpoints) {
  run(tcp(kClient, 1024, "10.96.0.10", 80, "S").build());
  const std::vector<Crossing> crossings = walk(tcp("10.96.0.10", 80, kClient, 1024, "SA").ack(1001).build());
  EXPECT_THAT(texts(crossings), ElementsAre("PREROUTING 10.2.0.1:8080 > 203.0.113.7:1024",
                                            "POSTROUTING 10.96.0.10:80 > 203.0.113.7:1024"));
  EXPECT_EQ(crossings[0].captured, tuple(Protocol::tcp, "10.96.0.10:80", "203.0.113.7:1024"));
}

TEST_F(Path, of_a_packet_and_its_translation_is_run_once) {
  run(tcp(kClient, 1024, "10.96.0.10", 80, "S").id(7).build());
  EXPECT_THAT(run(tcp(kNode, 5555, "10.2.0.1", 8080, "S").id(7).ttl(63).build()), IsEmpty());
  EXPECT_EQ(path->again(), 1U);
  // The other balancer's port: the reply to it is the client's, and goes to the port that was chosen here.
  EXPECT_THAT(
      run(tcp("10.2.0.1", 8080, kNode, 5555, "SA").id(8).ack(1001).build()),
      ElementsAre("PREROUTING 10.2.0.1:8080 > 203.0.113.7:1024", "POSTROUTING 10.96.0.10:80 > 203.0.113.7:1024"));
  EXPECT_THAT(run(tcp("10.96.0.10", 80, kClient, 1024, "SA").id(8).ack(1001).ttl(63).build()), IsEmpty());
  EXPECT_EQ(path->packets(), 2U);
  EXPECT_EQ(path->again(), 2U);
}

TEST_F(Path, of_an_icmp_error_follows_what_it_quotes) {
  const Bytes request = PacketBuilder().v4(kClient, "10.96.0.13").udp(1024, 53).payload("question").build();
  EXPECT_THAT(run(request),
              ElementsAre("PREROUTING 203.0.113.7:1024 > 10.2.0.1:5353", "POSTROUTING 10.1.0.1:1024 > 10.2.0.1:5353"));
  const Bytes sent = PacketBuilder().v4(kNode, "10.2.0.1").udp(1024, 5353).payload("question").build();
  const Bytes error = PacketBuilder().v4("10.2.0.1", kNode).icmp(3, 3).payload(sent).build();
  const std::vector<Crossing> crossings = walk(error);
  ASSERT_EQ(crossings.size(), 2U);
  EXPECT_EQ(crossings[0].hit, flow::KeyRole::inner);
  EXPECT_EQ(crossings[1].after.tuple.source.address, ip("10.96.0.13"));
  EXPECT_EQ(crossings[1].after.quoted, tuple(Protocol::udp, "203.0.113.7:1024", "10.96.0.13:53"));
}

/// The clock is the capture's: an unanswered UDP flow ends after 30 s, and the next packet is decided afresh.
TEST_F(Path, goes_by_the_captures_clock) {
  const auto query = [](std::uint16_t id) {
    return PacketBuilder().v4(kClient, "10.96.0.13").udp(1024, 53).payload("question").id(id).build();
  };
  EXPECT_TRUE(walk(query(1))[0].decision);
  EXPECT_FALSE(walk(query(2), milliseconds(30'000))[0].decision);
  EXPECT_TRUE(walk(query(3), milliseconds(60'001))[0].decision);
}

TEST_F(Path, of_a_packet_that_was_captured_short_is_the_same) {
  const Bytes whole = PacketBuilder().v4(kClient, "10.96.0.13").udp(1024, 53).payload(Bytes(1000)).build();
  CapturedPacket packet = captured(whole);
  packet.bytes = packet.bytes.first(40);
  EXPECT_THAT(texts(path->walk(packet)),
              ElementsAre("PREROUTING 203.0.113.7:1024 > 10.2.0.1:5353", "POSTROUTING 10.1.0.1:1024 > 10.2.0.1:5353"));
}

TEST_F(Path, of_fragments_follows_the_first) {
  const auto fragment = [](unsigned offset, bool more) {
    PacketBuilder packet;
    packet.v4(kClient, "10.96.0.13").udp(1024, 53).payload(Bytes(64)).id(77).fragment(offset, more);
    return packet.build();
  };
  EXPECT_THAT(run(fragment(0, true)),
              ElementsAre("PREROUTING 203.0.113.7:1024 > 10.2.0.1:5353", "POSTROUTING 10.1.0.1:1024 > 10.2.0.1:5353"));
  EXPECT_THAT(run(fragment(9, false)),
              ElementsAre("PREROUTING 203.0.113.7:0 > 10.2.0.1:0", "POSTROUTING 10.1.0.1:0 > 10.2.0.1:0"));
}

TEST(PacketPaths, depend_on_the_seed_alone) {
  service::Config many = config();
  many.services[0].endpoints.clear();
  for (int i = 1; i <= 9; ++i)
    many.services[0].endpoints.push_back({at("10.2.0." + std::to_string(i) + ":80"), "here", 1});
  const auto chosen = [&](std::uint64_t seed) {
    auto path = PacketPath::build(many, *described_node(many.node, ""), ip(kClient), seed);
    const Bytes syn = tcp(kClient, 1024, "10.96.0.10", 80, "S").build();
    return (*path)->walk(captured(syn))[0].decision->endpoint;
  };
  std::set<net::AddressPort> all;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    EXPECT_EQ(chosen(seed), chosen(seed));
    all.insert(chosen(seed));
  }
  EXPECT_EQ(all.size(), 9U);  // one of nine missing by chance: 9 * (8/9)^100 < 1e-4, and the seeds are fixed
}

}  // namespace
}  // namespace limpet::lab
