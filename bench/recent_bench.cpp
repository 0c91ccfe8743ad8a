// recent_bench: one `-m recent` match on a list of ENTRIES entries, each client as likely as any other.
//
//   OPERATION/ENTRIES     rcheck   --rcheck --seconds 10800: known
//                         reap     the same with --reap, as kube-proxy asks
//                         update   --update --seconds 10800: known, dated anew
//                         set      --set: known, dated anew
//                         evict    --set of clients never seen before: each pushes out the longest unused
//
// The list is full and its rings hold one stamp before the clock starts; draws are made beforehand. A lookup costs the
// same at every size, but for the caches that the entries no longer fit into. bytes_an_entry: of the process.
#include <cstdint>
#include <vector>

#include <benchmark/benchmark.h>
#include <malloc.h>

#include "lb/affinity/recent_table.h"
#include "lb/pick/rng.h"

namespace limpet::bench {
namespace {

using affinity::RecentMatch;
using affinity::RecentOperation;
using affinity::RecentPacket;
using affinity::RecentTable;

constexpr std::uint64_t kNow = 4'294'900'000;

RecentPacket from(std::uint32_t client) {
  return {net::Address::from_v4(client), net::Address::from_v4(0x0a1ff063), 64};
}

RecentMatch rule(RecentOperation operation, std::uint32_t seconds, bool reap) {
  RecentMatch match;
  match.operation = operation;
  match.seconds = seconds;
  match.reap = reap;
  return match;
}

double heap_bytes() {
  const auto info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

void run(benchmark::State& state, const RecentMatch& asked, bool newcomers) {
  constexpr std::size_t kDraws = 1 << 16;
  const auto entries = static_cast<std::uint32_t>(state.range(0));
  const double before = heap_bytes();
  RecentTable table({.capacity = entries, .key = {1, 2}}, rule(RecentOperation::set, 0, false));
  for (std::uint32_t i = 0; i < entries; ++i) table.match(rule(RecentOperation::set, 0, false), from(i), kNow);
  state.counters["bytes_an_entry"] = (heap_bytes() - before) / entries;
  pick::Rng rng(20261127);
  std::vector<RecentPacket> draws(kDraws);
  for (RecentPacket& draw : draws) draw = from(static_cast<std::uint32_t>(rng.uniform(entries)));
  std::size_t next = 0;
  std::uint32_t newcomer = 1U << 31;
  for (auto _ : state) {
    const RecentPacket packet = newcomers ? from(newcomer++) : draws[next++ % kDraws];
    benchmark::DoNotOptimize(table.match(asked, packet, kNow + 1));
  }
  state.counters["evicted"] = static_cast<double>(table.counts().evicted);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->Arg(100)->Arg(10'000)->Arg(1'000'000);
}

BENCHMARK_CAPTURE(run, rcheck, rule(RecentOperation::rcheck, 10800, false), false)->Apply(sizes);
BENCHMARK_CAPTURE(run, reap, rule(RecentOperation::rcheck, 10800, true), false)->Apply(sizes);
BENCHMARK_CAPTURE(run, update, rule(RecentOperation::update, 10800, false), false)->Apply(sizes);
BENCHMARK_CAPTURE(run, set, rule(RecentOperation::set, 0, false), false)->Apply(sizes);
BENCHMARK_CAPTURE(run, evict, rule(RecentOperation::set, 0, false), true)->Apply(sizes);

}  // namespace
}  // namespace limpet::bench

BENCHMARK_MAIN();
