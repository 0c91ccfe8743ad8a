// Which configurations lose replies. The rule, by hand: a reply comes back if the connection is masqueraded (then it is
// addressed to the node), if the endpoint is on this node, or if the client is.
#include "lb/service/return_path.h"

#include <ostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/service/config_reader.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// The warnings of a configuration without errors.
std::vector<std::string> warnings(const std::string& node, const std::string& services) {
  std::vector<std::string> result;
  const LoadedConfig loaded = read_config("node: {name: here, " + node + "}\nservices:\n" + services, "f", "host");
  EXPECT_TRUE(loaded.config) << services;
  for (const Diagnostic& diagnostic : loaded.diagnostics) result.push_back(to_string(diagnostic));
  return result;
}

struct Quiet {
  const char* name;
  const char* node;
  const char* service;  // the rest of it
};
std::string quiet_name(const testing::TestParamInfo<Quiet>& info) {
  return info.param.name;
}
void PrintTo(const Quiet& c, std::ostream* out) {
  *out << c.name;
}

class ReturnPath : public testing::TestWithParam<Quiet> {};

TEST_P(ReturnPath, is_not_complained_of) {
  const Quiet& c = GetParam();
  EXPECT_THAT(warnings(c.node, std::string("- {name: a/b:c, port: 80, ") + c.service + "}\n"), IsEmpty());
}

