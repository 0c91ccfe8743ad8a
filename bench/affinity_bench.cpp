// affinity_bench: get_or_assign, ours beside the maps that one would take off the shelf.
//
//   get_or_assign/STORE/CLIENTS/MIX/ENTRIES/threads:N
//
//   STORE     ours      AffinityTable
//             tbb       TbbAffinityTable: oneTBB concurrent_hash_map, nodes and keys on huge pages
//             cuckoo    libcuckoo::cuckoohash_map          } entries with a stamp that is compared and renewed;
//             striped   std::unordered_map × 1,024 stripes  } at capacity the oldest assignment goes (a ring of keys)
//   CLIENTS   uniform | zipf (exponent .99) | one
//   MIX       reads     clients that are remembered
//             mixed     nine of ten remembered, one new
//             churn     new ones: each pushes somebody out
//
// All hash with SipHash-1-3 under one key and judge age by the same scope policy. Tables are full, and all their
// clients confirmed, before the clock starts, and made anew when a twentieth of them has been pushed out. Draws are made
// beforehand. Beside operations a second: the 99th percentile of every 64th operation, timed alone (thread 0); bytes an
// entry, from the growth of the process while the table was filled; evictions in the run. IPv4. one_miss is the floor.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>
#include <libcuckoo/cuckoohash_map.hh>
#include <malloc.h>
#include <unistd.h>

#include "conntrack/store/huge_page_allocator.h"
#include "conntrack/store/spinlock.h"
#include "conntrack/store/zeroed_memory.h"
#include "lb/affinity/affinity_table.h"
#include "lb/affinity/tbb_affinity_table.h"

namespace limpet::bench {
namespace {

using affinity::AffinityOptions;
using affinity::Assignment;
using affinity::Instant;
using affinity::Key;
using affinity::Outcome;

constexpr store::HashKey kSecret{0x0706050403020100, 0x0f0e0d0c0b0a0908};
constexpr std::uint32_t kScope = 1;
constexpr std::uint32_t kNewcomers = 1U << 28;  // clients from here on were never seen before
constexpr Instant kNow{affinity::Milliseconds(1'000'000)};

/// As a packet brings it.
Key client(std::uint32_t n) {
  return {kScope, net::Address::from_wire(net::Family::v4, reinterpret_cast<const std::byte*>(&n))};
}

// ---- the other maps

struct Entry {
  std::uint32_t endpoint = 0;
  Instant stamp{};
};
struct KeyHash {
  std::size_t operator()(const Key& key) const noexcept { return affinity::hash(kSecret, key); }
};

/// What is done with a known entry, locked: the same judgement as everywhere.
template <typename Selectable, typename Pick>
Assignment judge(Entry& entry, affinity::ScopePolicies::Packed policy, Instant now, Selectable&& selectable,
                 Pick&& pick) {
  const bool in_time = policy.in_time(static_cast<std::uint32_t>((now - entry.stamp).count()));
  const Outcome outcome = !in_time ? Outcome::expired : selectable(entry.endpoint) ? Outcome::hit : Outcome::moved;
  if (outcome != Outcome::hit) entry.endpoint = pick();
  entry.stamp = now;
  return {entry.endpoint, outcome};
}

/// Who came first goes first.
class Ring {
 public:
  explicit Ring(std::uint32_t capacity) : capacity_(capacity) { keys_.reserve(capacity); }
  /// True if `out` has to make room.
  bool add(const Key& key, Key& out) {
    const std::lock_guard lock(lock_);
    if (keys_.size() < capacity_) return keys_.push_back(key), false;
    out = keys_[hand_];
    keys_[hand_] = key;
    hand_ = (hand_ + 1) % capacity_;
    ++evicted_;
    return true;
  }
  std::uint64_t evicted() const noexcept { return evicted_; }

