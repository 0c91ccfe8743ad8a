// limpet.yaml in, values out: every setting, every form of it, and what holds where nothing is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/service/config_reader.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ConfigValues, reads_every_setting) {
  const LoadedConfig loaded = read_config(R"(
datapath: rewrite
queues: {first: 100, count: 4, maxLength: 16384, batch: 32}
marks: {mask: 0x00100000}
divert: {backend: nft, direct: true, defragment: never, checkSeconds: 0}
masqueradePorts: [2000-3000, 8080]
midstream: drop
rejectWith: tcp-reset
icmpEcho: reply
replies: {perSecond: 50, burst: 7}
onDeath: bypass
stop: remove
instance: blue
state: {path: /dev/shm/blue.state}
control: {socket: none}
healthz: 0.0.0.0:10256
tables: {flows: 1000, affinity: 2000, affinityIPv6: 500, fragments: 3000, endpoints: 70000, scopes: 80}
timeouts: {tcp_established: 5d, udp: 30, udp_stream: 2m, tcp_close: 10s}
services: []
)",
                                          "f", "host");
  ASSERT_TRUE(loaded.config);
  const Config& config = *loaded.config;
  EXPECT_EQ(config.queues.first, 100);
  EXPECT_EQ(config.queues.count, 4);
  EXPECT_EQ(config.queues.max_length, 16384U);
  EXPECT_EQ(config.queues.batch, 32U);
  EXPECT_EQ(config.mark_mask, 0x00100000U);
  EXPECT_EQ(config.backend, RuleBackend::nft);
  EXPECT_TRUE(config.divert_direct);
  EXPECT_EQ(config.defragment, Defragment::never);
  EXPECT_EQ(config.divert_check, std::chrono::seconds(0));
  EXPECT_THAT(config.masquerade_ports, ElementsAre(PortRange{2000, 3000}, PortRange{8080, 8080}));
  EXPECT_EQ(config.midstream, Midstream::drop);
  EXPECT_EQ(config.reject_with, RejectWith::tcp_reset);
  EXPECT_EQ(config.icmp_echo, IcmpEcho::reply);
  EXPECT_EQ(config.instance, "blue");
  EXPECT_EQ(config.state_path, "/dev/shm/blue.state");
  EXPECT_EQ(config.control_socket, "none");
  EXPECT_EQ(config.healthz, at("0.0.0.0:10256"));
  EXPECT_EQ(config.tables.affinity_ipv6, 500U);
  EXPECT_EQ(config.tables.endpoints, 70000U);
  EXPECT_EQ(config.tables.scopes, 80U);
  EXPECT_EQ(config.replies.per_second, 50U);
  EXPECT_EQ(config.replies.burst, 7U);
  EXPECT_EQ(config.on_death, OnDeath::bypass);
  EXPECT_EQ(config.on_stop, OnStop::remove);
  EXPECT_EQ(config.tables.flows, 1000U);
  EXPECT_EQ(config.tables.affinity, 2000U);
  EXPECT_EQ(config.tables.fragments, 3000U);
  EXPECT_EQ(config.timeouts.tcp_established, flow::Seconds{432000});
  EXPECT_EQ(config.timeouts.udp, flow::Seconds{30});
  EXPECT_EQ(config.timeouts.udp_stream, flow::Seconds{120});
  EXPECT_EQ(config.timeouts.tcp_close, flow::Seconds{10});
}

TEST(ConfigValues, has_the_defaults_of_the_readme) {
  const Config config = *read_config("services: []", "f", "host").config;
  EXPECT_EQ(config.backend, RuleBackend::automatic);
  EXPECT_FALSE(config.divert_direct);
  EXPECT_EQ(config.defragment, Defragment::automatic);
  EXPECT_EQ(config.divert_check, std::chrono::seconds(10));
  EXPECT_EQ(config.reject_with, RejectWith::icmp);
  EXPECT_EQ(config.icmp_echo, IcmpEcho::ignore) << "kube-proxy answers nothing either";
  EXPECT_EQ(config.replies.per_second, 1000U);
  EXPECT_EQ(config.replies.burst, 200U);
  EXPECT_EQ(config.tables.fragments, 4096U);
}

TEST(ConfigValues, knows_four_protocols) {
  struct {
    const char* word;
    net::Protocol protocol;
  } const cases[] = {{"TCP", net::Protocol::tcp},
                     {"UDP", net::Protocol::udp},
                     {"SCTP", net::Protocol::sctp},
                     {"UDPLite", net::Protocol::udplite}};
  for (const auto& c : cases) {
    const std::string text = "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, protocol: ";
    const auto loaded = read_config(text + c.word + "}]", "f", "host");
    ASSERT_TRUE(loaded.config) << c.word;
    EXPECT_EQ(loaded.config->services[0].protocol, c.protocol);
  }
}

TEST(ConfigValues, names_the_node_after_the_host_in_lower_case) {
  EXPECT_EQ(read_config("services: []", "f", "Node-1").config->node.name, "node-1");
  EXPECT_EQ(read_config("{node: {name: Given}, services: []}", "f", "Node-1").config->node.name, "Given");
}