const Quiet kQuiet[] = {
    // kube-proxy's table.
    {"pods_are_told_apart", "podCIDRs: [10.0.0.0/8]",
     "clusterIP: 10.96.0.1, nodePort: 1, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    {"local_policy", "podCIDRs: [10.0.0.0/8]",
     "nodePort: 1, externalTrafficPolicy: Local, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    {"node_port_without_detector", "masqueradeAll: false",
     "nodePort: 1, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    {"by_interface", "detectLocal: {mode: BridgeInterface, bridgeInterface: br0}",
     "clusterIP: 10.96.0.1, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    {"masquerade_all", "masqueradeAll: true",
     "clusterIP: 10.96.0.1, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    // Nothing is known of the endpoints, and nothing unusual is asked for.
    {"no_nodes_named", "masqueradeAll: false", "clusterIP: 10.96.0.1, endpoints: [{address: 10.0.0.5}]"},
    {"always", "masqueradeAll: false",
     "clusterIP: 10.96.0.1, masquerade: always, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    // never, but the endpoints are here, or only those that are here are led to.
    {"never_on_this_node", "masqueradeAll: false",
     "clusterIP: 10.96.0.1, masquerade: never, endpoints: [{address: 10.0.0.5, nodeName: here}]"},
    {"never_own_address", "addresses: [10.1.0.1]",
     "clusterIP: 10.96.0.1, masquerade: never, endpoints: [{address: 10.1.0.1}]"},
    {"never_node_ip", "nodeIP: 10.1.0.1", "clusterIP: 10.96.0.1, masquerade: never, endpoints: [{address: 10.1.0.1}]"},
    {"never_own_pod_range", "podCIDRs: [10.0.5.0/24], detectLocal: {mode: NodeCIDR}",
     "clusterIP: 10.96.0.1, masquerade: never, endpoints: [{address: 10.0.5.9}]"},
    {"never_local_policies", "masqueradeAll: false",
     "clusterIP: 10.96.0.1, nodePort: 1, masquerade: never, internalTrafficPolicy: Local,"
     " externalTrafficPolicy: Local, endpoints: [{address: 10.0.0.5, nodeName: there}]"},
    {"never_weight_0", "masqueradeAll: false",
     "clusterIP: 10.96.0.1, masquerade: never, endpoints: [{address: 10.0.0.5, weight: 0}]"},
    {"never_without_endpoints", "masqueradeAll: false", "clusterIP: 10.96.0.1, masquerade: never"},
    {"localhost", "localhostNodePorts: true", "nodePort: 1, endpoints: [{address: 10.0.0.5, nodeName: here}]"},
    {"localhost_never_own_process", "localhostNodePorts: true, nodeIP: 10.1.0.1",
     "nodePort: 1, masquerade: never, endpoints: [{address: 10.1.0.1}]"},
};
INSTANTIATE_TEST_SUITE_P(quiet, ReturnPath, testing::ValuesIn(kQuiet), quiet_name);

TEST(ReturnPaths, that_masquerade_never_cuts_are_named) {
  const char* const never =
      "f:3:61: warning: a/b:c keeps its clients' addresses (masquerade: never), and replies of 10.0.0.6:80 ";
  const char* const advice =
      " may go past this node: their clients then get no answer; write masquerade: auto, or nodeName: here for "
      "endpoints that answer through this node";
  struct {
    const char* endpoints;
    const char* which;
  } const cases[] = {
      {"{address: 10.0.0.5, nodeName: here}, {address: 10.0.0.6, nodeName: there}", "(on there)"},
      {"{address: 10.0.0.6}, {address: 10.0.0.7, nodeName: there}", "(nodeName not stated) and 1 more"},
  };
  for (const auto& c : cases) {
    const std::string services = "- {name: a/b:c, port: 80, clusterIP: 10.96.0.1, masquerade: never, endpoints: [" +
                                 std::string(c.endpoints) + "]}\n";
    EXPECT_THAT(warnings("podCIDRs: [10.0.0.0/8]", services), ElementsAre(std::string(never) + c.which + advice));
  }
}

TEST(ReturnPaths, without_a_detector_are_told_once) {
  const std::string endpoints = "endpoints: [{address: 10.0.0.5}, {address: 10.0.0.6, nodeName: there}]";
  EXPECT_THAT(
      warnings("nodeIP: 10.1.0.1",
               "- {name: a/b:a, port: 80, clusterIP: 10.96.0.1, endpoints: [{address: 10.0.0.5, nodeName: here}]}\n"
               "- {name: a/b:c, port: 80, clusterIP: 10.96.0.2, " +
                   endpoints +
                   "}\n"
                   "- {name: a/b:d, port: 80, clusterIP: 10.96.0.3, " +
                   endpoints + "}\n"),
      ElementsAre("f:4:10: warning: a/b:c and 1 more service keep the addresses of clusterIP clients, as no podCIDRs "
                  "tell pods from others, and replies of 10.0.0.6:80 (on there) go past this node: clients that are "
                  "not on it get no answer; write node.podCIDRs, or masquerade: always"));
}

TEST(ReturnPaths, to_127_0_0_1_need_masquerading) {
  EXPECT_THAT(warnings("localhostNodePorts: true",
                       "- {name: a/b:c, port: 80, nodePort: 30000, masquerade: never, "
                       "endpoints: [{address: 10.0.0.5, nodeName: here}]}\n"),
              ElementsAre("f:3:56: warning: a/b:c: connections to 127.0.0.1:30000 keep 127.0.0.1 as their source "
                          "(masquerade: never), which 10.0.0.5:80 cannot answer; write masquerade: auto"));
}

/// Against the code that decides: where nothing is warned of, no connection from outside keeps its source towards an
/// endpoint that is stated elsewhere.
TEST(ReturnPaths, agree_with_the_decisions) {
  std::size_t kept = 0;
  for (unsigned bits = 0; bits < 1U << 7; ++bits) {
    NodeConfig node = seed_node();
    node.masquerade_all = bits & 1;
    if (bits & 2) node.detect_local = {};
    Service service = seed_service();
    service.internal_policy = bits & 4 ? TrafficPolicy::local : TrafficPolicy::cluster;
    service.external_policy = bits & 8 ? TrafficPolicy::local : TrafficPolicy::cluster;
    service.masquerade = bits & 16   ? MasqueradeMode::never
                         : bits & 32 ? MasqueradeMode::always
                                     : MasqueradeMode::automatic;
    if (bits & 64) service.node_port = 0;
    const World world(node, {service});
    bool lost = false;
    for (const char* door : {"10.31.240.99:80", "10.128.0.5:31332"}) {
      const Match match = world.match(connection("203.0.113.7", door));
      if (match.action != datapath::Action::dnat || masquerades(match.masquerade)) continue;
      lost = lost || match.set == Set::cluster;  // two of the four endpoints are elsewhere
    }
    EXPECT_EQ(lost_replies(service, node).has_value(), lost) << bits;
    kept += lost;
  }
  EXPECT_GT(kept, 0U);
}

}  // namespace
}  // namespace limpet::service