 private:
  store::SpinLock lock_;
  std::vector<Key, store::HugePageAllocator<Key>> keys_;
  std::size_t capacity_;
  std::size_t hand_ = 0;
  std::uint64_t evicted_ = 0;
};

class CuckooStore {
 public:
  explicit CuckooStore(const AffinityOptions& options) : map_(options.capacity_v4), ring_(options.capacity_v4) {}
  void set_scope(std::uint32_t scope, affinity::ScopePolicy policy) { policies_.set(scope, policy); }
  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, Instant now, Selectable&& selectable, Pick&& pick) {
    const auto policy = policies_.get(key.scope);
    const Entry fresh{pick(), now};  // it is asked for before it is known whether it is needed
    Assignment result{fresh.endpoint, Outcome::miss};
    map_.upsert(
        key, [&](Entry& entry) { result = judge(entry, policy, now, selectable, pick); }, fresh);
    if (Key out; result.outcome == Outcome::miss && ring_.add(key, out)) map_.erase(out);
    return result;
  }
  void confirm(const Key&, std::uint32_t, Instant) {}
  std::uint64_t evicted() const { return ring_.evicted(); }

 private:
  using Pair = std::pair<const Key, Entry>;
  affinity::ScopePolicies policies_;
  libcuckoo::cuckoohash_map<Key, Entry, KeyHash, std::equal_to<Key>, store::HugePageAllocator<Pair>> map_;
  Ring ring_;
};

class StripedStore {
 public:
  explicit StripedStore(const AffinityOptions& options) : stripes_(kStripes), ring_(options.capacity_v4) {
    for (Stripe& stripe : stripes_) stripe.map.reserve(options.capacity_v4 / kStripes);
  }
  void set_scope(std::uint32_t scope, affinity::ScopePolicy policy) { policies_.set(scope, policy); }
  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, Instant now, Selectable&& selectable, Pick&& pick) {
    Assignment result;
    {
      const Hashed hashed{key, affinity::hash(kSecret, key)};
      Stripe& stripe = stripe_of(hashed);
      const std::lock_guard lock(stripe.lock);
      const auto [at, created] = stripe.map.try_emplace(hashed);
      if (created) at->second = {pick(), now};
      result = created ? Assignment{at->second.endpoint, Outcome::miss}
                       : judge(at->second, policies_.get(key.scope), now, selectable, pick);
    }
    if (Key out; result.outcome == Outcome::miss && ring_.add(key, out)) {
      const Hashed hashed{out, affinity::hash(kSecret, out)};
      Stripe& stripe = stripe_of(hashed);
      const std::lock_guard lock(stripe.lock);
      stripe.map.erase(hashed);
    }
    return result;
  }
  void confirm(const Key&, std::uint32_t, Instant) {}
  std::uint64_t evicted() const { return ring_.evicted(); }

 private:
  static constexpr std::size_t kStripes = 1024;
  /// The stripe and the place in it come from one hash.
  struct Hashed {
    Key key;
    std::uint64_t hash;
    bool operator==(const Hashed& other) const noexcept { return key == other.key; }
  };
  struct Hash {
    std::size_t operator()(const Hashed& hashed) const noexcept { return hashed.hash; }
  };
  struct alignas(64) Stripe {
    store::SpinLock lock;
    std::unordered_map<Hashed, Entry, Hash> map;
  };
  Stripe& stripe_of(const Hashed& hashed) { return stripes_[hashed.hash >> 54]; }

  affinity::ScopePolicies policies_;
  std::vector<Stripe> stripes_;
  Ring ring_;
};

template <typename Store>
std::uint64_t evictions(const Store& store) {
  if constexpr (requires { store.evicted(); }) {
    return store.evicted();
  } else {
    const affinity::AffinityCounts counts = store.counts();
    return counts.evicted_expired + counts.evicted_provisional + counts.evicted_confirmed;
  }
}

// ---- what is drawn

enum class Clients { uniform, zipf, one };
enum class Mix { reads, mixed, churn };

