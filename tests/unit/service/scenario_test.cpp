// kube-proxy's recorded decisions (tests/data/README.md), as far as native services can state the objects.
//
// A flow is left out only for a feature that the native form lacks, found in the objects, never by name; both numbers
// are checked, so that a flow cannot drop out unnoticed. The address of an externalIP may be a node's too: then its
// nodePort is still compared.
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"
#include "tests/unit/service/scenario_objects.h"

namespace limpet::service {
namespace {

using nlohmann::json;

json load_scenarios() {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/kube_proxy_scenarios.json");
  return json::parse(file);
}

/// Is the destination an external address without being a nodePort, which the native form has no word for?
bool is_external(const ScenarioObjects& objects, const net::AddressPort& to) {
  if (!objects.external_addresses.contains(to.address)) return false;
  for (const Service& service : objects.services) {
    if (service.node_port == to.port) return false;
  }
  return true;
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

TEST(Scenarios, flows_are_decided_as_kube_proxy_does) {
  int compared = 0;
  std::map<std::string, int> left_out;
  for (const json& scenario : load_scenarios()) {
    if (scenario.at("kind") != "packet_flow") continue;
    const ScenarioObjects objects = translate(scenario);
    World world(objects.node, objects.services);
    for (const json& flow : scenario.at("flows")) {
      const net::AddressPort to = at(flow.at("to").get<std::string>());
      const std::string lacking = is_external(objects, to) ? "external address" : objects.inexpressible.value_or("");
      if (!lacking.empty()) {
        ++left_out[lacking];
        continue;
      }
      SCOPED_TRACE(scenario.at("name").get<std::string>() + " / " + flow.at("name").get<std::string>());
      expect_flow(world, flow);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 126);
  EXPECT_EQ(left_out, (std::map<std::string, int>{{"external address", 53}, {"serving-terminating endpoints", 4}}));
}

}  // namespace
}  // namespace limpet::service
