// What one decision costs by an iptables program of kube-proxy's form, rule by rule and compiled.
//
//   bench_rules [--benchmark_filter=new/]
//
//   new     a client that no list knows: all lists are asked, a choice is made and remembered; clients are never repeated
//   known   one of 64 clients, each known to one list
//
// Hot set: one service with affinity among 20, whose choices fall on the same four endpoints (random numbers are repeated
// after four decisions), so that what is measured is work, not the cache misses of more endpoints. `spread` draws anew
// each time: every endpoint's chain and list is visited.
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <benchmark/benchmark.h>

#include "lb/rules/program.h"
#include "lb/rules/ruleset_text.h"
#include "tests/support/kube_rules.h"

namespace limpet::rules {
namespace {

constexpr std::uint64_t kHot = 4;     // draws
constexpr std::uint64_t kKnown = 64;  // clients
constexpr int kServices = 20;

node::NodeView small_node() {
  return {{{.interface = 2, .address = *net::Address::parse("10.128.0.5"), .prefix_length = 24}},
          {{.destination = *net::Prefix::parse("0.0.0.0/0"),
            .interface = 2,
            .gateway = *net::Address::parse("10.128.0.1")}},
          {{2, "eth0"}}};
}

struct World {
  World(int endpoints, bool compiled)
      : node(small_node()), slots(1), program(slots, load(endpoints, compiled), memory) {}

  datapath::Decision decide(std::uint32_t client, std::uint64_t seed) {
    pick::Rng rng(seed);
    return program.decide({.tuple = {net::Protocol::tcp,
                                     {net::Address::from_v4(0xcb000000 + client), 40000},
                                     {*net::Address::parse("10.96.0.1"), 80}},
                           .in_interface = 2,
                           .ttl = 64},
                          node, flow::Instant(std::chrono::hours(24)), rng);
  }

  RuleMemory memory{affinity::RecentOptions{}, NthOnReload::reset};
  node::NodeView node;
  datapath::EndpointSlots slots;
  Program program;

 private:
  LinkedRuleset load(int endpoints, bool compiled) {
    std::string text = limpet::test::kube_rules(kServices, 2);
    text.replace(text.find(limpet::test::kube_service_rules(0, 2, 10800)),
                 limpet::test::kube_service_rules(0, 2, 10800).size(),
                 limpet::test::kube_service_rules(0, endpoints, 10800));
    ReadRuleset read = parse_ruleset(text);
    if (!read.errors.empty()) throw std::runtime_error(store::to_string(read.errors.front()));
    return link(std::move(read.rules), memory, {.compiled = compiled});
  }
};

void arguments(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"endpoints", "compiled"})->ArgsProduct({{4, 64, 512, 4096}, {0, 1}});
}

void decide_new(benchmark::State& state, std::uint64_t seeds) {
  World world(static_cast<int>(state.range(0)), state.range(1) != 0);
  std::uint32_t client = 0;
  std::uint64_t draw = 0;
  for (auto _ : state) {
    const auto decision = world.decide(client++, draw++ % seeds);
    if (decision.affinity != datapath::AffinityOutcome::miss) state.SkipWithError("the client was known");
  }
}

void new_client(benchmark::State& state) {
  decide_new(state, kHot);
}
BENCHMARK(new_client)->Name("new")->Apply(arguments);

void new_client_spread(benchmark::State& state) {
  decide_new(state, ~std::uint64_t{0});
}
BENCHMARK(new_client_spread)->Name("new_spread")->Apply(arguments);

void known_client(benchmark::State& state) {
  World world(static_cast<int>(state.range(0)), state.range(1) != 0);
  for (std::uint32_t i = 0; i < kKnown; ++i) world.decide(i, i % kHot);
  std::uint32_t client = 0;
  for (auto _ : state) {
    const auto decision = world.decide(client++ % kKnown, 1);
    if (decision.affinity != datapath::AffinityOutcome::hit) state.SkipWithError("the client was not known");
  }
}
BENCHMARK(known_client)->Name("known")->Apply(arguments);

}  // namespace
}  // namespace limpet::rules

BENCHMARK_MAIN();