/// Client numbers for one run, fewer than the entries are many but far more than a cache holds.
class Draws {
 public:
  static constexpr std::size_t kCount = std::size_t{1} << 22;

  Draws(Clients clients, std::uint32_t entries) : numbers_(kCount) {
    std::mt19937_64 random(1);
    std::uniform_int_distribution<std::uint32_t> uniform(0, entries - 1);
    const Zipf zipf(entries);
    for (std::uint32_t& number : numbers_) {
      number = clients == Clients::one ? 0 : clients == Clients::uniform ? uniform(random) : zipf.draw(random);
    }
  }
  std::uint32_t operator[](std::size_t i) const noexcept { return numbers_[i % kCount]; }

 private:
  /// Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994); ranks are scattered over the
  /// clients, so that the popular ones are no neighbours.
  class Zipf {
   public:
    explicit Zipf(std::uint32_t n) : n_(n) {
      for (std::uint32_t i = 1; i <= n; ++i) zeta_ += 1 / std::pow(i, kExponent);
      const double zeta2 = 1 + 1 / std::pow(2, kExponent);
      eta_ = (1 - std::pow(2.0 / n, 1 - kExponent)) / (1 - zeta2 / zeta_);
    }
    std::uint32_t draw(std::mt19937_64& random) const {
      const double u = std::generate_canonical<double, 53>(random);
      const double uz = u * zeta_;
      std::uint32_t rank = 0;
      if (uz >= 1) rank = 1;
      if (uz >= 1 + std::pow(0.5, kExponent)) {
        rank = static_cast<std::uint32_t>(n_ * std::pow(eta_ * u - eta_ + 1, 1 / (1 - kExponent)));
      }
      return static_cast<std::uint32_t>(std::uint64_t{std::min(rank, n_ - 1)} * 2'654'435'761 % n_);
    }

   private:
    static constexpr double kExponent = 0.99;
    std::uint32_t n_;
    double zeta_ = 0;
    double eta_ = 0;
  };

  std::vector<std::uint32_t> numbers_;
};

// ---- the runs

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// A full table of confirmed clients.
template <typename Store>
struct Full {
  explicit Full(std::uint32_t count)
      : entries(count), before(resident_bytes()), store({.capacity_v4 = count, .key = kSecret, .workers = 4}) {
    store.set_scope(kScope, {});
    for (std::uint32_t n = 0; n < entries; ++n) {
      store.get_or_assign(
          client(n), kNow, [](std::uint32_t) { return true; }, [n] { return n; });
      store.confirm(client(n), n, kNow);
    }
    bytes_an_entry = (resident_bytes() - before) / entries;
  }
  /// The last one, while most of its first clients are there, or do not matter.
  static Full& of(std::uint32_t entries, Mix mix) {
    static std::unique_ptr<Full> kept;
    if (!kept || kept->entries != entries || (mix != Mix::churn && evictions(kept->store) > entries / 20)) {
      kept.reset();
      ::malloc_trim(0);
      kept = std::make_unique<Full>(entries);
    }
    return *kept;
  }

  std::uint32_t entries;
  double before;
  Store store;
  double bytes_an_entry = 0;
};

/// The 99th percentile of single operations.
class Latency {
 public:
  Latency() { samples_.reserve(kMost); }
  template <typename Work>
  void time(Work&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    if (samples_.size() < kMost) samples_.push_back((std::chrono::steady_clock::now() - start).count());
  }
  double p99() {
    if (samples_.empty()) return 0;
    const auto at = samples_.begin() + static_cast<std::ptrdiff_t>(samples_.size() * 99 / 100);
    std::nth_element(samples_.begin(), at, samples_.end());
    return static_cast<double>(*at);
  }

 private:
  static constexpr std::size_t kMost = 1U << 20;
  std::vector<std::int64_t> samples_;
};

template <typename Store>
struct Run {
  std::uint32_t entries;
  Clients clients;
  Mix mix;

