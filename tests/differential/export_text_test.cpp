// The kernel reads the exported text as it is meant: every form that export writes, of both families, is loaded; what
// iptables-save then prints is the same program, rule by rule.
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/rules/rule_text.h"
#include "tests/unit/kube/exported.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::kube::test {
namespace {

using service::Service;

struct Words {
  net::Family family;
  const char *cluster_ip, *external_ip, *load_balancer, *range, *endpoints;  // the last: what they begin with
};
constexpr Words kFour{net::Family::v4, "10.31.240.", "198.51.100.", "192.0.2.", "203.0.113.0/25", "10.28.8."};
constexpr Words kSix{net::Family::v6, "fd00:31::", "2001:db8:51::", "2001:db8:2::", "2001:db8:113::/64", "fd00:28::"};

/// Doors of every kind, one after the other at addresses that end in `number`.
Service doors(const Words& words, const std::string& name, int number) {
  const std::string n = std::to_string(number);
  Service service;
  service.name = "default/" + name;
  service.cluster_ip = service::ip(words.cluster_ip + n);
  service.port = 80;
  service.node_port = static_cast<std::uint16_t>(30000 + number);
  service.external_ips = {service::ip(words.external_ip + n)};
  service.load_balancer_ips = {service::ip(words.load_balancer + n)};
  for (const char* const end : {"5", "6", "7"}) {
    service.endpoints.push_back({.at = {service::ip(words.endpoints + std::string(end)), 8080}, .node_name = "here"});
  }
  return service;
}

Service with_ranges(Service service, const Words& words) {
  service.protocol = net::Protocol::udp;
  service.source_ranges = {service::cidr(words.range),
                           service::cidr(words.family == net::Family::v4 ? "10.128.0.0/20" : "fd00:128::/64")};
  service.external_policy = service::TrafficPolicy::local;
  service.health_check_node_port = 32000;
  return service;
}

Service remembering(Service service, std::chrono::seconds timeout, std::uint8_t prefix) {
  service.protocol = net::Protocol::sctp;
  service.affinity_timeout = timeout;
  service.affinity_prefix = prefix;
  service.affinity_refresh = service::AffinityRefresh::never;
  service.masquerade = service::MasqueradeMode::always;
  return service;
}

std::vector<Service> every_form(const Words& words) {
  std::vector<Service> services{doors(words, "plain:a", 1),
                                with_ranges(doors(words, "ranges", 2), words),
                                remembering(doors(words, "network", 3), std::chrono::seconds(86400), 20),
                                remembering(doors(words, "ever", 4), std::chrono::seconds(0), 0),
                                doors(words, "weights", 5),
                                doors(words, "nobody", 6),
                                doors(words, "elsewhere", 7)};
  services[3].affinity_group = "service default/ever";
  for (std::uint32_t i = 0; i < 3; ++i) services[4].endpoints[i].weight = 1 + i * 1000;
  services[5].endpoints.clear();
  services[6].external_policy = services[6].internal_policy = service::TrafficPolicy::local;
  for (service::Endpoint& endpoint : services[6].endpoints) endpoint.node_name = "there";
  return services;
}

service::Config every_form() {
  service::Config config;
  config.node.name = "here";
  config.node.addresses = {service::ip("10.128.0.5"), service::ip("fd00:128::5")};
  config.node.node_ip = service::ip("10.128.0.5");
  config.node.detect_local = {
      service::LocalDetector::Mode::cluster_cidr,
      {service::cidr("10.28.0.0/14"), service::cidr("172.20.0.0/16"), service::cidr("fd00:28::/32")},
      ""};
  for (const Words& words : {kFour, kSix}) {
    for (Service& service : every_form(words)) config.services.push_back(std::move(service));
  }
  return config;
}

/// "nat KUBE-SERVICES" → its rules, as limpet prints them.
std::map<std::string, std::vector<std::string>> chains_of(const std::string& text, net::Family family) {
  std::map<std::string, std::vector<std::string>> chains;
  const auto read = rules::parse_ruleset(text, {.family = family});
  for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
  for (const rules::TableRules& table : read.rules.tables) {
    for (const rules::Chain& chain : table.chains) {
      auto& printed = chains[std::string(rules::to_string(table.table)) + " " + chain.name];
      for (const rules::Rule& rule : chain.rules) printed.push_back(rules::print(rule, family));
    }
  }
  return chains;
}

class ExportText : public testing::TestWithParam<std::string> {};

TEST_P(ExportText, IsReadByTheKernelAsItIsMeant) {
  if (const std::string reason = limpet::test::enter_private_network(limpet::test::Privilege::as_is); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  service::Config detected = every_form(), strict = every_form(), bridged = every_form();
  detected.node.localhost_node_ports = true;
  strict.node.compat = service::Compat::nftables;
  strict.node.service_cidrs = {service::cidr("10.31.0.0/16"), service::cidr("fd00:31::/108")};
  strict.node.node_port_primary_only = true;
  strict.reject_with = service::RejectWith::tcp_reset;
  bridged.node.detect_local = {service::LocalDetector::Mode::interface_name_prefix, {}, "veth"};
  for (const service::Config& config : {detected, strict, bridged}) {
    for (const net::Family family : {net::Family::v4, net::Family::v6}) {
      const std::string program = (family == net::Family::v4 ? "iptables-" : "ip6tables-") + GetParam();
      const ExportedRules exported = export_rules(config, node_of(config.node), family);
      EXPECT_EQ(exported.services, 7U);
      const auto loaded = divert::run({program + "-restore"}, exported.text);
      if (loaded && !loaded->ok() && loaded->err.find("match 'recent'") != std::string::npos) {
        GTEST_SKIP() << "this kernel lacks recent: " << loaded->err;
      }
      ASSERT_TRUE(loaded && loaded->ok())
          << program << (loaded ? loaded->err : loaded.error().message) << exported.text;
      const auto saved = divert::run({program + "-save"});
      ASSERT_TRUE(saved && saved->ok());
      EXPECT_EQ(chains_of(saved->out, family), chains_of(exported.text, family));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, ExportText, testing::Values("legacy", "nft"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace limpet::kube::test
