// `limpet explain` on the sample configuration. Expected values: the seed's iptables dump, read by hand.
#include "lb/cli/explain.h"

#include <cstdio>
#include <fstream>
#include <ostream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;
using testing::Contains;
using testing::HasSubstr;

struct Answer {
  int exit_code;
  std::string out;
  std::string err;
};

Answer explain(ExplainOptions options) {
  options.config = LIMPET_SOURCE_DIR "/deploy/seed.yaml";
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = run_explain(options, out, err);
  return {exit_code, out.str(), err.str()};
}

ordered_json explain_json(const std::string& from, const std::string& to, std::uint64_t seed = 1) {
  return ordered_json::parse(explain({.from = from, .to = to, .seed = seed, .json = true}).out);
}

TEST(Explain, prints_the_keys_of_the_design_in_their_order) {
  const ordered_json json = explain_json("203.0.113.7", "10.31.240.99:80");
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"action", "endpoints", "endpoint", "masquerade", "service", "affinity",
                                            "reason", "why"}));
}

const ordered_json kAll = {"10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"};
const ordered_json kLocal = {"10.28.8.5:80", "10.28.8.6:80"};

struct Case {
  const char* name;
  const char* from;
  const char* to;
  const char* action;
  ordered_json endpoints;
  bool masquerade;
  ordered_json service;
  const char* affinity;
};
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Seed : public testing::TestWithParam<Case> {};

TEST_P(Seed, is_explained) {
  const Case& c = GetParam();
  const ordered_json json = explain_json(c.from, c.to);
  EXPECT_EQ(json["action"], c.action);
  EXPECT_EQ(json["endpoints"], c.endpoints);
  EXPECT_EQ(json["masquerade"], c.masquerade);
  EXPECT_EQ(json["service"], c.service);
  EXPECT_EQ(json["affinity"], c.affinity);
  if (c.endpoints.empty()) {
    EXPECT_TRUE(json["endpoint"].is_null());
  } else {
    EXPECT_THAT(c.endpoints, Contains(json["endpoint"]));
  }
}

const char* const kHttp = "default/php-apache-svc:http";
const Case kCases[] = {
    {"vip_outside", "203.0.113.7", "10.31.240.99:80", "dnat", kAll, true, kHttp, "miss"},
    {"vip_pod", "10.28.6.77", "10.31.240.99:80", "dnat", kAll, false, kHttp, "miss"},
    {"vip_node", "10.128.0.5", "10.31.240.99:80", "dnat", kAll, true, kHttp, "miss"},
    {"node_port_outside", "203.0.113.7", "10.128.0.5:31332", "dnat", kLocal, false, kHttp, "miss"},
    {"node_port_pod", "10.28.6.77", "10.128.0.5:31332", "dnat", kAll, false, kHttp, "miss"},
    {"node_port_node", "10.128.0.5", "10.128.0.5:31332", "dnat", kAll, true, kHttp, "miss"},
    {"unknown_port", "203.0.113.7", "10.31.240.99:81", "none", ordered_json::array(), false, nullptr, "none"},
};
INSTANTIATE_TEST_SUITE_P(all, Seed, testing::ValuesIn(kCases), case_name);

TEST(Explain, depends_on_the_seed_alone) {
  std::set<std::string> chosen;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const ordered_json one = explain_json("203.0.113.7", "10.31.240.99:80", seed);
    EXPECT_EQ(one, explain_json("203.0.113.7", "10.31.240.99:80", seed));
    chosen.insert(one["endpoint"]);
  }
  EXPECT_EQ(chosen.size(), 4U);  // one of four missing by chance: 4 * 0.75^100 < 1e-11
}

TEST(Explain, gives_its_reasons_in_order) {
  const std::vector<std::string> why = explain_json("203.0.113.7", "10.128.0.5:31332")["why"];
  ASSERT_EQ(why.size(), 8U);
  EXPECT_EQ(why[0], "10.128.0.5:31332/tcp is the nodePort of service default/php-apache-svc:http");
  EXPECT_EQ(why[1], "203.0.113.7 is neither a pod nor this node");
  EXPECT_EQ(why[2], "externalTrafficPolicy Local: only endpoints of this node");
  EXPECT_EQ(why[3], "10.28.6.5:80 is left out: not on this node");
  EXPECT_EQ(why[4], "10.28.7.6:80 is left out: not on this node");
  EXPECT_EQ(why[5], "sessionAffinity ClientIP, 10800 s: the client is not known yet");
  EXPECT_THAT(why[6], HasSubstr("is chosen at random by weight from 2 endpoints"));
  EXPECT_EQ(why[7], "not masqueraded: externalTrafficPolicy Local keeps the client's address");
}

TEST(Explain, prints_a_table_for_people) {
  const Answer answer = explain({.from = "203.0.113.7", .to = "10.31.240.99:81"});
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.out,
            "action      none\n"
            "reason      no service has this destination\n"
            "why         10.31.240.99:81/tcp is neither a service's address and port nor a nodePort on an address that "
            "takes nodePorts\n");
}

