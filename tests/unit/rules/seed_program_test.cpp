// The write-up that limpet began with: its dump, run as it stands in the document, does what the document says of it.
#include <fstream>
#include <iterator>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/rules/program_bench.h"

namespace limpet::rules {
namespace {

using test::ProgramBench;
using test::tcp;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

const std::set<std::string> kLocal{"10.28.8.5:80", "10.28.8.6:80"};
const std::set<std::string> kAll{"10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"};

Ruleset seed() {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Ruleset rules = test::parsed(text);
  complete(rules);
  return rules;
}

std::string outsider(int i) {
  return "203.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + ":40000";
}
std::string pod(int i) {
  return "10.29." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + ":40000";
}

/// Each of `clients` new clients once: where they were sent.
std::map<std::string, int> spread(ProgramBench& bench, int clients, const std::string& to, const auto& client) {
  std::map<std::string, int> counts;
  for (int i = 0; i < clients; ++i) {
    // The kernel's lists forget the 101st client; here each is asked once.
    const datapath::Decision decision = bench.decide(tcp(client(i), to));
    EXPECT_EQ(decision.action, datapath::Action::dnat);
    EXPECT_EQ(decision.affinity, datapath::AffinityOutcome::miss);
    ++counts[decision.endpoint.to_string()];
  }
  return counts;
}

std::set<std::string> keys(const std::map<std::string, int>& counts) {
  std::set<std::string> names;
  for (const auto& [name, count] : counts) names.insert(name);
  return names;
}

// 1. An external client's packet to nodePort 31332 is routed to one of the two pods on this node,
// 2. picked randomly: half each. 4000 clients; 5 sigma of a share of 1/2 are 158.
TEST(SeedProgram, NodePortChoosesAmongThePodsOfTheNode) {
  ProgramBench bench(seed());
  const auto counts = spread(bench, 4000, "10.128.0.5:31332", outsider);
  EXPECT_EQ(keys(counts), kLocal);
  for (const auto& [endpoint, count] : counts) EXPECT_NEAR(count, 2000, 158) << endpoint;
}

// 2. and 3. The decision is remembered: later connections of this client go to the same pod.
TEST(SeedProgram, AClientComesBackToItsPod) {
  ProgramBench bench(seed());
  for (int client = 0; client < 50; ++client) {
    const std::string first = bench.decide(tcp(outsider(client), "10.128.0.5:31332")).endpoint.to_string();
    for (int i = 0; i < 15; ++i) {
      bench.now += std::chrono::seconds(10800 / 15);
      EXPECT_EQ(bench.words(tcp(outsider(client), "10.128.0.5:31332")), "dnat " + first + " hit");
    }
    // Exactly 10800 s after the last connection it is known; a tick later it is not.
    bench.now += std::chrono::seconds(10800);
    EXPECT_EQ(bench.words(tcp(outsider(client), "10.128.0.5:31332")), "dnat " + first + " hit");
    bench.now += std::chrono::milliseconds(10800 * 1000 + 4);
    EXPECT_THAT(bench.words(tcp(outsider(client), "10.128.0.5:31332")), HasSubstr(" expired"));
  }
}

// 4. An internal client's packet to the service VIP is routed to any of the four pods randomly: a quarter each. 8000
// clients; 5 sigma of a share of 1/4 are 194. (The dump's 0.33332999982 moves 0.003 clients of these.)
TEST(SeedProgram, ClusterIPChoosesAmongAllPods) {
  ProgramBench bench(seed());
  const auto counts = spread(bench, 8000, "10.31.240.99:80", pod);
  EXPECT_EQ(keys(counts), kAll);
  for (const auto& [endpoint, count] : counts) EXPECT_NEAR(count, 2000, 194) << endpoint;
}

// 5. It marks and remembers the routing decision for internal traffic as well.
TEST(SeedProgram, InternalClientsAreRememberedAndStrangersMasqueraded) {
  ProgramBench bench(seed());
  for (int client = 0; client < 40; ++client) {
    const std::string first = bench.decide(tcp(pod(client), "10.31.240.99:80")).endpoint.to_string();
    EXPECT_EQ(bench.words(tcp(pod(client), "10.31.240.99:80")), "dnat " + first + " hit");
  }
  EXPECT_THAT(bench.words(tcp(outsider(1), "10.31.240.99:80")), HasSubstr(" masquerade miss"));
  EXPECT_THAT(bench.words(tcp("10.128.0.5:5000", "10.31.240.99:80")), HasSubstr(" masquerade miss"));
  // A pod that is sent to itself is masqueraded, to others not.
  for (int i = 0; i < 30; ++i) {
    ProgramBench fresh(seed());
    fresh.rng = pick::Rng(static_cast<std::uint64_t>(i));
    const datapath::Decision decision = fresh.decide(tcp("10.28.8.6:5000", "10.31.240.99:80"));
    EXPECT_EQ(decision.masquerade, decision.endpoint.to_string() == "10.28.8.6:80");
  }
}

// One list per pod: the client of a nodePort is known at the clusterIP.
TEST(SeedProgram, DoorsShareTheirClients) {
  ProgramBench bench(seed());
  const std::string first = bench.decide(tcp(outsider(3), "10.128.0.5:31332")).endpoint.to_string();
  EXPECT_EQ(bench.words(tcp(outsider(3), "10.31.240.99:80")), "dnat " + first + " masquerade hit");
}

TEST(SeedProgram, OtherTrafficIsLeftAlone) {
  ProgramBench bench(seed());
  EXPECT_EQ(bench.words(tcp(outsider(1), "10.31.240.99:443")), "none");
  EXPECT_EQ(bench.words(tcp(outsider(1), "10.128.0.5:22")), "none");
  EXPECT_EQ(bench.words(tcp(outsider(1), "198.51.100.1:31332")), "none");  // not this node's address
  EXPECT_EQ(bench.words(test::udp(outsider(1), "10.31.240.99:80")), "none");
}

}  // namespace
}  // namespace limpet::rules