  /// What the threads of a run share; the first one makes it before they start.
  struct Shared {
    Full<Store>* full = nullptr;
    std::unique_ptr<Draws> draws;
    std::uint32_t drawn_entries = 0;
    Clients drawn_clients{};
    std::uint32_t newcomers = 0;  // that there have been
  };
  static inline Shared shared;

  void prepare() const {
    shared.full = &Full<Store>::of(entries, mix);
    if (shared.draws && shared.drawn_entries == entries && shared.drawn_clients == clients) return;
    shared.draws = std::make_unique<Draws>(clients, entries);
    shared.drawn_entries = entries, shared.drawn_clients = clients;
  }
  void operator()(benchmark::State& state) const {
    const bool first = state.thread_index() == 0;
    if (first) prepare();
    const std::uint64_t evicted_before = first ? evictions(shared.full->store) : 0;
    Latency latency;
    const auto thread = static_cast<std::uint32_t>(state.thread_index());
    std::size_t i = thread * (Draws::kCount / 4);
    std::uint32_t newcomer = 0;
    const auto one = [&] {
      const bool is_new = mix == Mix::churn || (mix == Mix::mixed && i % 10 == 9);
      const Key key = client(is_new ? kNewcomers + (thread << 26) + (shared.newcomers + newcomer++) % (1U << 26)
                                    : (*shared.draws)[i]);
      ++i;
      benchmark::DoNotOptimize(shared.full->store.get_or_assign(
          key, kNow, [](std::uint32_t) { return true; }, [&] { return newcomer; }));
    };
    for (auto _ : state) {
      if (first && i % 64 == 0) {
        latency.time(one);
      } else {
        one();
      }
    }
    state.SetItemsProcessed(state.iterations());
    if (!first) return;
    shared.newcomers += newcomer;
    state.counters["p99_ns"] = latency.p99();
    state.counters["bytes_an_entry"] = shared.full->bytes_an_entry;
    state.counters["evictions"] = static_cast<double>(evictions(shared.full->store) - evicted_before);
  }
};

/// What nothing that keeps 10^7 entries of 16 bytes can be faster than: one load whose address is not known before the
/// last one has arrived, anywhere in as much memory, on huge pages.
void one_miss(benchmark::State& state) {
  constexpr std::size_t kLines = (std::size_t{258} << 20) / 64;
  const store::ZeroedMemory memory(kLines * 64);
  const auto* const words = reinterpret_cast<const std::uint64_t*>(memory.data());
  std::uint64_t x = 1;
  for (auto _ : state) {
    x = x * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
    x += words[(x >> 33) % kLines * 8];  // adds 0
  }
  benchmark::DoNotOptimize(x);
}
BENCHMARK(one_miss);

template <typename Store>
void add(const std::string& store) {
  for (const std::uint32_t entries : {100'000u, 10'000'000u}) {
    for (const auto& [mix, mix_name] : {std::pair{Mix::reads, "reads"}, {Mix::mixed, "mixed"}, {Mix::churn, "churn"}}) {
      for (const auto& [clients, clients_name] :
           {std::pair{Clients::uniform, "uniform"}, {Clients::zipf, "zipf"}, {Clients::one, "one"}}) {
        const Run<Store> run{.entries = entries, .clients = clients, .mix = mix};
        const std::string name =
            "get_or_assign/" + store + "/" + clients_name + "/" + mix_name + "/" + std::to_string(entries);
        benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Threads(1)->Threads(2)->Threads(4);
      }
    }
  }
}

}  // namespace
}  // namespace limpet::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  limpet::bench::add<limpet::affinity::AffinityTable>("ours");
  limpet::bench::add<limpet::affinity::TbbAffinityTable>("tbb");
  limpet::bench::add<limpet::bench::CuckooStore>("cuckoo");
  limpet::bench::add<limpet::bench::StripedStore>("striped");
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
