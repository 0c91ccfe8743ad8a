// `limpet explain -j` as a table: every action, both families, both protocols, each masquerade mode, each detector.
//
// Expected values: the object of the design (keys, order, nulls: endpoint is null unless dnat, affinity none or miss)
// and kube-proxy's rules in iptables mode:
//   no usable endpoint anywhere                         reject
//   endpoints, but a Local policy and none on the node  drop; pods and the node itself are not bound by eTP Local
//   masquerade                                          clusterIP: the source is no pod; nodePort: policy Cluster, or
//                                                       the source is the node; always when the endpoint is the source
#include <cstdio>
#include <fstream>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lb/cli/explain.h"

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::StartsWith;

const char* const kByCidr = "podCIDRs: [10.28.0.0/14, 'fd28::/16']";
const char* const kByBridge = "detectLocal: {mode: BridgeInterface, bridgeInterface: cbr0}";
const char* const kByPrefix = "detectLocal: {mode: InterfaceNamePrefix, interfaceNamePrefix: veth}";
const char* const kNoDetector = "detectLocal: {mode: None}";

const char* const kServices = R"(
services:
  - name: t/web:http
    clusterIP: 10.31.0.1
    port: 80
    nodePort: 30080
    sessionAffinity: ClientIP
    endpoints:
      - {address: 10.28.9.5, port: 8080, nodeName: there}
      - {address: 10.28.8.5, port: 8080, nodeName: here}
      - {address: 10.28.8.6, port: 8080, nodeName: here, weight: 0}
  - {name: t/one:http, clusterIP: 10.31.0.2, port: 80, nodePort: 30082, endpoints: [{address: 10.28.8.5, port: 8080}]}
  - {name: t/empty:http, clusterIP: 10.31.0.3, port: 80, nodePort: 30083, sessionAffinity: ClientIP, endpoints: []}
  - {name: t/idle:http, clusterIP: 10.31.0.4, port: 80, endpoints: [{address: 10.28.8.5, weight: 0}]}
  - name: t/local:http
    clusterIP: 10.31.0.5
    port: 80
    nodePort: 30085
    sessionAffinity: ClientIP
    externalTrafficPolicy: Local
    endpoints: [{address: 10.28.9.5, port: 8080, nodeName: there}]
  - name: t/inner:http
    clusterIP: 10.31.0.6
    port: 80
    internalTrafficPolicy: Local
    endpoints: [{address: 10.28.9.5, port: 8080, nodeName: there}]
  - {name: t/dns:dns, clusterIP: 10.31.0.7, port: 53, protocol: UDP, endpoints: [{address: 10.28.8.5, port: 5353}]}
  - name: t/always:http
    clusterIP: 10.31.0.8
    port: 80
    nodePort: 30088
    externalTrafficPolicy: Local
    masquerade: always
    endpoints: [{address: 10.28.8.5, port: 8080, nodeName: here}]
  - {name: t/never:http, clusterIP: 10.31.0.9, port: 80, nodePort: 30089, masquerade: never,
     endpoints: [{address: 10.28.8.5, port: 8080}]}
  - name: t/six:http
    clusterIP: fd31::1
    port: 80
    nodePort: 30086
    sessionAffinity: ClientIP
    endpoints: [{address: 'fd28::8:5', port: 8080, nodeName: here}]
)";

std::string config_file(const std::string& node) {
  std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
  for (char& letter : name) {
    if (letter == '/') letter = '_';
  }
  const std::string path = testing::TempDir() + "explain_table_test_" + name + ".yaml";
  std::ofstream(path) << "node: {name: here, addresses: [10.128.0.5, 'fd00::5'], " << node << "}" << kServices;
  return path;
}

/// The line that `limpet explain -j` prints, for a node described so.
std::string explain_line(const std::string& node, ExplainOptions options) {
  options.config = config_file(node);
  options.json = true;
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(run_explain(options, out, err), 0) << err.str();
  EXPECT_THAT(err.str(), testing::Not(HasSubstr("error")));  // that replies may be lost is true of some of these
  std::remove(options.config.files.front().c_str());
  return out.str();
}

