// pipeline_bench: what one packet costs, without I/O, step by step and as a whole.
//
// Everything is prepared outside the timed loop. A packet is rewritten in place, so where the loop rewrites, it works
// on a copy of the 40 bytes made inside the loop (about 1 ns). Flows and clients take turns in order: the processor's
// prefetcher helps with the packets, not with the tables, which are hashed.
#include <array>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/world.h"
#include "conntrack/net/checksum.h"
#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"
#include "lb/pick/alias.h"

namespace limpet::bench {
namespace {

using Scratch = std::array<std::byte, Packets::kSize>;

/// `packet` again, untouched, in `scratch`.
std::span<std::byte> copy(std::span<const std::byte> packet, Scratch& scratch) {
  std::memcpy(scratch.data(), packet.data(), scratch.size());
  return scratch;
}

net::PacketView parsed(std::span<std::byte> packet) {
  net::PacketView view;
  if (net::parse(packet, view) != net::ParseError::none)
    throw std::logic_error("the benchmark's packet does not parse");
  return view;
}

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

void Parse(benchmark::State& state) {
  Packets packets(1000);
  std::size_t i = 0;
  for (auto _ : state) {
    net::PacketView view;
    benchmark::DoNotOptimize(net::parse(packets[i], view));
    benchmark::DoNotOptimize(view);
    if (++i == packets.size()) i = 0;
  }
}
BENCHMARK(Parse);

/// Both addresses and ports, there and back again by turns.
void RewriteIncremental(benchmark::State& state) {
  Packets packets(1);
  net::PacketView view = parsed(packets[0]);
  const net::AddressPort one{net::Address::from_v4(0x0a020001), 8080};
  const net::AddressPort other{net::Address::from_v4(0x0a600001), 80};
  bool there = true;
  for (auto _ : state) {
    net::rewrite(view, {view.tuple.source, there ? one : other}, net::ChecksumMode::incremental);
    there = !there;
    benchmark::ClobberMemory();
  }
}
BENCHMARK(RewriteIncremental);

void Sum(benchmark::State& state) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{0x5a});
  for (auto _ : state) {
    benchmark::DoNotOptimize(net::sum(bytes));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Sum)->ArgName("bytes")->Arg(40)->Arg(1500)->Arg(65000);

void AliasPick(benchmark::State& state) {
  std::vector<std::uint32_t> weights(static_cast<std::size_t>(state.range(0)));
  std::iota(weights.begin(), weights.end(), 1U);
  const pick::AliasTable table = pick::AliasTable::build(weights);
  pick::Rng rng(1);
  for (auto _ : state) benchmark::DoNotOptimize(table.pick(rng));
}
BENCHMARK(AliasPick)->ArgName("endpoints")->Arg(4)->Arg(10'000);

/// One packet of each client has passed: every flow stands.
void establish(World& world, Packets& packets) {
  Scratch scratch;
  for (std::size_t i = 0; i < packets.size(); ++i) {
    require(world.process(copy(packets[i], scratch)).rewritten, "a request was not translated");
  }
}

void FlowLookup(benchmark::State& state) {
  Packets packets(static_cast<std::size_t>(state.range(0)));
  World world(4, static_cast<std::uint32_t>(packets.size()));
  establish(world, packets);
  std::vector<net::Tuple> tuples;
  for (std::size_t i = 0; i < packets.size(); ++i) tuples.push_back(parsed(packets[i]).tuple);
  std::size_t i = 0;
  for (auto _ : state) {
    const flow::LockedFlow flow = world.flows().find(tuples[i]);
    benchmark::DoNotOptimize(static_cast<bool>(flow));
    if (++i == tuples.size()) i = 0;
  }
}
BENCHMARK(FlowLookup)->ArgName("flows")->Arg(1)->Arg(1000)->Arg(100'000);

void KnownFlow(benchmark::State& state) {
  Packets packets(static_cast<std::size_t>(state.range(0)));
  World world(4, static_cast<std::uint32_t>(packets.size()));
  establish(world, packets);
  Scratch scratch;
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.process(copy(packets[i], scratch)));
    if (++i == packets.size()) i = 0;
  }
  state.SetLabel("bar 150 ns, aim 80 ns at 1,000 flows");
}
BENCHMARK(KnownFlow)->ArgName("flows")->Arg(1)->Arg(1000)->Arg(100'000);

/// The first packet of a client never seen before: flow and affinity are made.
void NewFlow(benchmark::State& state) {
  constexpr std::size_t kClients = 500'000;
  Packets packets(kClients);
  World world(static_cast<std::uint32_t>(state.range(0)), kClients);
  Scratch scratch;
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(world.process(copy(packets[i++], scratch)));
  require(world.flows().size() == i, "not every packet was the first of its flow");
}
BENCHMARK(NewFlow)->ArgName("endpoints")->Arg(4)->Arg(64)->Arg(512)->Iterations(500'000);

/// A new connection of one of 1,000 clients that are remembered: the hot set.
void Decide(benchmark::State& state) {
  Packets packets(1000);
  World world(static_cast<std::uint32_t>(state.range(0)), 1000);
  std::vector<net::Tuple> tuples;
  for (std::size_t i = 0; i < packets.size(); ++i) tuples.push_back(parsed(packets[i]).tuple);
  for (const net::Tuple& tuple : tuples) require(world.decide(tuple).action == datapath::Action::dnat, "not balanced");
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.decide(tuples[i]));
    if (++i == tuples.size()) i = 0;
  }
  state.SetLabel("bar: 10,000 endpoints at most 1.3 x 4 endpoints");
}
BENCHMARK(Decide)->ArgName("endpoints")->Arg(4)->Arg(10'000);

}  // namespace
}  // namespace limpet::bench

BENCHMARK_MAIN();
