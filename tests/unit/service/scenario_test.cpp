// kube-proxy's recorded decisions (tests/data/README.md), all of them: none is left out.
#include "tests/unit/service/scenario.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "lb/service/local_counts.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using nlohmann::json;

/// Calls each(scenario) for those of a kind; how many there were.
template <typename Each>
int for_each_scenario(std::string_view kind, const Each& each) {
  int count = 0;
  for (const json& scenario : load_scenarios()) {
    if (scenario.at("kind") != kind) continue;
    SCOPED_TRACE(scenario.at("name").get<std::string>());
    each(scenario);
    ++count;
  }
  return count;
}

/// A health check port is not a service's: let in unchanged, none in limpet's words.
std::string expected_action(const json& expect) {
  const std::string action = expect.at("action");
  return action == "accept" ? "none" : action;
}

void expect_flow(World& world, const json& flow) {
  const json& expect = flow.at("expect");
  const auto protocol = net::parse_protocol(flow.at("protocol").get<std::string>());
  const auto from = connection(flow.at("from").get<std::string>(), flow.at("to").get<std::string>(), protocol.value());
  const Match match = world.match(from);
  const datapath::Decision decision = world.decide(from);
  EXPECT_EQ(datapath::to_string(decision.action), expected_action(expect));
  EXPECT_EQ(json(world.snapshot().candidates(match)), expect.at("endpoints"));
  EXPECT_EQ(decision.masquerade, expect.at("masquerade").get<bool>());
}

TEST(Scenarios, FlowsOfAnyKindAreDecidedAsKubeProxyDoes) {
  int flows = 0;
  for (const json& scenario : load_scenarios()) {
    SCOPED_TRACE(scenario.at("name").get<std::string>());
    World world(scenario_node(scenario), scenario_objects(scenario).services());
    for (const json& flow : scenario.value("flows", json::array())) {
      SCOPED_TRACE(flow.at("name").get<std::string>());
      expect_flow(world, flow);
      ++flows;
    }
  }
  EXPECT_GT(flows, 0);
}

std::vector<std::string> members(const ServicePort& port, Set set) {
  return uses(port.service(), set) ? port.candidates(set) : std::vector<std::string>();
}

TEST(Scenarios, EndpointsAreSelectedAsKubeProxyDoes) {
  for_each_scenario("endpoint_selection", [](const json& scenario) {
    const World world(scenario_node(scenario), scenario_objects(scenario).services());
    ASSERT_EQ(world.snapshot().ports().size(), 1u);
    const ServicePort& port = *world.snapshot().ports()[0];
    const json& expect = scenario.at("expect");
    const auto found = [&](Set set) { return uses(port.service(), set) ? json(port.candidates(set)) : json(); };
    EXPECT_EQ(found(Set::cluster), expect.at("clusterEndpoints"));
    EXPECT_EQ(found(Set::local), expect.at("localEndpoints"));
    std::set<std::string> reachable;
    for (const Set set : {Set::cluster, Set::local}) {
      const auto all = members(port, set);
      reachable.insert(all.begin(), all.end());
    }
    EXPECT_EQ(json(reachable), expect.at("allReachableEndpoints"));
    EXPECT_EQ(port.usable(), expect.at("hasAnyEndpoints").get<bool>());
  });
}

TEST(Scenarios, ServicesOfOthersAreIgnored) {
  for_each_scenario("service_map", [](const json& scenario) {
    const auto services = scenario_objects(scenario).services();
    const json& expect = scenario.at("expect");
    EXPECT_EQ(services.size(), expect.at("servicePortCount").get<std::size_t>());
    json checked = json::object();
    for (const Service& service : services) {
      if (service.health_check_node_port == 0) continue;
      checked[service.name.substr(0, service.name.find(':'))] = service.health_check_node_port;
    }
    EXPECT_EQ(checked, expect.at("healthCheckNodePorts"));
  });
}

TEST(Scenarios, LocalReadyEndpointsAreCounted) {
  for_each_scenario("healthcheck_count", [](const json& scenario) {
    const NodeConfig node = scenario_node(scenario);
    const LocalCounts counts = count_local(scenario_objects(scenario).services(), {node.name, node.zone});
    const json& expect = scenario.at("expect");
    EXPECT_EQ(json(counts.ready), expect.at("localReadyEndpoints"));
    EXPECT_EQ(counts.ready.size(), expect.at("servicesWithLocalReady").get<std::size_t>());
  });
}

TEST(Scenarios, PoliciesThatFindNoLocalEndpointAreCounted) {
  for_each_scenario("metric", [](const json& scenario) {
    const NodeConfig node = scenario_node(scenario);
    const LocalCounts counts = count_local(scenario_objects(scenario).services(), {node.name, node.zone});
    const json& expect = scenario.at("expect").at("kubeproxy_sync_proxy_rules_no_local_endpoints_total");
    EXPECT_EQ(counts.without_internal, expect.at("internal").get<std::uint32_t>());
    EXPECT_EQ(counts.without_external, expect.at("external").get<std::uint32_t>());
  });
}

}  // namespace
}  // namespace limpet::service