struct Row {
  const char* name;
  const char* node;
  const char* from;
  const char* to;
  const char* protocol;
  const char* in_interface;
  const char* object;  // up to the words
};
std::string row_name(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

#define ONE(MASQUERADE, SERVICE, AFFINITY)                                                                  \
  R"({"action":"dnat","endpoints":["10.28.8.5:8080"],"endpoint":"10.28.8.5:8080","masquerade":)" MASQUERADE \
  R"(,"service":")" SERVICE R"(","affinity":")" AFFINITY R"(",)"
#define THERE(MASQUERADE, SERVICE, AFFINITY)                                                                \
  R"({"action":"dnat","endpoints":["10.28.9.5:8080"],"endpoint":"10.28.9.5:8080","masquerade":)" MASQUERADE \
  R"(,"service":")" SERVICE R"(","affinity":")" AFFINITY R"(",)"
#define SIX(MASQUERADE)                                                                                         \
  R"({"action":"dnat","endpoints":["[fd28::8:5]:8080"],"endpoint":"[fd28::8:5]:8080","masquerade":)" MASQUERADE \
  R"(,"service":"t/six:http","affinity":"miss",)"
#define REFUSED(ACTION, SERVICE)                                                    \
  R"({"action":")" ACTION R"(","endpoints":[],"endpoint":null,"masquerade":false,)" \
  R"("service":")" SERVICE R"(","affinity":"none",)"
const char* const kNone =
    R"({"action":"none","endpoints":[],"endpoint":null,"masquerade":false,"service":null,"affinity":"none",)";

const char* const kOut = "203.0.113.7";
const char* const kPod = "10.28.9.77";
const char* const kNode = "10.128.0.5";

const Row kRows[] = {
    // No usable endpoint anywhere.
    {"reject_vip", kByCidr, kOut, "10.31.0.3:80", "tcp", "", REFUSED("reject", "t/empty:http")},
    {"reject_vip_from_pod", kByCidr, kPod, "10.31.0.3:80", "tcp", "", REFUSED("reject", "t/empty:http")},
    {"reject_node_port", kByCidr, kOut, "10.128.0.5:30083", "tcp", "", REFUSED("reject", "t/empty:http")},
    {"reject_only_weight_0", kByCidr, kOut, "10.31.0.4:80", "tcp", "", REFUSED("reject", "t/idle:http")},
    // A Local policy without an endpoint on this node.
    {"drop_external_local", kByCidr, kOut, "10.128.0.5:30085", "tcp", "", REFUSED("drop", "t/local:http")},
    {"drop_internal_local", kByCidr, kPod, "10.31.0.6:80", "tcp", "", REFUSED("drop", "t/inner:http")},
    {"external_local_pod", kByCidr, kPod, "10.128.0.5:30085", "tcp", "", THERE("false", "t/local:http", "miss")},
    {"external_local_node", kByCidr, kNode, "10.128.0.5:30085", "tcp", "", THERE("true", "t/local:http", "miss")},
    {"external_local_vip", kByCidr, kPod, "10.31.0.5:80", "tcp", "", THERE("false", "t/local:http", "miss")},
    // The node's own address as the source.
    {"node_to_vip", kByCidr, kNode, "10.31.0.2:80", "tcp", "", ONE("true", "t/one:http", "none")},
    {"node_to_node_port", kByCidr, kNode, "10.128.0.5:30082", "tcp", "", ONE("true", "t/one:http", "none")},
    // The endpoint itself as the source: hairpin, though it is a pod.
    {"hairpin_vip", kByCidr, "10.28.8.5", "10.31.0.2:80", "tcp", "", ONE("true", "t/one:http", "none")},
    {"hairpin_never", kByCidr, "10.28.8.5", "10.31.0.9:80", "tcp", "", ONE("false", "t/never:http", "none")},
    {"no_hairpin_other_pod", kByCidr, kPod, "10.31.0.2:80", "tcp", "", ONE("false", "t/one:http", "none")},
    // masquerade: always and never override kube-proxy's table.
    {"always_pod", kByCidr, kPod, "10.31.0.8:80", "tcp", "", ONE("true", "t/always:http", "none")},
    {"always_local_policy", kByCidr, kOut, "10.128.0.5:30088", "tcp", "", ONE("true", "t/always:http", "none")},
    {"never_outside", kByCidr, kOut, "10.31.0.9:80", "tcp", "", ONE("false", "t/never:http", "none")},
    {"never_cluster_policy", kByCidr, kOut, "10.128.0.5:30089", "tcp", "", ONE("false", "t/never:http", "none")},
    {"never_node", kByCidr, kNode, "10.128.0.5:30089", "tcp", "", ONE("false", "t/never:http", "none")},
    // Detectors that ask by which interface the packet came in. The addresses tell them nothing.
    {"bridge_pod", kByBridge, kOut, "10.31.0.2:80", "tcp", "cbr0", ONE("false", "t/one:http", "none")},
    {"bridge_other", kByBridge, kPod, "10.31.0.2:80", "tcp", "eth0", ONE("true", "t/one:http", "none")},
    {"bridge_longer_name", kByBridge, kPod, "10.31.0.2:80", "tcp", "cbr01", ONE("true", "t/one:http", "none")},
    {"bridge_unknown", kByBridge, kPod, "10.31.0.2:80", "tcp", "", ONE("true", "t/one:http", "none")},
    {"bridge_node", kByBridge, kNode, "10.31.0.2:80", "tcp", "cbr0", ONE("true", "t/one:http", "none")},
    {"prefix_pod", kByPrefix, kOut, "10.31.0.2:80", "tcp", "veth12", ONE("false", "t/one:http", "none")},
    {"prefix_other", kByPrefix, kPod, "10.31.0.2:80", "tcp", "eth0", ONE("true", "t/one:http", "none")},
    {"prefix_not_inside", kByPrefix, kPod, "10.31.0.2:80", "tcp", "lveth", ONE("true", "t/one:http", "none")},
    {"no_detector_vip", kNoDetector, kOut, "10.31.0.2:80", "tcp", "", ONE("false", "t/one:http", "none")},
    {"no_detector_node_port", kNoDetector, kOut, "10.128.0.5:30082", "tcp", "", ONE("true", "t/one:http", "none")},
    {"no_detector_hairpin", kNoDetector, "10.28.8.5", "10.31.0.2:80", "tcp", "", ONE("true", "t/one:http", "none")},
    // UDP, and a port that is another service's or nobody's with the other protocol.
    {"udp", kByCidr, kPod, "10.31.0.7:53", "udp", "",
     R"({"action":"dnat","endpoints":["10.28.8.5:5353"],"endpoint":"10.28.8.5:5353","masquerade":false,)"
     R"("service":"t/dns:dns","affinity":"none",)"},
    {"udp_port_over_tcp", kByCidr, kPod, "10.31.0.7:53", "tcp", "", kNone},
    {"tcp_port_over_udp", kByCidr, kPod, "10.31.0.1:80", "udp", "", kNone},
    // IPv6.
    {"six_outside", kByCidr, "2001:db8::7", "[fd31::1]:80", "tcp", "", SIX("true")},
    {"six_pod", kByCidr, "fd28::9:77", "[fd31::1]:80", "tcp", "", SIX("false")},
    {"six_hairpin", kByCidr, "fd28::8:5", "[fd31::1]:80", "tcp", "", SIX("true")},
    {"six_node_port", kByCidr, "2001:db8::7", "[fd00::5]:30086", "tcp", "", SIX("true")},
    {"six_nobody", kByCidr, "2001:db8::7", "[fd31::2]:80", "tcp", "", kNone},
    {"six_four_only_node_port", kByCidr, "2001:db8::7", "[fd00::5]:30082", "tcp", "", kNone},
    // No service there.
    {"none_port_of_vip", kByCidr, kOut, "10.31.0.1:81", "tcp", "", kNone},
    {"none_address", kByCidr, kOut, "10.31.0.99:80", "tcp", "", kNone},
    {"none_node_port_elsewhere", kByCidr, kOut, "10.128.0.6:30080", "tcp", "", kNone},
    {"none_endpoint_itself", kByCidr, kOut, "10.28.8.5:8080", "tcp", "", kNone},
};

class Table : public testing::TestWithParam<Row> {};

TEST_P(Table, prints_the_object) {
  const Row& row = GetParam();
  const std::string line = explain_line(
      row.node, {.from = row.from, .to = row.to, .protocol = row.protocol, .in_interface = row.in_interface});
  EXPECT_THAT(line, StartsWith(row.object));
  const ordered_json object = ordered_json::parse(line);
  std::vector<std::string> keys;
  for (const auto& item : object.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"action", "endpoints", "endpoint", "masquerade", "service", "affinity",
                                            "reason", "why"}));
  EXPECT_FALSE(object["reason"].get<std::string>().empty());
  EXPECT_FALSE(object["why"].get<std::vector<std::string>>().empty());
}
INSTANTIATE_TEST_SUITE_P(Explain, Table, testing::ValuesIn(kRows), row_name);

