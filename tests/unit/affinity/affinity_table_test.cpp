// Client → endpoint: the clock to the millisecond, the window that slides, who is given up at capacity, and one
// endpoint for one client whatever threads ask. Expectations are design.md section 5's.
#include "lb/affinity/affinity_table.h"

#include <array>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::affinity {
namespace {

constexpr store::HashKey kKey{1, 2};
constexpr EndpointId kA{1, 11}, kB{2, 22};
constexpr std::uint32_t kScope = 5;

Key client(std::uint32_t n, std::uint32_t scope = kScope) {
  return {scope, net::Address::from_v4(0x0a000000 + n)};
}
Instant ms(std::int64_t n) {
  return Instant{flow::Milliseconds{n}};
}
constexpr auto always = [](EndpointId) { return true; };
constexpr auto never = [](EndpointId) { return false; };
auto choose(EndpointId endpoint) {
  return [endpoint] { return endpoint; };
}
EndpointId must_not_pick() {
  ADD_FAILURE() << "a remembered endpoint holds: nothing to pick";
  return {};
}

std::string_view word(Outcome outcome) {
  constexpr std::string_view words[] = {"miss", "hit", "expired", "moved"};
  return words[static_cast<unsigned>(outcome)];
}

// ---- the clock

TEST(Affinity, TheBoundaryIsInclusiveToTheMillisecond) {
  struct Row {
    std::string name;
    int timeout;  // seconds
    std::int64_t age;
    std::string_view outcome;
  };
  for (const Row& row : std::vector<Row>{{"at once", 10800, 0, "hit"},
                                         {"T - 1 ms", 10800, 10'799'999, "hit"},
                                         {"T", 10800, 10'800'000, "hit"},
                                         {"T + 1 ms", 10800, 10'800'001, "expired"},
                                         {"the shortest T", 1, 1000, "hit"},
                                         {"the shortest T + 1 ms", 1, 1001, "expired"},
                                         {"the longest of Kubernetes, 86400 s", 86400, 86'400'000, "hit"},
                                         {"24 days", 24 * 86400, 2'073'600'000, "hit"},
                                         {"24 days + 1 ms", 24 * 86400, 2'073'600'001, "expired"},
                                         {"0 is never, after ten years", 0, 315'360'000'000, "hit"}}) {
    SCOPED_TRACE(row.name);
    AffinityTable table(8, kKey);
    const Instant start = ms(123'456);
    const Instant then = start + flow::Milliseconds{row.age};
    table.get_or_assign(client(1), Seconds{row.timeout}, start, always, choose(kA));
    EXPECT_EQ(table.find(client(1), Seconds{row.timeout}, then).has_value(), row.outcome == "hit");
    const Assignment again = table.get_or_assign(client(1), Seconds{row.timeout}, then, always, choose(kB));
    EXPECT_EQ(word(again.outcome), row.outcome);
    EXPECT_EQ(again.endpoint, row.outcome == "hit" ? kA : kB);
  }
}

TEST(Affinity, TheTimeoutIsTheOneGivenAtLookup) {
  struct Row {
    std::string name;
    int before, at_lookup;  // seconds
    std::int64_t age;
    std::string_view outcome;
  };
  for (const Row& row : std::vector<Row>{{"shortened", 100, 10, 10'001, "expired"},
                                         {"shortened, still in time", 100, 10, 10'000, "hit"},
                                         {"lengthened", 10, 100, 50'000, "hit"},
                                         {"switched to never", 10, 0, 50'000, "hit"},
                                         {"never before, limited now", 0, 10, 10'001, "expired"}}) {
    SCOPED_TRACE(row.name);
    AffinityTable table(8, kKey);
    table.get_or_assign(client(1), Seconds{row.before}, ms(0), always, choose(kA));
    EXPECT_EQ(table.find(client(1), Seconds{row.at_lookup}, ms(row.age)).has_value(), row.outcome == "hit");
    EXPECT_EQ(word(table.get_or_assign(client(1), Seconds{row.at_lookup}, ms(row.age), always, choose(kB)).outcome),
              row.outcome);
  }
}

TEST(Affinity, TheWindowSlidesWithEveryConnection) {
  AffinityTable table(8, kKey);
  table.get_or_assign(client(1), Seconds{10}, ms(0), always, choose(kA));
  for (std::int64_t at = 10'000; at <= 50'000; at += 10'000) {
    EXPECT_EQ(table.get_or_assign(client(1), Seconds{10}, ms(at), always, must_not_pick).outcome, Outcome::hit);
  }
  EXPECT_EQ(table.get_or_assign(client(1), Seconds{10}, ms(60'001), always, choose(kB)).outcome, Outcome::expired);
}

TEST(Affinity, FindRefreshesNothing) {
  AffinityTable table(8, kKey);
  EXPECT_EQ(table.find(client(1), Seconds{10}, ms(0)), std::nullopt);
  EXPECT_EQ(table.counts().entries, 0u) << "and creates nothing";
  table.get_or_assign(client(1), Seconds{10}, ms(0), always, choose(kA));
  for (const std::int64_t at : {5000, 9000, 10'000}) EXPECT_EQ(table.find(client(1), Seconds{10}, ms(at)), kA);
  EXPECT_EQ(table.find(client(1), Seconds{10}, ms(10'001)), std::nullopt);
}

TEST(Affinity, ExpiredAndMovedClientsAreDatedAnew) {
  AffinityTable table(8, kKey);
  table.get_or_assign(client(1), Seconds{10}, ms(0), always, choose(kA));
  const Assignment expired = table.get_or_assign(client(1), Seconds{10}, ms(20'000), always, choose(kB));
  EXPECT_EQ(word(expired.outcome), "expired");
  EXPECT_EQ(table.find(client(1), Seconds{10}, ms(30'000)), kB);
  const Assignment moved = table.get_or_assign(client(1), Seconds{10}, ms(30'000), never, choose(kA));
  EXPECT_EQ(word(moved.outcome), "moved");
  EXPECT_EQ(moved.endpoint, kA);
  EXPECT_EQ(table.find(client(1), Seconds{10}, ms(40'000)), kA);
}

TEST(Affinity, WhatIsAskedOfTheEndpoint) {
  AffinityTable table(8, kKey);
  std::vector<EndpointId> asked;
  const auto selectable = [&](EndpointId endpoint) { return asked.push_back(endpoint), endpoint == kA; };
  table.get_or_assign(client(1), Seconds{10}, ms(0), selectable, choose(kA));
  EXPECT_TRUE(asked.empty()) << "nothing is remembered on a miss";
  table.get_or_assign(client(1), Seconds{10}, ms(0), selectable, must_not_pick);
  EXPECT_THAT(asked, testing::ElementsAre(kA));
}

TEST(Affinity, ScopesAndFamiliesAreSeparate) {
  AffinityTable table(8, kKey);
  const Key v4{kScope, net::Address::parse("192.0.2.1").value()};
  const Key mapped{kScope, net::Address::parse("::ffff:192.0.2.1").value()};
  const Key other_scope{kScope + 1, v4.client};
  table.get_or_assign(v4, Seconds{10}, ms(0), always, choose(kA));
  for (const Key& key : {mapped, other_scope}) {
    EXPECT_EQ(table.get_or_assign(key, Seconds{10}, ms(0), always, choose(kB)).outcome, Outcome::miss);
  }
  EXPECT_EQ(table.find(v4, Seconds{10}, ms(0)), kA);
}

// ---- capacity

constexpr Seconds kLong{1000};

/// Who of `clients` is remembered.
std::vector<std::uint32_t> remembered(const AffinityTable& table, std::uint32_t clients) {
  std::vector<std::uint32_t> found;
  for (std::uint32_t n = 1; n <= clients; ++n) {
    if (table.find(client(n), Seconds{0}, ms(0))) found.push_back(n);
  }
  return found;
}

TEST(Affinity, WhoIsGivenUpWhenFull) {
  struct Entry {
    std::int64_t seen;  // ms; it is 100,000 now
    int timeout;        // s, 0: never
    bool confirmed;
  };
  struct Row {
    std::string name;
    std::vector<Entry> entries;  // clients 1, 2, 3
    std::uint32_t victim;
    std::array<std::uint64_t, 3> evicted;  // expired, provisional, confirmed
  };
  for (const Row& row : std::vector<Row>{
           {"an expired one, confirmed or not", {{1, 1000, false}, {2, 50, true}, {3, 1000, true}}, 2, {1, 0, 0}},
           {"at T it is not expired", {{1, 1000, true}, {50'000, 50, true}, {3, 1000, true}}, 1, {0, 0, 1}},
           {"at T + 1 ms it is", {{1, 1000, true}, {49'999, 50, true}, {3, 1000, true}}, 2, {1, 0, 0}},
           {"a provisional one, though younger",
            {{1, 1000, true}, {2, 1000, true}, {99'000, 1000, false}},
            3,
            {0, 1, 0}},
           {"the oldest provisional one", {{9, 1000, false}, {1, 1000, true}, {8, 1000, false}}, 3, {0, 1, 0}},
           {"the oldest confirmed one", {{9, 1000, true}, {7, 1000, true}, {8, 1000, true}}, 2, {0, 0, 1}},
           {"never expiring ones too", {{9, 0, true}, {7, 0, true}, {8, 0, true}}, 2, {0, 0, 1}},
       }) {
    SCOPED_TRACE(row.name);
    AffinityTable table(3, kKey);
    for (std::uint32_t n = 1; n <= 3; ++n) {
      const Entry& entry = row.entries[n - 1];
      table.get_or_assign(client(n), Seconds{entry.timeout}, ms(entry.seen), always, choose(kA));
      if (entry.confirmed) table.confirm(client(n), kA);
    }
    EXPECT_EQ(table.counts().entries, 3u);
    table.get_or_assign(client(4), kLong, ms(100'000), always, choose(kB));
    std::vector<std::uint32_t> left{1, 2, 3, 4};
    std::erase(left, row.victim);
    EXPECT_EQ(remembered(table, 4), left);
    const AffinityCounts counts = table.counts();
    EXPECT_EQ(counts.entries, 3u);
    EXPECT_THAT((std::array{counts.evicted_expired, counts.evicted_provisional, counts.evicted_confirmed}),
                testing::ElementsAreArray(row.evicted));
  }
}

TEST(Affinity, ConfirmConcernsTheRememberedEndpointOnly) {
  AffinityTable table(2, kKey);
  table.confirm(client(1), kA);
  EXPECT_EQ(table.counts().entries, 0u) << "confirms nobody it does not know";
  table.get_or_assign(client(1), kLong, ms(1), always, choose(kA));
  table.get_or_assign(client(2), kLong, ms(2), always, choose(kA));
  table.confirm(client(1), kA);
  table.confirm(client(2), kB);  // remembered for kA: stays provisional
  table.get_or_assign(client(3), kLong, ms(3), always, choose(kA));
  EXPECT_EQ(remembered(table, 3), (std::vector<std::uint32_t>{1, 3}));
}

TEST(Affinity, AHitStaysConfirmedAFreshChoiceDoesNot) {
  AffinityTable table(2, kKey);
  for (const std::uint32_t n : {1u, 2u}) {
    table.get_or_assign(client(n), kLong, ms(n), always, choose(kA));
    table.confirm(client(n), kA);
  }
  table.get_or_assign(client(1), kLong, ms(3), always, must_not_pick);
  table.get_or_assign(client(2), kLong, ms(4), never, choose(kB));  // moved: must prove itself again
  table.get_or_assign(client(3), kLong, ms(5), always, choose(kA));
  EXPECT_EQ(remembered(table, 3), (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(table.counts().evicted_provisional, 1u);
}

TEST(Affinity, CapacityOne) {
  for (const std::uint32_t capacity : {0u, 1u}) {  // 0 means 1
    AffinityTable table(capacity, kKey);
    for (std::uint32_t n = 1; n <= 5; ++n) {
      EXPECT_EQ(table.get_or_assign(client(n), kLong, ms(n), always, choose(kA)).outcome, Outcome::miss);
      EXPECT_EQ(remembered(table, 5), (std::vector<std::uint32_t>{n}));
    }
    EXPECT_EQ(table.counts().evicted_provisional, 4u);
  }
}

TEST(Affinity, AFloodOfForgersDoesNotPushOutConfirmedClients) {
  // Capacity 64, 40 real clients, then 10,000 that never answer. The scan looks at 8 places, so the real clients are
  // spread, 5 in every 8: there is always a forger to be given up.
  constexpr std::uint32_t kCapacity = 64;
  AffinityTable table(kCapacity, kKey);
  for (std::uint32_t n = 1; n <= kCapacity; ++n) {
    table.get_or_assign(client(n), kLong, ms(n), always, choose(kA));
    if (n % 8 < 5) table.confirm(client(n), kA);
  }
  for (std::uint32_t n = 1000; n < 11'000; ++n) {
    table.get_or_assign(client(n), kLong, ms(n), always, choose(kA));
    ASSERT_EQ(table.counts().entries, kCapacity);
  }
  EXPECT_EQ(table.counts().evicted_provisional, 10'000u);
  EXPECT_EQ(remembered(table, kCapacity).size(), 40u);
}

TEST(Affinity, ANewcomerHasARoundToProveItself) {
  AffinityTable table(16, kKey);
  for (std::uint32_t n = 1; n <= 16; ++n) {
    table.get_or_assign(client(n), kLong, ms(n == 5 ? 0 : n), always, choose(kA));  // the fifth is the oldest
    table.confirm(client(n), kA);
  }
  table.get_or_assign(client(17), kLong, ms(17), always, choose(kA));  // for the fifth
  table.get_or_assign(client(18), kLong, ms(18), always, choose(kA));  // for the oldest of places 6 to 13
  EXPECT_EQ(remembered(table, 18),
            (std::vector<std::uint32_t>{1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}));
}

TEST(Affinity, AgreesWithAPlainMapWhileNothingIsEvicted) {
  struct Remembered {
    EndpointId endpoint;
    std::int64_t stamp;
  };
  constexpr std::uint32_t kClients = 200;
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    AffinityTable table(kClients, kKey);
    std::unordered_map<std::uint32_t, Remembered> model;
    std::int64_t clock = 0;
    std::array<int, 4> seen{};
    for (int step = 0; step < 20'000; ++step) {
      clock += random() % 200;
      const auto n = static_cast<std::uint32_t>(random() % kClients);
      const int timeout = random() % 10 == 0 ? 0 : static_cast<int>(1 + random() % 40);
      const auto gone = static_cast<std::uint32_t>(random() % 4);  // this endpoint may not be chosen now
      const EndpointId fresh{1, (gone + 1) % 4 + 1};
      const auto selectable = [gone](EndpointId endpoint) { return endpoint.id != gone + 1; };
      const auto known = model.find(n);
      const bool in_time =
          known != model.end() && (timeout == 0 || clock - known->second.stamp <= std::int64_t{timeout} * 1000);
      const auto found = table.find(client(n), Seconds{timeout}, ms(clock));
      ASSERT_EQ(found, in_time ? std::optional(known->second.endpoint) : std::nullopt);
      if (random() % 4 == 0) continue;
      const Outcome expected = known == model.end()                  ? Outcome::miss
                               : !in_time                            ? Outcome::expired
                               : !selectable(known->second.endpoint) ? Outcome::moved
                                                                     : Outcome::hit;
      const EndpointId endpoint = expected == Outcome::hit ? known->second.endpoint : fresh;
      const Assignment got = table.get_or_assign(client(n), Seconds{timeout}, ms(clock), selectable, choose(fresh));
      ASSERT_EQ(word(got.outcome), word(expected)) << "step " << step;
      ASSERT_EQ(got.endpoint, endpoint);
      model[n] = {endpoint, clock};
      ++seen[static_cast<unsigned>(expected)];
      ASSERT_EQ(table.counts().entries, model.size());
    }
    EXPECT_THAT(seen, testing::Each(testing::Ge(100))) << "every outcome was tried";
    const AffinityCounts counts = table.counts();
    EXPECT_EQ(counts.evicted_expired + counts.evicted_provisional + counts.evicted_confirmed, 0u);
  }
}

TEST(Affinity, CapacityIsNeverExceededAndEveryEvictionCounted) {
  constexpr std::uint32_t kCapacity = 50;
  std::mt19937 random(7);
  AffinityTable table(kCapacity, kKey);
  std::int64_t clock = 0;
  std::uint64_t misses = 0;
  for (int step = 0; step < 20'000; ++step) {
    clock += random() % 500;
    const Key key = client(static_cast<std::uint32_t>(random() % 120));
    misses +=
        table.get_or_assign(key, Seconds{1 + random() % 20}, ms(clock), always, choose(kA)).outcome == Outcome::miss;
    if (random() % 2) table.confirm(key, kA);
    const AffinityCounts counts = table.counts();
    ASSERT_LE(counts.entries, kCapacity);
    // Whoever came in is still there or was counted when it went.
    ASSERT_EQ(misses, counts.entries + counts.evicted_expired + counts.evicted_provisional + counts.evicted_confirmed);
    ASSERT_EQ(table.find(key, Seconds{0}, ms(clock)), kA) << "the newcomer itself is never given up";
  }
  EXPECT_GT(misses, 1000u);
}

// ---- threads

TEST(Affinity, ManyThreadsOneEndpointForEachClient) {
  constexpr unsigned kThreads = 4, kClients = 2000;
  AffinityTable table(kClients, kKey);
  std::array<std::atomic<unsigned>, kClients> picked{};
  std::array<std::vector<EndpointId>, kThreads> got;
  std::atomic<unsigned> misses{0}, ready{0};
  const auto run = [&](unsigned thread) {
    ++ready;
    while (ready < kThreads) std::this_thread::yield();
    for (std::uint32_t n = 0; n < kClients; ++n) {
      const Assignment assigned = table.get_or_assign(client(n), kLong, ms(5), always, [&] {
        ++picked[n];
        return EndpointId{thread, thread + 1};  // who picks can be told
      });
      misses += assigned.outcome == Outcome::miss;
      got[thread].push_back(assigned.endpoint);
      table.confirm(client(n), assigned.endpoint);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();

  for (unsigned thread = 1; thread < kThreads; ++thread) EXPECT_EQ(got[thread], got[0]);
  for (const std::atomic<unsigned>& count : picked) ASSERT_EQ(count, 1u);
  EXPECT_EQ(misses, kClients);
  EXPECT_EQ(table.counts().entries, kClients);
}

TEST(Affinity, ThreadsAtCapacityKeepItExactAtRest) {
  constexpr unsigned kThreads = 4, kCapacity = 32;
  AffinityTable table(kCapacity, kKey);
  std::atomic<std::uint64_t> misses{0};
  std::atomic<unsigned> too_many{0};
  const auto run = [&](unsigned thread) {
    std::mt19937 random(thread);
    for (std::int64_t step = 0; step < 3000; ++step) {
      const Key key = client(static_cast<std::uint32_t>(random() % 100));
      const Assignment assigned = table.get_or_assign(key, Seconds{1 + random() % 3}, ms(step), always, choose(kA));
      misses += assigned.outcome == Outcome::miss;
      if (random() % 2) table.confirm(key, kA);
      if (table.counts().entries > kCapacity + kThreads) ++too_many;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();
  const AffinityCounts counts = table.counts();
  EXPECT_EQ(counts.entries, kCapacity);
  EXPECT_EQ(misses, kCapacity + counts.evicted_expired + counts.evicted_provisional + counts.evicted_confirmed);
  EXPECT_EQ(too_many, 0u);
}

}  // namespace
}  // namespace limpet::affinity
