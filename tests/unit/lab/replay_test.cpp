// A timeline through the balancer of a configuration: its clock, its affinity, its seed.
#include "lb/lab/replay.h"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

service::Config config() {
  service::Config config;
  config.node.name = "here";
  config.node.node_ip = ip("10.1.0.1");
  config.node.detect_local = {service::LocalDetector::Mode::interface_name_prefix, {}, "cali"};
  service::Service web;
  web.name = "t/web:http";
  web.cluster_ip = ip("10.96.0.10");
  web.port = 80;
  web.affinity_timeout = seconds(10);
  for (const char* endpoint : {"10.2.0.1:8080", "10.2.0.2:8080", "10.2.0.3:8080", "10.2.0.4:8080"}) {
    web.endpoints.push_back({at(endpoint), "here", 1});
  }
  config.services = {web};
  return config;
}

Event event(microseconds time, const std::string& from = "203.0.113.7", const std::string& to = "10.96.0.10:80") {
  Event event;
  event.time = time;
  event.tuple = tuple(net::Protocol::tcp, from + ":40000", to);
  return event;
}

class ReplayBench {
 public:
  explicit ReplayBench(const service::Config& from = config(), std::uint64_t seed = 1, std::uint32_t clients = 1024)
      : node(std::move(*EventNode::open(from.node))),
        subject(std::move(*BalancerSubject::build(from, clients, {seed, 1}))),
        replay(*subject, node, seed) {}

  datapath::Decision play(const Event& event) { return replay.play(event)->decision; }

  EventNode node;
  std::unique_ptr<BalancerSubject> subject;
  Replay replay;
};

TEST(Replay, RemembersByTheTimelinesClock) {
  ReplayBench bench;
  const auto first = bench.play(event(seconds(1'700'000'000)));
  EXPECT_EQ(first.action, Action::dnat);
  EXPECT_EQ(first.affinity, AffinityOutcome::miss);
  const auto in_time = bench.play(event(seconds(1'700'000'010)));
  EXPECT_EQ(in_time.affinity, AffinityOutcome::hit) << "10 s later, inclusive";
  EXPECT_EQ(in_time.endpoint, first.endpoint);
  EXPECT_EQ(bench.play(event(seconds(1'700'000'020) + milliseconds(1))).affinity, AffinityOutcome::expired);
  EXPECT_EQ(bench.play(event(seconds(1'700'000'021), "203.0.113.8")).affinity, AffinityOutcome::miss);
  EXPECT_EQ(bench.play(event(seconds(1'700'000'022), "203.0.113.7", "10.96.0.10:81")).action, Action::none);
}

// 32-bit stamps go round in 49.7 days: without sweeps in between, a client would look young again. The sweeps take out who
// has expired, as the daemon's do: after a day it is a client that nobody knows.
TEST(Replay, TimelinesMayLeap) {
  constexpr milliseconds kRound(std::int64_t{1} << 32);
  for (const milliseconds leap : {milliseconds(hours(24)), milliseconds(hours(24 * 26)), milliseconds(hours(24 * 1000)),
                                  kRound, kRound + seconds(5), 20 * kRound + seconds(5)}) {
    ReplayBench bench;
    bench.play(event(seconds(0)));
    EXPECT_EQ(bench.play(event(leap)).affinity, AffinityOutcome::miss) << leap.count() << " ms";
  }
}

TEST(Replay, WhoNeverExpiresStaysKnownOverALeap) {
  service::Config from = config();
  from.services[0].affinity_timeout = seconds(0);
  ReplayBench bench(from);
  bench.play(event(seconds(0)));
  EXPECT_EQ(bench.play(event(hours(24 * 1000))).affinity, AffinityOutcome::hit);
}

TEST(Replay, TheSameSeedPlaysTheSame) {
  std::set<std::string> played;
  for (const std::uint64_t seed : {1U, 1U, 2U}) {
    ReplayBench bench(config(), seed);
    std::string endpoints;
    for (int i = 0; i < 40; ++i) {
      endpoints += bench.play(event(seconds(i), "203.0.113." + std::to_string(i))).endpoint.to_string() + " ";
    }
    played.insert(endpoints);
  }
  EXPECT_EQ(played.size(), 2U) << "seed 2 plays 40 choices of 4 the same with probability 4^-40";
}

// Who stands in a record has proved itself: at capacity the oldest goes, not the newcomer (affinity_table.h).
TEST(Replay, ClientsAreConfirmed) {
  ReplayBench bench;
  bench.play(event(seconds(0)));
  std::uint64_t confirmed = bench.subject->affinity_counts().entries - bench.subject->affinity_counts().provisional;
  EXPECT_EQ(confirmed, 1U);
}

TEST(Replay, ASourceOnTheNodeIsALocalProcess) {
  ReplayBench bench;
  EXPECT_EQ(bench.replay.play(event(seconds(0), "10.1.0.1"))->connection.hook, datapath::Hook::output);
  EXPECT_EQ(bench.replay.play(event(seconds(0)))->connection.hook, datapath::Hook::prerouting);
}

TEST(Replay, EveryInterfaceThatIsNamedIsThere) {
  ReplayBench bench;
  std::map<std::string, bool> masqueraded;
  for (const char* name : {"cali1", "eth0", "cali2", "cali1", "eth0"}) {
    Event from = event(seconds(0));
    from.in_interface = name;
    const auto played = bench.replay.play(from);
    ASSERT_TRUE(played);
    EXPECT_EQ(bench.node.view().interface_name(played->connection.in_interface), name);
    masqueraded[name] = played->decision.masquerade;
    EXPECT_TRUE(bench.node.view().is_local(ip("10.1.0.1"))) << "the node keeps its addresses";
  }
  EXPECT_EQ(masqueraded, (std::map<std::string, bool>{{"cali1", false}, {"cali2", false}, {"eth0", true}}));
}

TEST(Replay, AMachineHasItsOwnInterfacesOnly) {
  service::Config from = config();
  from.node.node_ip.reset();
  ReplayBench bench(from);
  Event named = event(seconds(0));
  named.in_interface = "no-such-device";
  const auto refused = bench.replay.play(named);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, store::ErrorKind::configuration);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("'no-such-device' is no interface of this machine"));
  named.in_interface = "lo";
  EXPECT_TRUE(bench.replay.play(named));
}

TEST(Replay, IsDescribedAsExplainDoes) {
  ReplayBench bench;
  const auto played = bench.replay.play(event(seconds(0)));
  const auto words = bench.replay.describe(*played);
  EXPECT_EQ(words.service, "t/web:http");
  EXPECT_EQ(words.candidates.size(), 4U);
  EXPECT_EQ(words.decision.endpoint, played->decision.endpoint);
  EXPECT_EQ(words.reason, "chosen at random by weight from 4 endpoints");
  const auto again = bench.replay.play(event(seconds(1)));
  EXPECT_EQ(bench.replay.describe(*again).reason, "the endpoint that this client is remembered for");
}

}  // namespace
}  // namespace limpet::lab