TEST(ConfigValues, chooses_the_local_detector) {
  using Mode = LocalDetector::Mode;
  struct {
    const char* node;
    Mode mode;
    std::size_t cidrs;
    const char* interface;
  } const cases[] = {
      {"{}", Mode::none, 0, ""},
      {"{podCIDRs: [10.28.0.0/14]}", Mode::cluster_cidr, 1, ""},
      {"{podCIDRs: [10.28.0.0/14, 'fd00::/64'], detectLocal: {mode: NodeCIDR}}", Mode::node_cidr, 2, ""},
      {"{podCIDRs: [10.28.0.0/14], detectLocal: {mode: None}}", Mode::none, 0, ""},
      {"{detectLocal: {mode: ClusterCIDR}}", Mode::none, 0, ""},
      {"{detectLocal: {mode: BridgeInterface, bridgeInterface: cbr0}}", Mode::bridge_interface, 0, "cbr0"},
      {"{detectLocal: {mode: InterfaceNamePrefix, interfaceNamePrefix: veth}}", Mode::interface_name_prefix, 0, "veth"},
  };
  for (const auto& c : cases) {
    const auto loaded = read_config(std::string("node: ") + c.node + "\nservices: []\n", "f", "host");
    ASSERT_TRUE(loaded.config) << c.node;
    const LocalDetector& detector = loaded.config->node.detect_local;
    EXPECT_EQ(detector.mode, c.mode) << c.node;
    EXPECT_EQ(detector.cidrs.size(), c.cidrs) << c.node;
    EXPECT_EQ(detector.interface, c.interface) << c.node;
  }
}

TEST(ConfigValues, reads_what_an_affinity_is) {
  const LoadedConfig loaded = read_config(R"(
services:
  - {name: a/b:c, clusterIP: 10.96.0.1, port: 80, sessionAffinity: ClientIP}
  - {name: a/b:d, clusterIP: 10.96.0.1, port: 81, sessionAffinity: {clientIP: {timeoutSeconds: 0, refresh: packets}}}
  - {name: a/b:e, clusterIP: 10.96.0.1, port: 82, sessionAffinity: {clientIP: {scope: service, prefixLength: 24}}}
  - {name: a/b:f, clusterIP: "fd00::1", port: 83, sessionAffinity: {clientIP: {group: x, prefixLength: 64, refresh: never}}}
)",
                                          "f", "host");
  ASSERT_TRUE(loaded.config);
  const std::vector<Service>& services = loaded.config->services;
  EXPECT_EQ(services[0].affinity_timeout, flow::Seconds{10800});
  EXPECT_EQ(services[0].affinity_refresh, AffinityRefresh::connections);
  EXPECT_EQ(services[0].affinity_scope(), "a/b:c");
  EXPECT_EQ(services[1].affinity_timeout, flow::Seconds{0});
  EXPECT_EQ(services[1].affinity_refresh, AffinityRefresh::packets);
  EXPECT_EQ(services[2].affinity_scope(), "service a/b");
  EXPECT_EQ(services[2].affinity_prefix, 24);
  EXPECT_EQ(services[3].affinity_scope(), "group x");
  EXPECT_EQ(services[3].affinity_prefix, 64);
  EXPECT_EQ(services[3].affinity_refresh, AffinityRefresh::never);
}

TEST(ConfigValues, reads_session_affinity_in_each_form) {
  struct {
    const char* text;
    std::optional<flow::Seconds> timeout;
  } const cases[] = {
      {"None", std::nullopt},
      {"ClientIP", flow::Seconds{10800}},
      {"{clientIP: {}}", flow::Seconds{10800}},
      {"{clientIP: {timeoutSeconds: 60}}", flow::Seconds{60}},
      {"{clientIP: {timeoutSeconds: 0}}", flow::Seconds{0}},
  };
  for (const auto& c : cases) {
    const auto loaded = read_config(
        "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, sessionAffinity: " + std::string(c.text) + "}]", "f",
        "host");
    ASSERT_TRUE(loaded.config) << c.text;
    EXPECT_EQ(loaded.config->services[0].affinity_timeout, c.timeout) << c.text;
  }
}

TEST(ConfigValues, reads_the_sample_configuration) {
  const LoadedConfig loaded = load_config(LIMPET_SOURCE_DIR "/deploy/seed.yaml");
  EXPECT_THAT(loaded.diagnostics, IsEmpty());
  ASSERT_TRUE(loaded.config);
  const Config& config = *loaded.config;
  EXPECT_EQ(config.node.name, kThisNode);
  EXPECT_EQ(config.node.node_ip, ip("10.128.0.5"));
  EXPECT_THAT(config.node.detect_local.cidrs, ElementsAre(cidr("10.28.0.0/14")));
  ASSERT_EQ(config.services.size(), 2U);
  struct {
    const char* name;
    std::uint16_t port;
    std::uint16_t node_port;
  } const ports[] = {{"default/php-apache-svc:http", 80, 31332}, {"default/php-apache-svc:https", 443, 30558}};
  for (std::size_t i = 0; i < 2; ++i) {
    const Service& service = config.services[i];
    EXPECT_EQ(service.name, ports[i].name);
    EXPECT_EQ(service.port, ports[i].port);
    EXPECT_EQ(service.node_port, ports[i].node_port);
    EXPECT_EQ(service.external_policy, TrafficPolicy::local);
    EXPECT_EQ(service.internal_policy, TrafficPolicy::cluster);
    EXPECT_EQ(service.affinity_timeout, flow::Seconds{10800});
    ASSERT_EQ(service.endpoints.size(), 4U);
    EXPECT_EQ(service.endpoints[0].at, (net::AddressPort{ip("10.28.8.5"), ports[i].port}));
    EXPECT_EQ(service.endpoints[2].node_name, kOtherNode);
  }
}

}  // namespace
}  // namespace limpet::service
