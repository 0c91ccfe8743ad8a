// What AffinityTable does beyond an AffinityStore: sweep, the 32-bit clock that goes round, floods, visits, loading,
// and taking over the memory of a process that has gone.
#include "lb/affinity/affinity_table.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conntrack/store/zeroed_memory.h"
#include "lb/affinity/tbb_affinity_table.h"
#include "tests/unit/affinity/fixture.h"

namespace limpet::affinity {
namespace {

constexpr std::int64_t kDay = 86'400'000;
constexpr std::int64_t kRound = std::int64_t{1} << 32;  // ms after which stamps repeat: 49.7 days

void assign(AffinityTable& table, const Key& key, std::int64_t at, std::uint32_t endpoint = kA, bool confirmed = true) {
  table.get_or_assign(key, ms(at), always, choose(endpoint));
  if (confirmed) table.confirm(key, endpoint, ms(at));
}

std::vector<EntryView> everything(const AffinityTable& table, Instant now) {
  std::vector<EntryView> all;
  for (Cursor cursor; !cursor.at_end();) {
    cursor = table.visit(cursor, 100, now, [&](const EntryView& entry) { all.push_back(entry); });
  }
  return all;
}

// ---- time

TEST(AffinitySweep, TakesOutTheExpiredOnly) {
  AffinityTable table(options(1000));
  table.set_scope(kScope, {.timeout = Seconds{10}});
  for (std::uint32_t n = 0; n < 600; ++n) assign(table, client(n), n < 300 ? 0 : 5000);
  EXPECT_EQ(table.sweep(table.slots(), ms(10'000)), 0u) << "at T nobody is expired";
  EXPECT_EQ(table.sweep(table.slots(), ms(10'001)), 300u);
  EXPECT_EQ(table.counts().entries, 300u);
  EXPECT_EQ(table.counts().swept, 300u);
  for (std::uint32_t n = 300; n < 600; ++n) ASSERT_EQ(table.find(client(n), ms(10'001)), kA);
}

TEST(AffinitySweep, GoesRoundInPieces) {
  AffinityTable table(options(10'000));
  table.set_scope(kScope, {.timeout = Seconds{10}});
  for (std::uint32_t n = 0; n < 10'000; ++n) assign(table, client(n), 0);
  std::size_t swept = 0;
  for (std::size_t looked_at = 0; looked_at < table.slots(); looked_at += 64) swept += table.sweep(64, ms(10'001));
  EXPECT_GE(swept, 9990u) << "a lap; one that moves round the end of one of the 16 shards meanwhile is met in the next";
  swept += table.sweep(table.slots(), ms(10'001));
  EXPECT_EQ(swept, 10'000u);
}

TEST(AffinityTime, NoStampLooksYoungAgainWhenTheClockGoesRound) {
  struct Row {
    std::string name;
    int timeout;  // seconds
    std::string_view outcome;
  };
  for (const Row& row :
       std::vector<Row>{{"one that expires", 10800, "expired or gone"}, {"one that never does", 0, "hit"}}) {
    SCOPED_TRACE(row.name);
    AffinityTable table(options(8));
    table.set_scope(kScope, {.timeout = Seconds{row.timeout}});
    // Shortly before the clock goes round for the first time.
    const std::int64_t start = kRound - 5000;
    assign(table, client(1), start);
    EXPECT_EQ(table.find(client(1), ms(kRound + 5000)), kA) << "ten seconds later: round the end";
    for (std::int64_t at = start + kDay; at <= start + 3 * kRound; at += kDay) {
      table.sweep(table.slots() + 64, ms(at));
      ASSERT_EQ(table.find(client(1), ms(at)).has_value(), row.timeout == 0) << at;
    }
    // A policy of 24 days, after months: it must have been remembered as older than that.
    table.set_scope(kScope, {.timeout = ScopePolicy::kLongest});
    EXPECT_EQ(table.find(client(1), ms(start + 3 * kRound)), std::nullopt);
  }
}

TEST(AffinityTime, RecoverBringsAgesUpToDateAfterWeeksWithoutAProcess) {
  for (const std::int64_t away : {19 * kDay, 30 * kDay, kRound, 3 * kRound}) {
    SCOPED_TRACE("away for " + std::to_string(away / kDay) + " days");
    const AffinityOptions small = options(8);
    const store::ZeroedMemory memory(AffinityTable::memory(small));
    const std::span<std::byte> bytes(memory.data(), AffinityTable::memory(small));
    {
      AffinityTable table(small, bytes);
      table.set_scope(kScope, {.timeout = Seconds{0}});
      assign(table, client(1), kDay);
      table.sweep(64, ms(kDay + 1000));
    }
    AffinityTable table(small, bytes);
    const Instant now = ms(kDay + 1000 + away);
    table.recover(now);
    table.set_scope(kScope, {.timeout = Seconds{20 * 86'400}});
    EXPECT_EQ(table.find(client(1), now).has_value(), away < 20 * kDay);
    table.set_scope(kScope, {.timeout = Seconds{0}});
    EXPECT_EQ(table.find(client(1), now), kA) << "never expires, whatever its age";
  }
}

// ---- floods

TEST(AffinityFlood, OfTenTimesTheCapacityPushesOutNoConfirmedClient) {
  // As many confirmed clients as the table is for; the shards have some room above, and that is all the flood gets.
  constexpr std::uint32_t kCapacity = 20'000;
  AffinityTable table({.capacity_v4 = kCapacity, .key = kSecret, .workers = 2});
  for (std::uint32_t n = 0; n < kCapacity; ++n) assign(table, client(n), 1);
  for (std::uint32_t n = 0; n < 10 * kCapacity; ++n) {
    assign(table, client(kCapacity + n), 1000 + n / 100, kB, false);
  }
  for (std::uint32_t n = 0; n < kCapacity; ++n) ASSERT_EQ(table.find(client(n), ms(4000)), kA) << n;
  const AffinityCounts counts = table.counts();
  EXPECT_EQ(counts.evicted_confirmed, 0u);
  EXPECT_EQ(counts.evicted_provisional + counts.entries, 11 * kCapacity);
}

TEST(AffinityFlood, ARealClientStillGetsInAndStays) {
  constexpr std::uint32_t kCapacity = 2000;
  AffinityTable table({.capacity_v4 = kCapacity, .key = kSecret});
  std::uint32_t forger = 1'000'000;
  for (std::uint32_t n = 0; n < 500; ++n) {
    const Assignment real = table.get_or_assign(client(n), ms(n), always, choose(kA));
    for (int i = 0; i < 40; ++i) assign(table, client(++forger), n, kB, false);
    table.confirm(client(n), real.endpoint, ms(n));  // its answer comes behind 40 forged packets
  }
  for (std::uint32_t n = 0; n < 500; ++n) ASSERT_EQ(table.find(client(n), ms(500)), kA) << n;
}

TEST(AffinityCapacity, AsManyRandomClientsAsItIsForFit) {
  constexpr std::uint32_t kCapacity = 200'000;
  AffinityTable table({.capacity_v4 = kCapacity, .key = kSecret, .workers = 4});
  for (std::uint32_t n = 0; n < kCapacity; ++n) assign(table, client(n), 1);
  EXPECT_EQ(table.counts().entries, kCapacity);
  EXPECT_EQ(evicted(table.counts()), 0u);
}

TEST(AffinityCapacity, BytesAnEntry) {
  constexpr double kMany = 10'000'000;
  const auto bytes = [](std::uint32_t v4, std::uint32_t v6) {
    return static_cast<double>(AffinityTable::memory({.capacity_v4 = v4, .capacity_v6 = v6}));
  };
  EXPECT_LE(bytes(10'000'000, 1) / kMany, 27.0);
  EXPECT_LE((bytes(1, 10'000'000)) / kMany, 54.0);
}

// ---- loading, listing, deleting

TEST(AffinityPut, IsRememberedAsItWas) {
  AffinityTable table(options(2));
  table.set_scope(kScope, {.timeout = Seconds{10}});
  EXPECT_TRUE(table.put(client(1), kA, ms(-4000), true)) << "before this file's epoch";
  EXPECT_EQ(table.find(client(1), ms(6000)), kA);
  EXPECT_EQ(table.find(client(1), ms(6001)), std::nullopt);
  EXPECT_TRUE(table.put(client(1), kB, ms(0), false)) << "takes the place of what is there";
  EXPECT_EQ(table.find(client(1), ms(10'000)), kB);
  EXPECT_EQ(table.counts().provisional, 1u);
  EXPECT_TRUE(table.put(client(2), kB, ms(0), true));
  EXPECT_FALSE(table.put(client(3), kB, ms(0), true)) << "pushes nobody out";
  EXPECT_TRUE(table.put(client(2), kA, ms(0), true)) << "full, but known";
  EXPECT_EQ(table.counts().entries, 2u);
}

TEST(AffinityPut, IfAbsentMovesNobodyWhoIsRememberedInTime) {
  AffinityTable table(options(2));
  table.set_scope(kScope, {.timeout = Seconds{10}});
  assign(table, client(1), 0);
  EXPECT_EQ(table.put_if_absent(client(1), kB, ms(5000), true, ms(10'000)), Put::kept) << "as old as may be";
  EXPECT_EQ(table.find(client(1), ms(10'000)), kA);
  EXPECT_EQ(table.find(client(1), ms(10'001)), std::nullopt) << "nor was it dated anew";
  EXPECT_EQ(table.put_if_absent(client(1), kB, ms(5000), true, ms(10'001)), Put::taken) << "it had expired";
  EXPECT_EQ(table.find(client(1), ms(15'000)), kB);
  EXPECT_EQ(table.find(client(1), ms(15'001)), std::nullopt) << "as old as it was elsewhere";
  EXPECT_EQ(table.put_if_absent(client(2), kB, ms(0), false, ms(0)), Put::taken);
  EXPECT_EQ(table.put_if_absent(client(3), kB, ms(0), true, ms(0)), Put::no_room);
  EXPECT_EQ(table.put_if_absent(client_v6(1), kB, ms(0), true, ms(0)), Put::taken) << "its family's room";
  EXPECT_EQ(table.counts().provisional, 1u);
}

TEST(AffinityVisit, ShowsEveryEntryOnceAndAsItIs) {
  AffinityTable table({.capacity_v4 = 5000, .capacity_v6 = 300, .key = kSecret, .epoch = ms(77)});
  table.set_scope(kScope, {.timeout = Seconds{10}});
  for (std::uint32_t n = 0; n < 3000; ++n) assign(table, client(n), 1000 + n, 100 + n, n % 2 == 0);
  for (std::uint8_t n = 0; n < 200; ++n) assign(table, client_v6(n), 20'000, 200u + n);
  const auto all = everything(table, ms(13'000));
  EXPECT_EQ(all.size(), 3200u);
  std::set<net::Address> clients;
  for (const EntryView& entry : all) {
    EXPECT_TRUE(clients.insert(entry.key.client).second);
    EXPECT_EQ(entry.key.scope, kScope);
    if (!entry.key.client.is_v4()) continue;
    const std::uint32_t n = entry.endpoint - 100;
    EXPECT_EQ(entry.key, client(n));
    EXPECT_EQ(entry.stamp, ms(1000 + n));
    EXPECT_EQ(entry.confirmed, n % 2 == 0);
    EXPECT_EQ(entry.expired, 13'000 - (1000 + n) > 10'000);
  }
}

TEST(AffinityErase, OfAScopeLeavesTheOthers) {
  AffinityTable table({.capacity_v4 = 3000, .capacity_v6 = 300, .key = kSecret});
  for (std::uint32_t n = 0; n < 3000; ++n) assign(table, client(n, 1 + n % 3), 0);
  for (std::uint8_t n = 0; n < 90; ++n) assign(table, client_v6(n, 1 + n % 3u), 0);
  EXPECT_EQ(table.erase_scope(2), 1030u);
  EXPECT_EQ(table.erase_scope(2), 0u);
  for (std::uint32_t n = 0; n < 3000; ++n) ASSERT_EQ(table.find(client(n, 1 + n % 3), ms(0)).has_value(), n % 3 != 1);
  EXPECT_EQ(table.erase_all(), 2060u);
  EXPECT_EQ(table.counts().entries, 0u);
  EXPECT_EQ(table.counts().provisional, 0u);
}

TEST(AffinityV6, IsKeptApartAndEvictedApart) {
  AffinityTable table({.capacity_v4 = 2, .capacity_v6 = 2, .key = kSecret});
  for (std::uint32_t n = 0; n < 2; ++n) assign(table, client(n), 0);
  for (std::uint8_t n = 0; n < 20; ++n) assign(table, client_v6(n), n);
  EXPECT_EQ(table.find(client_v6(19), ms(19)), kA);
  EXPECT_EQ(table.find(client(0), ms(0)), kA);
  EXPECT_EQ(table.counts().entries, 4u);
  EXPECT_EQ(table.counts().evicted_confirmed, 18u);
}

// ---- the next process

TEST(AffinityMemory, IsTakenOverAsItWasLeft) {
  const AffinityOptions both{.capacity_v4 = 3000, .capacity_v6 = 300, .key = kSecret};
  const store::ZeroedMemory memory(AffinityTable::memory(both));
  const std::span<std::byte> bytes(memory.data(), AffinityTable::memory(both));
  {
    AffinityTable table(both, bytes);
    for (std::uint32_t n = 0; n < 2000; ++n) assign(table, client(n), n, 100 + n, n % 2 == 0);
    for (std::uint8_t n = 0; n < 200; ++n) assign(table, client_v6(n), n, 100u + n);
  }
  AffinityTable table(both, bytes);
  const RecoveryCounts counts = table.recover(ms(2000));
  EXPECT_EQ(counts.torn_shards, 0u);
  EXPECT_EQ(table.counts().entries, 2200u);
  EXPECT_EQ(table.counts().provisional, 1000u);
  for (std::uint32_t n = 0; n < 2000; ++n) ASSERT_EQ(table.find(client(n), ms(2000)), 100 + n);
  for (std::uint8_t n = 0; n < 200; ++n) ASSERT_EQ(table.find(client_v6(n), ms(2000)), 100u + n);
}

// ---- threads

TEST(AffinityThreads, AgreeWithAShadow) {
  // Each thread has its own clients, whose every answer it can foretell, in shards that all of them share, while
  // entries are moved by the erasing and sweeping of all.
  constexpr unsigned kThreads = 4, kClients = 500, kSteps = 20'000;
  AffinityTable table({.capacity_v4 = kThreads * kClients, .key = kSecret});
  table.set_scope(kScope, {.timeout = Seconds{0}});
  std::atomic<unsigned> wrong{0};
  std::array<std::map<std::uint32_t, std::uint32_t>, kThreads> shadows;
  const auto run = [&](unsigned thread) {
    std::mt19937 random(thread);
    std::map<std::uint32_t, std::uint32_t>& shadow = shadows[thread];
    for (std::uint32_t step = 0; step < kSteps; ++step) {
      const auto n = static_cast<std::uint32_t>(thread * kClients + random() % kClients);
      const auto known = shadow.find(n);
      switch (random() % 8) {
        case 0:
          wrong += table.erase(client(n)) != (known != shadow.end());
          shadow.erase(n);
          break;
        case 1:
          table.sweep(64, ms(step));
          break;
        case 2:
          table.put(client(n), step, ms(step), true);
          shadow[n] = step;
          break;
        case 3:
          wrong +=
              table.find(client(n), ms(step)) != (known == shadow.end() ? std::nullopt : std::optional(known->second));
          break;
        default: {
          const Assignment got = table.get_or_assign(client(n), ms(step), always, choose(step));
          wrong += got.endpoint != (known == shadow.end() ? step : known->second);
          shadow[n] = got.endpoint;
          table.confirm(client(n), got.endpoint, ms(step));
        }
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (int i = 0; i < 20; ++i) everything(table, ms(0));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  std::size_t total = 0;
  for (const auto& shadow : shadows) {
    total += shadow.size();
    for (const auto& [n, endpoint] : shadow) ASSERT_EQ(table.find(client(n), ms(kSteps)), endpoint);
  }
  EXPECT_EQ(table.counts().entries, total);
  EXPECT_EQ(everything(table, ms(0)).size(), total);
}

}  // namespace
}  // namespace limpet::affinity
