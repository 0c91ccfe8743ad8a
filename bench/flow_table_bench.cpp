// flow_table_bench: what it costs to find a flow, to make one and to end it, beside what libraries offer.
//
//   limpet       flow::FlowTable: chains inside the records, a lock and a head in one word
//   oneTBB       tbb::concurrent_hash_map       ┐ pair of ends → number of a record, in place of FlowTable's index.
//   libcuckoo    libcuckoo::cuckoohash_map      ├ Same records, same record locks, same SipHash-1-3, two keys a flow;
//   striped      std::unordered_map, 1,024 of   ┘ none has the generations that let a record be reused safely
//                them, each with a mutex
//
// A packet of a known flow: find it, lock its record, move its deadline, unlock. By turns in bursts of 64, whose
// memory is asked for before (`batch`: limpet only, the others have no such call), and one by one. The packets are drawn
// before the timed loop: uniform, by Zipf's law (exponent 0.99), or all of one flow. `miss` beside it: one dependent load
// from an array of the records' size, the least that a lookup without prefetching can cost. `two misses`: the same of `batch`.
//
//   build/release/bench/bench_flow_table --benchmark_filter=… [--benchmark_repetitions=5 --benchmark_report_aggregates_only=true]
//
// ns of a row is wall-clock time of one thread's packet; p99 is of single packets, timed one by one apart from the loop,
// the clock's own 20 ns or so included; B/flow is what table and index take.
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <malloc.h>

#include "bench/flow_indexes.h"
#include "conntrack/flow/flow_table.h"

namespace limpet::bench {
namespace {

constexpr std::size_t kBurst = 64;
constexpr std::size_t kPackets = std::size_t{1} << 20;  // drawn before, taken in order
const flow::Instant kNow{flow::Seconds{1000}};

std::shared_ptr<void>& kept_table() {
  static std::shared_ptr<void> table;
  return table;
}

enum Draw : std::int64_t { kUniform, kZipf, kOneKey };

/// Numbers of flows below `flows`.
std::vector<std::uint32_t> draw_numbers(Draw kind, std::size_t flows, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> numbers(kPackets);
  if (kind == kOneKey) return numbers;
  if (kind == kUniform) {
    for (auto& n : numbers) n = static_cast<std::uint32_t>(random() % flows);
    return numbers;
  }
  // By the inverse of the cumulative distribution; ranks are spread over the flows, as popularity is.
  std::vector<double> cumulative(flows);
  double sum = 0;
  for (std::size_t rank = 0; rank < flows; ++rank) cumulative[rank] = sum += 1 / std::pow(double(rank + 1), 0.99);
  std::vector<std::uint32_t> flow_of(flows);
  std::iota(flow_of.begin(), flow_of.end(), 0u);
  std::shuffle(flow_of.begin(), flow_of.end(), random);
  for (auto& n : numbers) {
    const double u = std::uniform_real_distribution<>(0, sum)(random);
    const auto rank = std::lower_bound(cumulative.begin(), cumulative.end(), u) - cumulative.begin();
    n = flow_of[std::min<std::size_t>(static_cast<std::size_t>(rank), flows - 1)];
  }
  return numbers;
}

/// Packets of them.
std::vector<net::Tuple> draw(Draw kind, std::size_t flows, std::uint64_t seed) {
  std::vector<net::Tuple> packets;
  packets.reserve(kPackets);
  for (const std::uint32_t n : draw_numbers(kind, flows, seed)) packets.push_back(outer_of(n));
  return packets;
}

/// A table with this many flows, kept from one row to the next, as making ten million takes a while; one at a time.
template <typename Table>
Table& filled(std::uint32_t flows) {
  static std::uint32_t of = 0;
  static std::weak_ptr<void> mine;
  std::shared_ptr<void>& held = kept_table();
  if (of != flows || mine.expired()) {
    held.reset();
    const auto table = std::make_shared<Table>(flows + 1024);  // room for the flows of Churn
    for (std::uint32_t i = 0; i < flows; ++i) table->add(i);
    held = table;
    mine = held;
    of = flows;
  }
  return *static_cast<Table*>(held.get());
}

template <typename Table>
double p99(Table& table, const std::vector<net::Tuple>& packets) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> ns;
  for (std::size_t i = 0; i < 100'000; ++i) {
    const net::Tuple& tuple = packets[i];
    const auto before = Clock::now();
    table.touch(tuple, kNow);
    ns.push_back(std::chrono::duration<double, std::nano>(Clock::now() - before).count());
  }
  std::ranges::nth_element(ns, ns.begin() + static_cast<std::ptrdiff_t>(ns.size() * 99 / 100));
  return ns[ns.size() * 99 / 100];
}

template <typename Table>
void report(benchmark::State& state, Table& table, std::uint32_t flows) {
  state.counters["B/flow"] =
      benchmark::Counter(static_cast<double>(table.bytes()) / flows, benchmark::Counter::kAvgThreads);
}

/// Arguments: flows, draw.
template <typename Table>
void OneByOne(benchmark::State& state) {
  static Table* table;
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  if (state.thread_index() == 0) table = &filled<Table>(flows);
  const auto packets =
      draw(static_cast<Draw>(state.range(1)), flows, 1 + static_cast<std::uint64_t>(state.thread_index()));
  std::size_t at = 0;
  for (auto _ : state) {
    if (!table->touch(packets[at], kNow)) state.SkipWithError("a known flow was not found");
    at = (at + 1) % kPackets;
  }
  report(state, *table, flows);
  if (state.thread_index() == 0) state.counters["p99_ns"] = p99(*table, packets);
}

/// FlowTable's bursts: time of one packet.
void Batch(benchmark::State& state) {
  static LimpetFlows* table;
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  if (state.thread_index() == 0) table = &filled<LimpetFlows>(flows);
  const auto packets =
      draw(static_cast<Draw>(state.range(1)), flows, 1 + static_cast<std::uint64_t>(state.thread_index()));
  std::array<std::uint64_t, kBurst> asked;
  std::size_t at = 0;
  while (state.KeepRunningBatch(kBurst)) {
    const net::Tuple* const burst = &packets[at];
    for (std::size_t i = 0; i < kBurst; ++i) asked[i] = table->prefetch(burst[i]);
    for (std::size_t i = 0; i < kBurst; ++i) table->prefetch_links(asked[i]);
    for (std::size_t i = 0; i < kBurst; ++i) table->prefetch_flow(asked[i]);
    for (std::size_t i = 0; i < kBurst; ++i) {
      if (!table->touch(burst[i], kNow, asked[i])) state.SkipWithError("a known flow was not found");
    }
    at = (at + kBurst) % kPackets;
  }
  report(state, *table, flows);
  state.SetLabel("bar: 80 ns at 1,000,000 flows, uniform, one thread");
}

/// A connection comes and goes beside so many: created, its middle pair linked, removed.
template <typename Table>
void Churn(benchmark::State& state) {
  static Table* table;
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  if (state.thread_index() == 0) table = &filled<Table>(flows);
  const auto first = static_cast<std::uint32_t>(0x40000000 + state.thread_index() * 0x1000000);
  std::uint32_t next = 0;
  for (auto _ : state) {
    table->add(first + next);
    table->end(first + next);
    next = (next + 1) % 0x1000000;
  }
}

/// One miss: a walk through all lines of an array as large as the records, each naming the next.
void Miss(benchmark::State& state) {
  struct alignas(64) Line {
    std::uint32_t next;
  };
  const auto lines = static_cast<std::uint32_t>(state.range(0)) * 3;
  store::ZeroedMemory memory(sizeof(Line) * lines);
  auto* const line = reinterpret_cast<Line*>(memory.data());
  std::vector<std::uint32_t> order(lines);
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937_64 random(1);
  for (std::uint32_t i = lines - 1; i > 0; --i) std::swap(order[i], order[random() % i]);  // Sattolo: one cycle
  for (std::uint32_t i = 0; i < lines; ++i) line[i].next = order[i];
  std::uint32_t at = 0;
  for (auto _ : state) benchmark::DoNotOptimize(at = line[at].next);
}

/// What a burst of packets costs if it does nothing but miss twice each, as in `batch`: a line of an array as large as the
/// index names a line of one as large as the records. Both are asked for before, in rounds of 64.
void TwoMisses(benchmark::State& state) {
  struct alignas(alignof(flow::Flow)) Record {
    std::uint32_t value;
    std::byte rest[sizeof(flow::Flow) - sizeof(std::uint32_t)];
  };
  const auto flows = static_cast<std::uint32_t>(state.range(0));
  const std::uint32_t buckets = std::bit_ceil(flows * static_cast<std::uint32_t>(flow::kKeyRoles));
  store::ZeroedMemory index_memory(sizeof(std::uint32_t) * buckets), record_memory(sizeof(Record) * flows);
  auto* const index = reinterpret_cast<std::uint32_t*>(index_memory.data());
  const auto* const records = reinterpret_cast<const Record*>(record_memory.data());
  std::mt19937_64 random(1);
  for (std::uint32_t i = 0; i < buckets; ++i) index[i] = static_cast<std::uint32_t>(random() % flows);
  std::vector<std::uint32_t> packets(kPackets);
  for (auto& packet : packets) packet = static_cast<std::uint32_t>(random() % buckets);
  std::size_t at = 0;
  while (state.KeepRunningBatch(kBurst)) {
    const std::uint32_t* const burst = &packets[at];
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < kBurst; ++i) __builtin_prefetch(&index[burst[i]]);
    for (std::size_t i = 0; i < kBurst; ++i) __builtin_prefetch(&records[index[burst[i]]], 1);
    for (std::size_t i = 0; i < kBurst; ++i) sum += records[index[burst[i]]].value;
    benchmark::DoNotOptimize(sum);
    at = (at + kBurst) % kPackets;
  }
}

