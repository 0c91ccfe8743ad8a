// What every AffinityStore does, over both: the clock to the millisecond, the window that slides or does not, who is
// given up at capacity. Expectations are design.md section 5's.
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/affinity/store_fixture.h"

namespace limpet::affinity {
namespace {

TYPED_TEST_SUITE(Affinity, Stores, StoreNames);

// ---- the clock

TYPED_TEST(Affinity, TheBoundaryIsInclusiveToTheMillisecond) {
  struct Row {
    std::string name;
    int timeout;  // seconds
    std::int64_t age;
    std::string_view outcome;
  };
  for (const Row& row : std::vector<Row>{{"at once", 10800, 0, "hit"},
                                         {"by a worker whose clock was read 5 ms earlier", 10800, -5, "hit"},
                                         {"T - 1 ms", 10800, 10'799'999, "hit"},
                                         {"T", 10800, 10'800'000, "hit"},
                                         {"T + 1 ms", 10800, 10'800'001, "expired"},
                                         {"the shortest T", 1, 1000, "hit"},
                                         {"the shortest T + 1 ms", 1, 1001, "expired"},
                                         {"the longest of Kubernetes, 86400 s", 86400, 86'400'000, "hit"},
                                         {"24 days", 24 * 86400, 2'073'600'000, "hit"},
                                         {"24 days + 1 ms", 24 * 86400, 2'073'600'001, "expired"},
                                         {"25 days count as 24", 25 * 86400, 2'073'600'001, "expired"},
                                         {"0 is never, after ten years", 0, 315'360'000'000, "hit"}}) {
    SCOPED_TRACE(row.name);
    typename TestFixture::Table table(8, Seconds{row.timeout});
    const Instant start = ms(123'456);
    const Instant then = start + Milliseconds{row.age};
    table.get_or_assign(client(1), start, always, choose(kA));
    EXPECT_EQ(table.find(client(1), then).has_value(), row.outcome == "hit");
    const Assignment again = table.get_or_assign(client(1), then, always, choose(kB));
    EXPECT_EQ(word(again.outcome), row.outcome);
    EXPECT_EQ(again.endpoint, row.outcome == "hit" ? kA : kB);
  }
}

TYPED_TEST(Affinity, TheTimeoutIsTheScopesAtLookup) {
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
    typename TestFixture::Table table(8, Seconds{row.before});
    table.get_or_assign(client(1), ms(0), always, choose(kA));
    table.remember_for(Seconds{row.at_lookup});
    EXPECT_EQ(table.find(client(1), ms(row.age)).has_value(), row.outcome == "hit");
    EXPECT_EQ(word(table.get_or_assign(client(1), ms(row.age), always, choose(kB)).outcome), row.outcome);
  }
}

TYPED_TEST(Affinity, TheWindowSlidesWithEveryConnection) {
  typename TestFixture::Table table(8, Seconds{10});
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  for (std::int64_t at = 10'000; at <= 50'000; at += 10'000) {
    EXPECT_EQ(table.get_or_assign(client(1), ms(at), always, must_not_pick).outcome, Outcome::hit);
  }
  EXPECT_EQ(table.get_or_assign(client(1), ms(60'001), always, choose(kB)).outcome, Outcome::expired);
}

TYPED_TEST(Affinity, AFixedWindowEndsWhenItEnds) {
  typename TestFixture::Table table(8, Seconds{10}, false);
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  for (const std::int64_t at : {5000, 10'000}) {
    EXPECT_EQ(table.get_or_assign(client(1), ms(at), always, must_not_pick).outcome, Outcome::hit);
  }
  EXPECT_EQ(table.get_or_assign(client(1), ms(10'001), always, choose(kB)).outcome, Outcome::expired);
  EXPECT_EQ(table.find(client(1), ms(20'001)), kB) << "the next one begins with the assignment";
}

TYPED_TEST(Affinity, FindRefreshesNothing) {
  typename TestFixture::Table table(8, Seconds{10});
  EXPECT_EQ(table.find(client(1), ms(0)), std::nullopt);
  EXPECT_EQ(table.counts().entries, 0u) << "and creates nothing";
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  for (const std::int64_t at : {5000, 9000, 10'000}) EXPECT_EQ(table.find(client(1), ms(at)), kA);
  EXPECT_EQ(table.find(client(1), ms(10'001)), std::nullopt);
}

TYPED_TEST(Affinity, RefreshDatesTheRememberedEndpointOnly) {
  typename TestFixture::Table table(8, Seconds{10});
  table.refresh(client(1), kA, ms(0));
  EXPECT_EQ(table.counts().entries, 0u) << "refreshes nobody it does not know";
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  table.refresh(client(1), kB, ms(5000));
  EXPECT_EQ(table.find(client(1), ms(10'001)), std::nullopt);
  table.refresh(client(1), kA, ms(5000));
  EXPECT_EQ(table.find(client(1), ms(15'000)), kA);
  EXPECT_EQ(table.find(client(1), ms(15'001)), std::nullopt);
}

TYPED_TEST(Affinity, RefreshNeitherRevivesNorExtendsAFixedWindow) {
  typename TestFixture::Table table(8, Seconds{10});
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  table.refresh(client(1), kA, ms(10'001));
  EXPECT_EQ(table.find(client(1), ms(10'002)), std::nullopt) << "it had expired";
  typename TestFixture::Table fixed(8, Seconds{10});
  fixed.remember_for(Seconds{10}, false);
  fixed.get_or_assign(client(1), ms(0), always, choose(kA));
  fixed.refresh(client(1), kA, ms(9000));
  EXPECT_EQ(fixed.find(client(1), ms(10'000)), kA);
  EXPECT_EQ(fixed.find(client(1), ms(10'001)), std::nullopt);
}

TYPED_TEST(Affinity, ExpiredAndMovedClientsAreDatedAnew) {
  typename TestFixture::Table table(8, Seconds{10});
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  const Assignment expired = table.get_or_assign(client(1), ms(20'000), always, choose(kB));
  EXPECT_EQ(word(expired.outcome), "expired");
  EXPECT_EQ(table.find(client(1), ms(30'000)), kB);
  const Assignment moved = table.get_or_assign(client(1), ms(30'000), never, choose(kA));
  EXPECT_EQ(word(moved.outcome), "moved");
  EXPECT_EQ(moved.endpoint, kA);
  EXPECT_EQ(table.find(client(1), ms(40'000)), kA);
}

TYPED_TEST(Affinity, WhatIsAskedOfTheEndpoint) {
  typename TestFixture::Table table(8);
  std::vector<std::uint32_t> asked;
  const auto selectable = [&](std::uint32_t endpoint) { return asked.push_back(endpoint), endpoint == kA; };
  table.get_or_assign(client(1), ms(0), selectable, choose(kA));
  EXPECT_TRUE(asked.empty()) << "nothing is remembered on a miss";
  table.get_or_assign(client(1), ms(0), selectable, must_not_pick);
  EXPECT_THAT(asked, testing::ElementsAre(kA));
}

TYPED_TEST(Affinity, ScopesAndFamiliesAreSeparate) {
  typename TestFixture::Table table(8);
  const Key v4{kScope, net::Address::parse("192.0.2.1").value()};
  const Key mapped{kScope, net::Address::parse("::ffff:192.0.2.1").value()};
  const Key other_scope{kScope + 1, v4.client};
  table.get_or_assign(v4, ms(0), always, choose(kA));
  for (const Key& key : {mapped, other_scope}) {
    EXPECT_EQ(table.get_or_assign(key, ms(0), always, choose(kB)).outcome, Outcome::miss);
  }
  EXPECT_EQ(table.find(v4, ms(0)), kA);
  EXPECT_EQ(table.find(mapped, ms(0)), kB);
}

TYPED_TEST(Affinity, ScopesTheHighestAndItsNeighbours) {
  typename TestFixture::Table table(8);
  std::uint32_t endpoint = 100;
  for (const std::uint32_t scope : {1u, 4095u, 4096u, kScopes - 1}) {
    table.set_scope(scope, {.timeout = Seconds{10}});
    table.get_or_assign(client(1, scope), ms(0), always, choose(++endpoint));
  }
  endpoint = 100;
  for (const std::uint32_t scope : {1u, 4095u, 4096u, kScopes - 1}) {
    EXPECT_EQ(table.find(client(1, scope), ms(10'000)), ++endpoint);
    EXPECT_EQ(table.find(client(1, scope), ms(10'001)), std::nullopt);
  }
}

TYPED_TEST(Affinity, EraseForgets) {
  typename TestFixture::Table table(8);
  EXPECT_FALSE(table.erase(client(1)));
  table.get_or_assign(client(1), ms(0), always, choose(kA));
  table.get_or_assign(client(2), ms(0), always, choose(kA));
  EXPECT_TRUE(table.erase(client(1)));
  EXPECT_EQ(table.find(client(1), ms(0)), std::nullopt);
  EXPECT_EQ(table.find(client(2), ms(0)), kA);
  EXPECT_EQ(table.counts().entries, 1u);
}

// ---- capacity

TYPED_TEST(Affinity, WhoIsGivenUpWhenFull) {
  struct Entry {
    std::int64_t seen;  // ms; it is 100,000 now
    int timeout;        // s, 0: never
    bool confirmed;
  };
  struct Row {
    std::string name;
    std::vector<Entry> entries;  // clients 1, 2, 3, each in the scope of its number
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
    typename TestFixture::Table table(3);
    const auto scope_of = [](std::uint32_t n) { return n; };
    for (std::uint32_t n = 1; n <= 3; ++n) {
      const Entry& entry = row.entries[n - 1];
      table.set_scope(n, {.timeout = Seconds{entry.timeout}});
      table.get_or_assign(client(n, n), ms(entry.seen), always, choose(kA));
      if (entry.confirmed) table.confirm(client(n, n), kA, ms(entry.seen));
    }
    EXPECT_EQ(table.counts().entries, 3u);
    table.get_or_assign(client(4, 4), ms(100'000), always, choose(kB));
    std::vector<std::uint32_t> left{1, 2, 3, 4};
    std::erase(left, row.victim);
    const AffinityCounts counts = table.counts();
    EXPECT_EQ(TestFixture::remembered(table, 4, scope_of), left);
    EXPECT_EQ(counts.entries, 3u);
    EXPECT_THAT((std::array{counts.evicted_expired, counts.evicted_provisional, counts.evicted_confirmed}),
                testing::ElementsAreArray(row.evicted));
  }
}

TYPED_TEST(Affinity, ConfirmConcernsTheRememberedEndpointOnly) {
  typename TestFixture::Table table(2);
  table.get_or_assign(client(1), ms(1), always, choose(kA));
  table.get_or_assign(client(2), ms(2), always, choose(kA));
  table.confirm(client(1), kA, ms(2));
  table.confirm(client(2), kB, ms(2));  // remembered for kA: stays provisional
  table.get_or_assign(client(3), ms(3), always, choose(kA));
  EXPECT_EQ(TestFixture::remembered(table, 3), (std::vector<std::uint32_t>{1, 3}));
}

TYPED_TEST(Affinity, ConfirmBringsBackWhoWasGivenUp) {
  typename TestFixture::Table table(2, Seconds{10});
  table.get_or_assign(client(1), ms(1), always, choose(kA));
  table.get_or_assign(client(2), ms(2), always, choose(kA));
  table.get_or_assign(client(3), ms(3), always, choose(kA));
  table.confirm(client(1), kA, ms(4));  // client 1 had to go, and has answered since
  EXPECT_EQ(table.find(client(1), ms(10'004)), kA) << "dated by its proof";
  EXPECT_EQ(table.find(client(1), ms(10'005)), std::nullopt);
  EXPECT_EQ(table.counts().entries, 2u);
  table.get_or_assign(client(4), ms(5), always, choose(kA));
  EXPECT_EQ(table.find(client(1), ms(5)), kA) << "no longer provisional";
}

TYPED_TEST(Affinity, AHitStaysConfirmedAFreshChoiceDoesNot) {
  typename TestFixture::Table table(2);
  for (const std::uint32_t n : {1u, 2u}) {
    table.get_or_assign(client(n), ms(n), always, choose(kA));
    table.confirm(client(n), kA, ms(n));
  }
  table.get_or_assign(client(1), ms(3), always, must_not_pick);
  table.get_or_assign(client(2), ms(4), never, choose(kB));  // moved: must prove itself again
  table.get_or_assign(client(3), ms(5), always, choose(kA));
  EXPECT_EQ(TestFixture::remembered(table, 3), (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(table.counts().evicted_provisional, 1u);
}

TYPED_TEST(Affinity, CapacityOne) {
  for (const std::uint32_t capacity : {0u, 1u}) {  // 0 means 1
    typename TestFixture::Table table(capacity);
    for (std::uint32_t n = 1; n <= 5; ++n) {
      EXPECT_EQ(table.get_or_assign(client(n), ms(n), always, choose(kA)).outcome, Outcome::miss);
      EXPECT_EQ(TestFixture::remembered(table, 5), (std::vector<std::uint32_t>{n}));
    }
    EXPECT_EQ(table.counts().evicted_provisional, 4u);
  }
}

TYPED_TEST(Affinity, AFloodOfForgersDoesNotPushOutConfirmedClients) {
  // Capacity 64, 40 real clients, then 10,000 that never answer. The plainer table looks at 8 places, so the real
  // clients are spread, 5 in every 8: there is always a forger to be given up.
  constexpr std::uint32_t kCapacity = 64;
  typename TestFixture::Table table(kCapacity);
  for (std::uint32_t n = 1; n <= kCapacity; ++n) {
    table.get_or_assign(client(n), ms(n), always, choose(kA));
    if (n % 8 < 5) table.confirm(client(n), kA, ms(n));
  }
  for (std::uint32_t n = 1000; n < 11'000; ++n) {
    table.get_or_assign(client(n), ms(n), always, choose(kA));
    ASSERT_EQ(table.counts().entries, kCapacity);
  }
  EXPECT_EQ(table.counts().evicted_provisional, 10'000u);
  EXPECT_EQ(TestFixture::remembered(table, kCapacity).size(), 40u);
}

TYPED_TEST(Affinity, AgreesWithAPlainMapWhileNothingIsEvicted) {
  struct Remembered {
    std::uint32_t endpoint;
    std::int64_t stamp;
  };
  constexpr std::uint32_t kClients = 200;
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    typename TestFixture::Table table(kClients);
    std::unordered_map<std::uint32_t, Remembered> model;
    std::int64_t clock = 0;
    std::array<int, 4> seen{};
    for (int step = 0; step < 20'000; ++step) {
      clock += random() % 200;
      const auto n = static_cast<std::uint32_t>(random() % kClients);
      const int timeout = random() % 10 == 0 ? 0 : static_cast<int>(1 + random() % 40);
      const bool sliding = random() % 4 != 0;
      table.remember_for(Seconds{timeout}, sliding);
      const auto gone = static_cast<std::uint32_t>(random() % 4);  // this endpoint may not be chosen now
      const std::uint32_t fresh = (gone + 1) % 4 + 1;
      const auto selectable = [gone](std::uint32_t endpoint) { return endpoint != gone + 1; };
      const auto known = model.find(n);
      const bool in_time =
          known != model.end() && (timeout == 0 || clock - known->second.stamp <= std::int64_t{timeout} * 1000);
      const auto found = table.find(client(n), ms(clock));
      ASSERT_EQ(found, in_time ? std::optional(known->second.endpoint) : std::nullopt);
      if (random() % 4 == 0) continue;
      if (random() % 8 == 0) {
        ASSERT_EQ(table.erase(client(n)), model.erase(n) == 1);
        continue;
      }
      const Outcome expected = known == model.end()                  ? Outcome::miss
                               : !in_time                            ? Outcome::expired
                               : !selectable(known->second.endpoint) ? Outcome::moved
                                                                     : Outcome::hit;
      const std::uint32_t endpoint = expected == Outcome::hit ? known->second.endpoint : fresh;
      const Assignment got = table.get_or_assign(client(n), ms(clock), selectable, choose(fresh));
      ASSERT_EQ(word(got.outcome), word(expected)) << "step " << step;
      ASSERT_EQ(got.endpoint, endpoint);
      model[n] = {endpoint, expected == Outcome::hit && !sliding ? known->second.stamp : clock};
      ++seen[static_cast<unsigned>(expected)];
      ASSERT_EQ(table.counts().entries, model.size());
    }
    EXPECT_THAT(seen, testing::Each(testing::Ge(100))) << "every outcome was tried";
    EXPECT_EQ(evicted(table.counts()), 0u);
  }
}

TYPED_TEST(Affinity, CapacityIsNeverExceededAndEveryEvictionCounted) {
  constexpr std::uint32_t kCapacity = 50;
  std::mt19937 random(7);
  typename TestFixture::Table table(kCapacity);
  std::int64_t clock = 0;
  std::uint64_t misses = 0;
  for (int step = 0; step < 20'000; ++step) {
    clock += random() % 500;
    const Key key = client(static_cast<std::uint32_t>(random() % 120));
    table.remember_for(Seconds{1 + random() % 20});
    misses += table.get_or_assign(key, ms(clock), always, choose(kA)).outcome == Outcome::miss;
    if (random() % 2) table.confirm(key, kA, ms(clock));
    const AffinityCounts counts = table.counts();
    ASSERT_LE(counts.entries, kCapacity);
    // Whoever came in is still there or was counted when it went.
    ASSERT_EQ(misses, counts.entries + evicted(counts));
    ASSERT_EQ(table.find(key, ms(clock)), kA) << "the newcomer itself is never given up";
  }
  EXPECT_GT(misses, 1000u);
}

}  // namespace
}  // namespace limpet::affinity
