// kube-proxy's recorded decisions (tests/data/README.md), asked of the rules that limpet exports: rule by rule and
// compiled, beside the recorded outcome and limpet's own.
//
//   action, masquerade   of every connection
//   endpoints            reach.h: what the rules could choose, whatever chance says; and what many connections come to,
//                        no other and each of them (of n endpoints one stays out by chance in n (1 - 1/n)^200)
//   affinity             who was sent to an endpoint comes back to it a second later
#include <set>

#include <gtest/gtest.h>

#include "lb/kube/service_rules.h"
#include "lb/rules/chain_names.h"
#include "lb/rules/reach.h"
#include "tests/unit/kube/exported.h"
#include "tests/unit/service/scenario.h"

namespace limpet::kube::test {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using nlohmann::json;
using service::load_scenarios;

constexpr int kConnections = 200;
constexpr std::chrono::hours kForgotten{48};  // kube-proxy's longest timeout is a day

service::Config configuration(const json& scenario) {
  service::Config config;
  config.node = service::scenario_node(scenario);
  config.services = service::scenario_objects(scenario).services();
  return config;
}

net::Tuple tuple_of(const json& flow) {
  const auto protocol = net::parse_protocol(flow.at("protocol").get<std::string>());
  return {protocol.value(),
          {service::ip(flow.at("from").get<std::string>()), 40000},
          service::at(flow.at("to").get<std::string>())};
}

struct Expected {
  std::string action;
  std::set<std::string> endpoints;
  bool masquerade = false;
};

/// A health check port is let in, which for limpet is none of its business.
Expected recorded(const json& flow) {
  const json& expect = flow.at("expect");
  const std::string action = expect.at("action");
  return {action == "accept" ? "none" : action, expect.at("endpoints").get<std::set<std::string>>(),
          expect.at("masquerade").get<bool>()};
}

Expected of_snapshot(const service::Config& config, const datapath::NewConnection& connection) {
  service::World world(config.node, config.services);
  world.view = node_of(config.node);
  const std::vector<std::string> candidates = world.snapshot().candidates(world.match(connection));
  const datapath::Decision decision = world.decide(connection);
  return {
      std::string(datapath::to_string(decision.action)), {candidates.begin(), candidates.end()}, decision.masquerade};
}

std::set<std::string> reachable(const rules::Program& program, const datapath::NewConnection& connection,
                                const node::NodeView& view) {
  const rules::Reach reach(*program.rules().find(rules::Table::nat), nullptr);
  const char* const hook = connection.hook == datapath::Hook::output ? "OUTPUT" : "PREROUTING";
  const auto ends = reach.from(hook, rules::first_facts(connection, view));
  EXPECT_TRUE(ends.complete);
  std::set<std::string> endpoints;
  for (const rules::Rule* const rule : ends.rules) {
    const auto* const dnat = std::get_if<rules::Dnat>(&rule->target);
    if (dnat == nullptr) continue;
    endpoints.insert(net::AddressPort{dnat->to.addresses->first, dnat->to.ports->first}.to_string());
  }
  return endpoints;
}

/// Connection by connection: each as expected, all endpoints together those expected.
void expect_decisions(ExportedProgram& exported, const datapath::NewConnection& connection, const Expected& expected) {
  std::set<std::string> seen;
  flow::Instant now{kForgotten};
  for (int i = 0; i < kConnections; ++i, now += kForgotten) {
    const datapath::Decision decision = exported.decide(connection, now);
    ASSERT_EQ(datapath::to_string(decision.action), expected.action);
    ASSERT_EQ(decision.masquerade, expected.masquerade);
    if (decision.action != Action::dnat) continue;
    seen.insert(decision.endpoint.to_string());
    if (decision.affinity == AffinityOutcome::none) continue;
    const datapath::Decision again = exported.decide(connection, now + std::chrono::seconds(1));
    ASSERT_EQ(again.endpoint, decision.endpoint);
    ASSERT_EQ(again.affinity, AffinityOutcome::hit);
  }
  EXPECT_EQ(seen, expected.endpoints);
}

void expect_flow(const service::Config& config, const json& flow) {
  const Expected expected = recorded(flow);
  const net::Tuple tuple = tuple_of(flow);
  for (const bool compiled : {false, true}) {
    SCOPED_TRACE(compiled ? "compiled" : "rule by rule");
    ExportedProgram exported(config, tuple.source.address.family(), compiled);
    const datapath::NewConnection connection = arriving(tuple, exported.view());
    EXPECT_EQ(reachable(exported.program(), connection, exported.view()), expected.endpoints);
    expect_decisions(exported, connection, expected);
    const Expected own = of_snapshot(config, connection);
    EXPECT_EQ(own.action, expected.action);
    EXPECT_EQ(own.endpoints, expected.endpoints);
    EXPECT_EQ(own.masquerade, expected.masquerade);
  }
}

TEST(ExportScenarios, RulesDecideFlowsAsKubeProxyAndLimpetDo) {
  int flows = 0;
  for (const json& scenario : load_scenarios()) {
    SCOPED_TRACE(scenario.at("name").get<std::string>());
    const service::Config config = configuration(scenario);
    for (const json& flow : scenario.value("flows", json::array())) {
      SCOPED_TRACE(flow.at("name").get<std::string>());
      expect_flow(config, flow);
      ++flows;
    }
  }
  EXPECT_GT(flows, 0);
}

/// What a row of kind chain_name is about: a service port that has the endpoint, or one that has any.
service::Service named_by(const json& row) {
  service::Service service;
  service.name = row.at("servicePortName");
  service.protocol = net::parse_protocol(row.at("protocol").get<std::string>()).value();
  service.cluster_ip = service::ip("172.30.0.41");
  service.port = 80;
  const json& endpoint = row.at("endpoint");
  service.endpoints = {{.at = service::at(endpoint.is_null() ? "10.180.0.1:80" : endpoint.get<std::string>())}};
  return service;
}

TEST(ExportScenarios, ChainsHaveKubeProxysNames) {
  for (const json& scenario : load_scenarios()) {
    if (scenario.at("kind") != "chain_name") continue;
    for (const json& row : scenario.at("expect")) {
      SCOPED_TRACE(row.dump());
      service::Config config;
      config.node = service::scenario_node(scenario);
      config.services = {named_by(row)};
      const std::string text = export_rules(config, node_of(config.node), net::Family::v4).text;
      EXPECT_NE(text.find("\n:" + row.at("chain").get<std::string>() + " - [0:0]\n"), std::string::npos) << text;
    }
  }
}

service::Service of_many(int endpoints) {
  service::Service service;
  service.name = "ns/many:p80";
  service.cluster_ip = service::ip("172.30.0.41");
  service.port = 80;
  for (int i = 0; i < endpoints; ++i) {
    const auto address = net::Address::from_v4(0x0ab40000U + static_cast<std::uint32_t>(i));
    service.endpoints.push_back({.at = {address, 80}});
  }
  return service;
}

/// The probability of the first of n endpoints is 1/n; a single one has no statistic, for it takes everybody.
TEST(ExportScenarios, ProbabilitiesAreSpelledAsKubeProxys) {
  for (const json& scenario : load_scenarios()) {
    if (scenario.at("kind") != "probability") continue;
    for (const auto& [remaining, text] : scenario.at("expect").items()) {
      SCOPED_TRACE(remaining);
      const int n = std::stoi(remaining);
      EXPECT_EQ(probability(1.0 / n), text.get<std::string>());
      service::Config config;
      config.services = {of_many(n)};
      const std::string exported = export_rules(config, {}, net::Family::v4).text;
      const std::string chain = "\n-A " + rules::cluster_chain("ns/many:p80", net::Protocol::tcp) + " ";
      const std::size_t begin = exported.find(chain) + 1;
      const std::string first = exported.substr(begin, exported.find('\n', begin) - begin);
      const std::string words = "-m statistic --mode random --probability ";
      const std::size_t at = first.find(words);
      if (n == 1) {
        EXPECT_EQ(at, std::string::npos) << first;
      } else {
        ASSERT_NE(at, std::string::npos) << first;
        EXPECT_EQ(first.substr(at + words.size(), text.get<std::string>().size() + 1), text.get<std::string>() + " ");
      }
    }
  }
}

}  // namespace
}  // namespace limpet::kube::test