TEST(Explain, says_what_a_refused_client_is_told) {
  const std::string config = testing::TempDir() + "explain_test_refused.yaml";
  struct {
    const char* settings;
    const char* from;
    const char* to;
    const char* protocol;
    const char* answer;
  } const cases[] = {
      {"", "203.0.113.7", "10.31.0.1:80", "tcp",
       "answered: ICMP port unreachable, from 10.31.0.1 (connection refused)"},
      {"rejectWith: tcp-reset\n", "203.0.113.7", "10.31.0.1:80", "tcp",
       "answered: TCP RST, from 10.31.0.1 (connection refused)"},
      {"rejectWith: tcp-reset\n", "203.0.113.7", "10.31.0.1:80", "sctp",
       "answered: ICMP port unreachable, from 10.31.0.1 (connection refused)"},
      {"", "fd00::7", "[fd31::1]:80", "udplite",
       "answered: ICMPv6 port unreachable, from fd31::1 (connection refused)"},
      {"", "203.0.113.7", "10.31.0.2:80", "tcp", "not answered: the client waits until it gives up"},
  };
  for (const auto& c : cases) {
    std::ofstream(config) << c.settings << "node: {name: here, nodeIP: 10.128.0.5}\n"
                          << "services:\n"
                          << "- {name: t/tcp:p, clusterIP: 10.31.0.1, port: 80}\n"
                          << "- {name: t/sctp:p, clusterIP: 10.31.0.1, port: 80, protocol: SCTP}\n"
                          << "- {name: t/lite:p, clusterIP: 'fd31::1', port: 80, protocol: UDPLite}\n"
                          << "- {name: t/local:p, clusterIP: 10.31.0.2, port: 80, internalTrafficPolicy: Local,\n"
                          << "   endpoints: [{address: 10.28.9.5, nodeName: there}]}\n";
    const ExplainOptions options{.config = config, .from = c.from, .to = c.to, .protocol = c.protocol, .json = true};
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(run_explain(options, out, err), 0) << err.str();
    EXPECT_EQ(ordered_json::parse(out.str())["why"].back(), c.answer) << c.to << ' ' << c.protocol;
  }
  std::remove(config.c_str());
}

/// One service, test/web, with a nodePort and an externalIP, and no endpoints; nodePorts are for 10.0.0.0/8.
std::vector<std::string> why_nobody_is_there(const std::string& from, const std::string& to) {
  const std::string folder = testing::TempDir(), config = folder + "explain_test_empty.yaml";
  std::ofstream(folder + "explain_test_empty.json")
      << R"({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "test", "name": "web"}, "spec": {)"
      << R"("type": "NodePort", "clusterIP": "10.31.0.1", "externalIPs": ["198.51.100.9"],)"
      << R"("ports": [{"port": 80, "nodePort": 30080}]}})";
  std::ofstream(config) << "node: {name: here, nodeIP: 10.128.0.5, addresses: [10.128.0.5, 192.0.2.5],"
                        << " nodePortAddresses: [10.0.0.0/8]}\n"
                        << "kubernetes: {files: [" << folder << "explain_test_empty.json]}\n";
  std::ostringstream out, err;
  EXPECT_EQ(run_explain({.config = config, .from = from, .to = to, .json = true}, out, err), 0) << err.str();
  std::remove(config.c_str());
  std::remove((folder + "explain_test_empty.json").c_str());
  return ordered_json::parse(out.str())["why"];
}

TEST(Explain, says_who_is_refused_where_nobody_listens) {
  EXPECT_THAT(why_nobody_is_there("203.0.113.7", "192.0.2.5:30080"),
              testing::ElementsAre(
                  "192.0.2.5:30080/tcp is the nodePort of service test/web",
                  "203.0.113.7 is neither a pod nor this node", "externalTrafficPolicy Cluster: every endpoint",
                  "192.0.2.5 takes no nodePorts, but one that cannot be served is refused on every address of the node",
                  "the service has no usable endpoint anywhere",
                  "answered: ICMP port unreachable, from 192.0.2.5 (connection refused)"));
  EXPECT_THAT(why_nobody_is_there("10.128.0.5", "198.51.100.9:80"),
              testing::ElementsAre(
                  "198.51.100.9:80/tcp is an externalIP of service test/web", "10.128.0.5 is an address of this node",
                  "externalTrafficPolicy Cluster: every endpoint",
                  "no endpoint can be chosen, but the node's own processes are refused only the node's own addresses"));
}

TEST(Explain, refuses_what_is_no_connection) {
  struct {
    ExplainOptions options;
    const char* complaint;
  } const cases[] = {
      {{.from = "nowhere", .to = "10.0.0.1:80"}, "--from 'nowhere' is not an IP address"},
      {{.from = "10.0.0.1", .to = "10.0.0.1"}, "--to '10.0.0.1' is not IP:PORT"},
      {{.from = "10.0.0.1", .to = "10.0.0.1:80", .protocol = "gre"},
       "--protocol 'gre' is not tcp, udp, sctp or udplite"},
      {{.from = "fd00::1", .to = "10.0.0.1:80"}, "of different families"},
  };
  for (const auto& c : cases) {
    const Answer answer = explain(c.options);
    EXPECT_EQ(answer.exit_code, 2);
    EXPECT_THAT(answer.err, HasSubstr(c.complaint));
    EXPECT_EQ(answer.out, "");
  }
}

}  // namespace
}  // namespace limpet::cli
