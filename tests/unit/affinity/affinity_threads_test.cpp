// Several threads at once: one endpoint for one client, whoever asks and whatever is loaded meanwhile.
#include <array>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/affinity/store_fixture.h"

namespace limpet::affinity {
namespace {

/// `work(thread)` in four threads that begin together.
template <typename Work>
void in_threads(Work&& work) {
  constexpr unsigned kThreads = 4;
  std::atomic<unsigned> ready{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      ++ready;
      while (ready < kThreads) std::this_thread::yield();
      work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

template <AffinityStore Store>
class AffinityThreads : public Affinity<Store> {};
TYPED_TEST_SUITE(AffinityThreads, Stores, StoreNames);

TYPED_TEST(AffinityThreads, ManyThreadsOneEndpointForEachClient) {
  for (const std::uint32_t clients : {1u, 2000u}) {
    SCOPED_TRACE(std::to_string(clients) + " clients");
    const unsigned rounds = 2000 / clients;
    typename TestFixture::Table table(clients);
    std::vector<std::atomic<unsigned>> picked(clients);
    std::array<std::vector<std::uint32_t>, 4> got;
    std::atomic<unsigned> misses{0};
    in_threads([&](unsigned thread) {
      for (std::uint32_t i = 0; i < clients * rounds; ++i) {
        const std::uint32_t n = i % clients;
        const Assignment assigned = table.get_or_assign(client(n), ms(5), always, [&] {
          ++picked[n];
          return thread + 1;  // who picks can be told
        });
        misses += assigned.outcome == Outcome::miss;
        got[thread].push_back(assigned.endpoint);
        table.confirm(client(n), assigned.endpoint, ms(5));
      }
    });
    for (unsigned thread = 1; thread < 4; ++thread) EXPECT_EQ(got[thread], got[0]);
    for (const std::atomic<unsigned>& count : picked) ASSERT_EQ(count, 1u);
    EXPECT_EQ(misses, clients);
    EXPECT_EQ(table.counts().entries, clients);
  }
}

TYPED_TEST(AffinityThreads, ThreadsAtCapacityKeepItExactAtRest) {
  constexpr unsigned kCapacity = 32;
  typename TestFixture::Table table(kCapacity);
  std::atomic<std::uint64_t> misses{0};
  std::atomic<unsigned> too_many{0};
  in_threads([&](unsigned thread) {
    std::mt19937 random(thread);
    for (std::int64_t step = 0; step < 3000; ++step) {
      const Key key = client(static_cast<std::uint32_t>(random() % 100));
      const Assignment assigned = table.get_or_assign(key, ms(step), always, choose(kA));
      misses += assigned.outcome == Outcome::miss;
      if (table.counts().entries > kCapacity + 4) ++too_many;
    }
  });
  const AffinityCounts counts = table.counts();
  EXPECT_EQ(counts.entries, kCapacity);
  EXPECT_EQ(misses, kCapacity + evicted(counts));
  EXPECT_EQ(too_many, 0u);
}

// Two threads serve the clients that two others load, under another endpoint each: whoever comes first, all four agree.
TEST(AffinityThreads, WhoIsLoadedMeanwhileIsNotMoved) {
  constexpr std::uint32_t kClients = 20'000;
  AffinityTable table({.capacity_v4 = kClients, .key = kSecret});
  std::array<std::vector<std::uint32_t>, 4> got;
  std::atomic<std::uint32_t> taken{0}, missed{0};
  in_threads([&](unsigned thread) {
    for (std::uint32_t n = 0; n < kClients; ++n) {
      if (thread < 2) {
        const Assignment assigned = table.get_or_assign(client(n), ms(5), always, choose(1 + thread));
        missed += assigned.outcome == Outcome::miss;
        got[thread].push_back(assigned.endpoint);
      } else {
        taken += table.put_if_absent(client(n), 1 + thread, ms(0), true, ms(5)) == Put::taken;
        got[thread].push_back(table.find(client(n), ms(5)).value_or(0));
      }
    }
  });
  for (unsigned thread = 1; thread < 4; ++thread) EXPECT_EQ(got[thread], got[0]);
  EXPECT_EQ(taken + missed, kClients) << "one of the four was first";
}

}  // namespace
}  // namespace limpet::affinity