const std::vector<std::int64_t> kFlows{100'000, 1'000'000, 10'000'000};

void sizes(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t flows : kFlows) {
    for (const std::int64_t kind : {kUniform, kZipf, kOneKey}) bench->Args({flows, kind});
  }
  bench->ArgNames({"flows", "draw"})->ThreadRange(1, 4)->UseRealTime();
}
void churn_sizes(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t flows : kFlows) bench->Arg(flows);
  bench->ArgName("flows")->ThreadRange(1, 4)->UseRealTime();
}

BENCHMARK(Miss)->ArgName("flows")->Arg(100'000)->Arg(1'000'000)->Arg(10'000'000);
BENCHMARK(TwoMisses)->ArgName("flows")->Arg(100'000)->Arg(1'000'000)->Arg(10'000'000);
BENCHMARK(Batch)->Apply(sizes);
BENCHMARK(OneByOne<LimpetFlows>)->Apply(sizes);
BENCHMARK(OneByOne<TbbFlows>)->Apply(sizes);
BENCHMARK(OneByOne<CuckooFlows>)->Apply(sizes);
BENCHMARK(OneByOne<StripedFlows>)->Apply(sizes);
BENCHMARK(Churn<LimpetFlows>)->Apply(churn_sizes);
BENCHMARK(Churn<TbbFlows>)->Apply(churn_sizes);
BENCHMARK(Churn<CuckooFlows>)->Apply(churn_sizes);
BENCHMARK(Churn<StripedFlows>)->Apply(churn_sizes);

}  // namespace
}  // namespace limpet::bench

BENCHMARK_MAIN();
