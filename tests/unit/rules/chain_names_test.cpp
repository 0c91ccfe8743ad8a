// Chain names against kube-proxy's own: those of its tests' rule dumps (tests/data/kube_proxy_scenarios.json, kind
// chain_name) and those of a GKE node (deploy/seed.rules).
#include "lb/rules/chain_names.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace limpet::rules {
namespace {

using net::AddressPort;
using net::Protocol;
using nlohmann::json;

TEST(ChainNames, OfKubeProxysRuleDumps) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/kube_proxy_scenarios.json");
  int compared = 0;
  for (const json& scenario : json::parse(file)) {
    if (scenario["kind"] != "chain_name") continue;
    for (const json& row : scenario["expect"]) {
      const std::string service = row["servicePortName"];
      const auto protocol = net::parse_protocol(row["protocol"].get<std::string>());
      ASSERT_TRUE(protocol) << row;
      if (row["endpoint"].is_null()) {
        EXPECT_EQ(cluster_chain(service, *protocol), row["chain"]) << row;
      } else {
        const auto endpoint = AddressPort::parse(row["endpoint"].get<std::string>());
        ASSERT_TRUE(endpoint) << row;
        EXPECT_EQ(endpoint_chain(service, *protocol, *endpoint), row["chain"]) << row;
      }
      ++compared;
    }
  }
  EXPECT_EQ(compared, 7);
}

TEST(ChainNames, OfAGkeNode) {
  const std::string service = "default/php-apache-svc:http";
  EXPECT_EQ(cluster_chain(service, Protocol::tcp), "KUBE-SVC-TLHPL6Z5YI33DALW");
  EXPECT_EQ(local_chain(service, Protocol::tcp), "KUBE-SVL-TLHPL6Z5YI33DALW");  // the dump's KUBE-XLB has the same hash
  const struct {
    const char* endpoint;
    const char* chain;
  } kEndpoints[] = {
      {"10.28.8.6:80", "KUBE-SEP-IYELN4HVX6HRBXNW"},
      {"10.28.6.5:80", "KUBE-SEP-L7T7MUF6AEBEWCCN"},
      {"10.28.7.6:80", "KUBE-SEP-LRDQVXAG5PE7TSRT"},
      {"10.28.8.5:80", "KUBE-SEP-SGFKGWTTGOP4QXUH"},
  };
  for (const auto& [endpoint, chain] : kEndpoints) {
    EXPECT_EQ(endpoint_chain(service, Protocol::tcp, *AddressPort::parse(endpoint)), chain);
  }
}

// By hand: printf 'default/six:dnsudp[fd00::1]:53' | sha256sum | xxd -r -p | base32 | cut -c1-16
TEST(ChainNames, OfAnIpv6Endpoint) {
  EXPECT_EQ(endpoint_chain("default/six:dns", Protocol::udp, *AddressPort::parse("[fd00::1]:53")),
            "KUBE-SEP-624BHH56CAR7GZJO");
}

}  // namespace
}  // namespace limpet::rules
