// Two workers process the first packets of the same connections at once: whoever is first decides, the other follows.
#include <atomic>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "lb/datapath/pipeline.h"
#include "tests/support/packet_builder.h"
#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

constexpr std::size_t kConnections = 20000;
constexpr flow::Instant kNow{flow::Milliseconds(1'000'000)};

/// Never decides twice alike, so that two decisions for one connection show.
class RestlessDecider final : public Decider {
 public:
  using Decider::Decider;
  Decision decide(const NewConnection&, const node::NodeView&, flow::Instant, pick::Rng&) override {
    ++decisions;
    const std::uint32_t n = next_.fetch_add(1, std::memory_order_relaxed);
    return {.action = Action::dnat,
            .reason = Reason::picked,
            .endpoint_id = {1 + n % 4, 1},
            .endpoint = {net::Address::from_v4(0x0a020000 + n), 8080},
            .remembered = {}};
  }
  void confirm(const net::Address&, const flow::AffinityName&, flow::Instant) override {}
  std::atomic<std::size_t> decisions{0};

 private:
  std::atomic<std::uint32_t> next_{1};
};

/// Lets both threads go at the same moment, round after round.
class Gate {
 public:
  void pass(std::size_t round) {
    arrived_.fetch_add(1);
    // Spinning first: who yields comes back too late for a race.
    for (unsigned spins = 1; arrived_.load() < 2 * (round + 1); ++spins) {
      if (spins % 4096 == 0) std::this_thread::yield();
    }
  }

 private:
  std::atomic<std::size_t> arrived_{0};
};

struct Race {
  EndpointSlots slots{8};
  RestlessDecider decider{slots};
  flow::FlowTable flows{{.capacity = 2 * kConnections, .key = {1, 2}, .timeouts = {}}};
  flow::PortPool ports{{.assignable = {}, .node_ports = {}}};
  flow::FragmentTable fragments{{}};
  EndpointLoad load{2, 8};
  Counters counters[2];
  node::NodeView node;
  Pipeline pipeline{{}, decider, flows, ports, fragments};
  Gate gate;
  std::vector<test::Bytes> packets[2];

  explicit Race(net::Protocol protocol) {
    for (std::uint32_t id = 1; id <= 4; ++id) slots.set({id, 1}, EndpointSlots::ready | EndpointSlots::serving);
    for (std::size_t i = 0; i < kConnections; ++i) {
      const auto port = static_cast<std::uint16_t>(10000 + i);
      test::PacketBuilder builder = test::PacketBuilder().v4("198.51.100.7", "10.96.0.1").flags("S");
      protocol == net::Protocol::tcp ? builder.tcp(port, 80) : builder.udp(port, 80);
      for (auto& copies : packets) copies.push_back(builder.build());
    }
  }
  void work(std::size_t worker) {
    WorkerContext context{pick::Rng(worker + 1), counters[worker], load.shard(worker)};
    for (std::size_t i = 0; i < kConnections; ++i) {
      gate.pass(i);
      pipeline.process({.bytes = packets[worker][i], .hook = Hook::prerouting}, node, kNow, context);
    }
  }
  std::uint64_t count(Counter counter) const { return counters[0][counter] + counters[1][counter]; }
};

class CreationRace : public testing::TestWithParam<net::Protocol> {};
INSTANTIATE_TEST_SUITE_P(Protocols, CreationRace, testing::Values(net::Protocol::tcp, net::Protocol::udp));

TEST_P(CreationRace, OneDecisionAConnectionAndBothPacketsFollowIt) {
  Race race(GetParam());
  std::thread other([&] { race.work(1); });
  race.work(0);
  other.join();

  EXPECT_EQ(race.decider.decisions, kConnections);
  EXPECT_EQ(race.flows.size(), kConnections);
  EXPECT_EQ(race.count(Counter::new_flows), kConnections);
  EXPECT_EQ(race.count(Counter::rewritten), 2 * kConnections);
  for (std::size_t i = 0; i < kConnections; ++i) {
    ASSERT_EQ(race.packets[0][i], race.packets[1][i]) << "connection " << i;
    ASSERT_TRUE(test::checksums_ok(race.packets[0][i])) << "connection " << i;
  }
  std::uint64_t opened = 0;
  for (std::uint32_t slot = 1; slot <= 4; ++slot) opened += race.load.count(FlowEvent::opened, slot);
  EXPECT_EQ(opened, kConnections);
}

}  // namespace
}  // namespace limpet::datapath