TEST(Explain, hides_a_pod_from_itself_only) {
  const ordered_json both = {"10.28.8.5:8080", "10.28.9.5:8080"};
  std::set<std::string> chosen;
  for (std::uint64_t seed = 1; seed <= 64; ++seed) {
    const ordered_json object =
        ordered_json::parse(explain_line(kByCidr, {.from = "10.28.8.5", .to = "10.31.0.1:80", .seed = seed}));
    EXPECT_EQ(object["endpoints"], both) << "its own endpoint is a candidate like the other";
    EXPECT_EQ(object["masquerade"], object["endpoint"] == "10.28.8.5:8080");
    chosen.insert(object["endpoint"]);
  }
  EXPECT_EQ(chosen.size(), 2U);  // one of two missing by chance: 2 * 2^-64
}

TEST(Explain, never_chooses_weight_0_and_says_why) {
  for (std::uint64_t seed = 1; seed <= 64; ++seed) {
    const std::string line = explain_line(kByCidr, {.from = kOut, .to = "10.128.0.5:30080", .seed = seed});
    EXPECT_THAT(line, StartsWith(R"({"action":"dnat","endpoints":["10.28.8.5:8080","10.28.9.5:8080"],)"));
    EXPECT_NE(ordered_json::parse(line)["endpoint"], "10.28.8.6:8080");
    EXPECT_THAT(line, HasSubstr("10.28.8.6:8080 is left out: weight 0"));
  }
}

}  // namespace
}  // namespace limpet::cli
