// xt_recent's rules, one by one. Expected values follow recent_mt() by hand, at 250 ticks a second unless it is said.
#include "lb/affinity/recent_table.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/pick/rng.h"
#include "tests/unit/affinity/recent_fixture.h"

namespace limpet::affinity {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint64_t kNow = 1'000'000;

TEST(RecentTable, AnAgeOfTheLimitStillCounts) {
  struct Case {
    std::uint32_t per_second, seconds;
    std::uint64_t age;
    bool matches;
  };
  const Case cases[] = {
      {250, 2, 499, true},
      {250, 2, 500, true},
      {250, 2, 501, false},
      {1000, 1, 1000, true},
      {1000, 1, 1001, false},
      {250, 0, 900'000, true},  // no --seconds: whatever the age
      // 17179872 s · 250 = 2^32 + 704: the product wraps in 32 bits.
      {250, 17179872, 703, true},
      {250, 17179872, 704, true},
      {250, 17179872, 705, false},
      {250, 4294967295, 4'000'000'000, true},  // 2^32 - 250 ticks
  };
  for (const Case& c : cases) {
    for (const RecentMatch& base : {kRcheck, kUpdate}) {
      RecentTable table({.per_second = c.per_second}, kSet);
      table.match(kSet, from("10.0.0.1"), kNow);
      const RecentMatch asked = with_seconds(base, c.seconds);
      EXPECT_EQ(table.match(asked, from("10.0.0.1"), kNow + c.age), c.matches) << c.seconds << " s, age " << c.age;
    }
  }
}

// Before INITIAL_JIFFIES have passed zero, five minutes after boot on a 32-bit kernel; here, round 2^64.
TEST(RecentTable, AgesAreRightAcrossAWrapOfTheCounter) {
  RecentTable table({}, kSet);
  const std::uint64_t before = ~std::uint64_t{0} - 99;  // 100 ticks before zero
  table.match(kSet, from("10.0.0.1"), before);
  EXPECT_TRUE(table.match(with_seconds(kRcheck, 1), from("10.0.0.1"), 150));   // age 250
  EXPECT_FALSE(table.match(with_seconds(kRcheck, 1), from("10.0.0.1"), 151));  // age 251
}

TEST(RecentTable, WhoIsUnknownIsOnlySet) {
  for (const RecentMatch& asked : {kRcheck, kUpdate, kRemove, with_reap(kRcheck, 1)}) {
    RecentTable table({}, asked);
    EXPECT_FALSE(table.match(asked, from("10.0.0.1"), kNow));
    EXPECT_TRUE(table.match(inverted(asked), from("10.0.0.1"), kNow));
    EXPECT_THAT(table.records(), IsEmpty());
  }
  RecentTable table({}, kSet);
  EXPECT_TRUE(table.match(kSet, from("10.0.0.1"), kNow));
  EXPECT_FALSE(table.match(inverted(kSet), from("10.0.0.2"), kNow));
  EXPECT_THAT(table.records(), SizeIs(2));
}

TEST(RecentTable, UpdateDatesAnewWhereItMatches) {
  struct Case {
    const char* name;
    RecentMatch asked;
    bool matches;
    std::vector<std::uint64_t> stamps;
  };
  // Remembered at kNow, asked at kNow + 300 (1.2 s later).
  const Case cases[] = {
      {"rcheck", kRcheck, true, {kNow}},
      {"! rcheck", inverted(kRcheck), false, {kNow}},
      {"update", kUpdate, true, {kNow, kNow + 300}},
      {"update, expired", with_seconds(kUpdate, 1), false, {kNow}},
      {"! update: it is known, so the match is false", inverted(kUpdate), false, {kNow}},
      {"! update, expired: the match is true, so it is dated",
       inverted(with_seconds(kUpdate, 1)),
       true,
       {kNow, kNow + 300}},
      {"update, too few hits", with_hitcount(kUpdate, 2), false, {kNow}},
      {"set", kSet, true, {kNow, kNow + 300}},
      {"! set", inverted(kSet), false, {kNow, kNow + 300}},
  };
  for (const Case& c : cases) {
    RecentTable table({}, kSet);
    table.match(kSet, from("10.0.0.1", 10), kNow);
    EXPECT_EQ(table.match(c.asked, from("10.0.0.1", 20), kNow + 300), c.matches) << c.name;
    const auto records = table.records();
    ASSERT_THAT(records, SizeIs(1)) << c.name;
    EXPECT_EQ(records[0].stamps, c.stamps) << c.name;
    EXPECT_EQ(records[0].ttl, c.stamps.size() == 1 ? 10 : 20) << c.name;
  }
}

TEST(RecentTable, HitsAreCountedAmongTheStampsInTime) {
  struct Case {
    std::uint32_t seconds, hitcount;
    bool matches;
  };
  // Stamps of ages 600, 300, 250 and 0.
  const Case cases[] = {{0, 4, true}, {0, 5, false}, {1, 1, true}, {1, 2, true}, {1, 3, false},
                        {2, 3, true}, {2, 4, false}, {3, 4, true}, {1, 0, true}};
  for (const Case& c : cases) {
    RecentTable table({}, kSet);
    for (const std::uint64_t age : {600U, 300U, 250U, 0U}) table.match(kSet, from("10.0.0.1"), kNow - age);
    const RecentMatch asked = with_hitcount(with_seconds(kRcheck, c.seconds), c.hitcount);
    EXPECT_EQ(table.match(asked, from("10.0.0.1"), kNow), c.matches) << c.seconds << " s, " << c.hitcount << " hits";
    EXPECT_EQ(table.match(inverted(asked), from("10.0.0.1"), kNow), !c.matches);
  }
}

TEST(RecentTable, ARingGoesRound) {
  // The only rule asks for 3 hits: a ring of 4.
  RecentTable table({}, with_hitcount(kUpdate, 3));
  for (std::uint64_t t = 1; t <= 6; ++t) table.match(kSet, from("10.0.0.1"), t);
  // Slots: 1 2 3 4, then 5 and 6 over the first two; the next would go to slot 2.
  EXPECT_THAT(table.records(), ElementsAre(RecentRecord{address("10.0.0.1"), 64, 2, 6, {5, 6, 3, 4}}));
}

TEST(RecentTable, RingsAreWhatTheMostDemandingRuleNeeds) {
  struct Case {
    std::uint32_t hitcount, least_stamps, ring;
  };
  const Case cases[] = {{0, 0, 32},        {1, 0, 1},      {2, 0, 2},        {3, 0, 4}, {20, 0, 32},
                        {33, 0, 64},       {0, 20, 32},    {0, 5, 8},        {5, 5, 8}, {6, 5, 8},
                        {65535, 0, 65536}, {40, 100, 128}, {0, 65536, 65536}};
  for (const Case& c : cases) {
    const RecentTable table({.least_stamps = c.least_stamps}, with_hitcount(kRcheck, c.hitcount));
    EXPECT_EQ(table.ring(), c.ring) << c.hitcount << " hits, at least " << c.least_stamps;
  }
}

TEST(RecentTable, ARingThatGrowsForgetsEveryEntry) {
  RecentTable table({}, kSet);
  table.match(kSet, from("10.0.0.1"), kNow);
  table.admit(with_hitcount(kRcheck, 32));
  EXPECT_THAT(table.records(), SizeIs(1)) << "32 stamps are there already";
  table.admit(with_hitcount(kRcheck, 33));
  EXPECT_THAT(table.records(), IsEmpty());
  EXPECT_EQ(table.ring(), 64U);
  EXPECT_EQ(table.counts().flushed, 1U);
  table.match(kSet, from("10.0.0.1"), kNow);
  table.admit(kRcheck);
  EXPECT_EQ(table.ring(), 64U) << "it never shrinks";
  EXPECT_THAT(table.records(), SizeIs(1));
}

// hitcount 65535 with every slot in use: the kernel's 16-bit slot number would run over, ours does not.
TEST(RecentTable, TheLongestRingGoesRoundToo) {
  RecentTable table({}, with_hitcount(kRcheck, 65535));
  for (std::uint64_t t = 1; t <= 65536; ++t) table.match(kSet, from("10.0.0.1"), t);
  const auto full = table.records();
  EXPECT_EQ(full[0].next_slot, 65536U);
  EXPECT_EQ(full[0].last_seen, 65536U);
  table.match(with_reap(kRcheck, 1), from("10.0.0.1"), 65536 + 250);
  EXPECT_THAT(table.records(), SizeIs(1));
  table.match(kSet, from("10.0.0.1"), 65537);
  EXPECT_EQ(table.records()[0].next_slot, 1U);
  EXPECT_THAT(table.records()[0].stamps, SizeIs(65536));
}

TEST(RecentTable, AtCapacityTheLongestUnusedGoes) {
  RecentTable table({.capacity = 3}, kSet);
  for (const char* client : {"10.0.0.1", "10.0.0.2", "10.0.0.3"}) table.match(kSet, from(client), kNow);
  EXPECT_THAT(order(table), ElementsAre("10.0.0.1", "10.0.0.2", "10.0.0.3"));
  table.match(kRcheck, from("10.0.0.1"), kNow);  // does not use it
  table.match(kUpdate, from("10.0.0.2"), kNow);
  EXPECT_THAT(order(table), ElementsAre("10.0.0.1", "10.0.0.3", "10.0.0.2"));
  table.match(kSet, from("10.0.0.4"), kNow);
  EXPECT_THAT(order(table), ElementsAre("10.0.0.3", "10.0.0.2", "10.0.0.4"));
  table.match(inverted(kUpdate), from("10.0.0.3"), kNow);  // false, so not dated
  table.match(kSet, from("10.0.0.5"), kNow);
  EXPECT_THAT(order(table), ElementsAre("10.0.0.2", "10.0.0.4", "10.0.0.5"));
  EXPECT_EQ(table.counts().evicted, 2U);
  table.match(kRemove, from("10.0.0.4"), kNow);
  table.match(kSet, from("10.0.0.6"), kNow);
  EXPECT_THAT(order(table), ElementsAre("10.0.0.2", "10.0.0.5", "10.0.0.6"));
  EXPECT_EQ(table.counts().evicted, 2U);
}

TEST(RecentTable, UnlimitedMeansThatNobodyGoes) {
  RecentTable table({.capacity = RecentOptions::kUnlimited}, kSet);
  constexpr std::uint32_t kClients = 20'000;
  for (std::uint32_t i = 0; i < kClients; ++i) {
    table.match(kSet, {net::Address::from_v4(0x0a000000 + i), address("192.0.2.1"), 64}, kNow + i);
  }
  EXPECT_EQ(table.counts().entries, kClients);
  EXPECT_EQ(table.counts().evicted, 0U);
  for (std::uint32_t i = 0; i < kClients; ++i) {
    ASSERT_TRUE(table.match(kRcheck, {net::Address::from_v4(0x0a000000 + i), address("192.0.2.1"), 64}, kNow)) << i;
  }
}

TEST(RecentTable, ReapTakesTheLongestUnusedIfItHasExpired) {
  // .1 set at 0, .2 at 100: one second is 250 ticks.
  struct Case {
    const char* name;
    RecentMatch asked;
    const char* client;
    std::uint64_t now;
    bool matches;
    std::vector<std::string> left;
  };
  const Case cases[] = {
      {"not yet expired", with_reap(kRcheck, 1), "10.0.0.2", 250, true, {"10.0.0.1", "10.0.0.2"}},
      {"expired", with_reap(kRcheck, 1), "10.0.0.2", 251, true, {"10.0.0.2"}},
      {"the asked one itself", with_reap(kRcheck, 1), "10.0.0.1", 251, false, {"10.0.0.2"}},
      {"the asked one itself, inverted", inverted(with_reap(kRcheck, 1)), "10.0.0.1", 251, true, {"10.0.0.2"}},
      {"one at a time", with_reap(kRcheck, 1), "10.0.0.2", 351, false, {"10.0.0.2"}},
      {"nobody asks for an entry", with_reap(kRcheck, 1), "10.0.0.9", 351, false, {"10.0.0.1", "10.0.0.2"}},
      {"update of an expired one: it goes", with_reap(kUpdate, 1), "10.0.0.1", 251, false, {"10.0.0.2"}},
      {"! update of an expired one: it is dated, and stays",
       inverted(with_reap(kUpdate, 1)),
       "10.0.0.1",
       251,
       true,
       {"10.0.0.2", "10.0.0.1"}},
      {"update of another", with_reap(kUpdate, 1), "10.0.0.2", 251, true, {"10.0.0.2"}},
  };
  for (const Case& c : cases) {
    RecentTable table({}, kSet);
    table.match(kSet, from("10.0.0.1"), 0);
    table.match(kSet, from("10.0.0.2"), 100);
    EXPECT_EQ(table.match(c.asked, from(c.client), c.now), c.matches) << c.name;
    EXPECT_EQ(order(table), c.left) << c.name;
    EXPECT_EQ(table.counts().reaped, 2 - c.left.size()) << c.name;
  }
}

TEST(RecentTable, RttlAsksForTheTtlAndZeroStandsForAny) {
  struct Case {
    std::uint8_t remembered, seen;
    bool matches;
  };
  for (const Case& c : {Case{64, 64, true}, {64, 63, false}, {0, 63, true}, {64, 0, true}}) {
    for (const RecentMatch& asked : {with_rttl(kRcheck), with_rttl(with_seconds(kUpdate, 9)), with_rttl(kUpdate)}) {
      RecentTable table({}, kSet);
      table.match(kSet, from("10.0.0.1", c.remembered), kNow);
      EXPECT_EQ(table.match(inverted(asked), from("10.0.0.1", c.seen), kNow), !c.matches) << +c.remembered << +c.seen;
      EXPECT_EQ(table.match(asked, from("10.0.0.1", c.seen), kNow), c.matches) << +c.remembered << +c.seen;
    }
  }
}

TEST(RecentTable, OneListHoldsBothFamilies) {
  RecentTable table({}, kSet);
  table.match(kSet, from("10.0.0.1"), kNow);
  EXPECT_FALSE(table.match(kRcheck, from("::a00:1"), kNow));
  EXPECT_FALSE(table.match(kRcheck, from("a00:1::"), kNow)) << "the same 16 bytes of storage";
  table.match(kSet, from("2001:db8::7"), kNow);
  EXPECT_TRUE(table.match(kRcheck, from("2001:db8::7"), kNow));
  EXPECT_THAT(order(table), ElementsAre("10.0.0.1", "2001:db8::7"));
}

TEST(RecentTable, TheMaskOfTheFirstRuleHolds) {
  struct Case {
    const char* mask;
    const char* source;
    const char* remembered;
  };
  // Seen on Linux 6.18 with iptables 1.8.9: an IPv4 --mask leaves the other twelve bytes zero.
  const Case cases[] = {{"255.255.255.0", "10.1.2.3", "10.1.2.0"},
                        {"0.0.0.24", "10.1.2.27", "0.0.0.24"},
                        {"255.255.255.0", "2001:db8:1:2:3:4:5:6", "2001:d00::"},
                        {"255.255.255.255", "2001:db8:1:2:3:4:5:6", "2001:db8::"},
                        {"ffff:ffff:ffff::", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"},
                        {"ffff:ffff:ffff::", "10.1.2.3", "10.1.2.3"}};
  for (const Case& c : cases) {
    RecentTable table({}, masked(kSet, c.mask));
    table.match(masked(kSet, "255.0.0.0"), from(c.source), kNow);
    EXPECT_THAT(order(table), ElementsAre(c.remembered)) << c.mask;
  }
}

TEST(RecentTable, TheDestinationMayBeAskedFor) {
  RecentTable table({}, kSet);
  RecentMatch by_destination = kSet;
  by_destination.by_destination = true;
  table.match(by_destination, from("10.0.0.1"), kNow);
  EXPECT_THAT(order(table), ElementsAre("192.0.2.1"));
}

TEST(RecentTable, ByHandAddressesAreNotMasked) {
  RecentTable table({}, masked(kSet, "255.255.255.0"));
  table.add(address("10.1.0.2"), kNow);
  EXPECT_FALSE(table.match(kRcheck, from("10.1.0.2"), kNow));
  EXPECT_FALSE(table.erase(address("10.1.0.0")));
  table.match(kSet, from("10.1.0.7", 33), kNow + 1);
  table.add(address("10.1.0.0"), kNow + 2);
  EXPECT_THAT(table.records(), ElementsAre(RecentRecord{address("10.1.0.2"), 0, 1, kNow, {kNow}},
                                           RecentRecord{address("10.1.0.0"), 33, 2, kNow + 2, {kNow + 1, kNow + 2}}));
  EXPECT_TRUE(table.erase(address("10.1.0.2")));
  table.flush();
  EXPECT_THAT(table.records(), IsEmpty());
}

// Every packet is either the first of its client or finds it: under one lock, no client is there twice.
TEST(RecentTable, ManyThreadsShareAList) {
  constexpr unsigned kThreads = 4, kClients = 64, kRounds = 200;
  RecentTable table({.capacity = kClients}, with_hitcount(kSet, 0));
  table.admit(with_hitcount(kRcheck, kThreads * kRounds));
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table] {
      for (unsigned round = 0; round < kRounds; ++round) {
        for (std::uint32_t i = 0; i < kClients; ++i) {
          table.match(kSet, {net::Address::from_v4(i), address("192.0.2.1"), 64}, kNow);
        }
      }
    });
  }
  threads.clear();
  const auto records = table.records();
  EXPECT_THAT(records, SizeIs(kClients));
  for (const RecentRecord& record : records) EXPECT_THAT(record.stamps, SizeIs(kThreads * kRounds));
  EXPECT_EQ(table.counts().evicted, 0U);
}

// Whatever the rule, and whatever is remembered: peek() answers as ask() would, and leaves everything as it is.
TEST(RecentTable, PeekAnswersAsAskWould) {
  const RecentMatch rules[] = {kSet,
                               kRcheck,
                               kUpdate,
                               kRemove,
                               inverted(kSet),
                               inverted(kRemove),
                               inverted(with_seconds(kUpdate, 1)),
                               with_rttl(with_hitcount(kRcheck, 2)),
                               with_reap(kRcheck, 1),
                               with_rttl(with_reap(kUpdate, 2))};
  RecentTable table({.capacity = 4}, kSet);
  pick::Rng rng(7);
  std::uint64_t now = kNow;
  int known = 0;
  for (int i = 0; i < 2000; ++i) {
    now += rng.uniform(200);
    const RecentMatch& asked = rules[rng.uniform(std::size(rules))];
    const RecentPacket packet =
        from("10.0.0." + std::to_string(rng.uniform(6)), static_cast<std::uint8_t>(rng.uniform(3)));
    const auto before = table.records();
    const RecentAnswer peeked = table.peek(asked, packet, now);
    ASSERT_EQ(table.records(), before) << i;
    const bool there = std::any_of(before.begin(), before.end(), [&](const RecentRecord& record) {
      const bool ttl_fits = !asked.rttl || packet.ttl == 0 || record.ttl == 0 || record.ttl == packet.ttl;
      return record.address == packet.source && ttl_fits;
    });
    ASSERT_EQ(peeked.known, there) << i;
    const RecentAnswer answer = table.ask(asked, packet, now);
    ASSERT_EQ(peeked.matches, answer.matches) << i;
    ASSERT_EQ(peeked.known, answer.known) << i;
    known += answer.known ? 1 : 0;
  }
  EXPECT_GT(known, 500);
}

}  // namespace
}  // namespace limpet::affinity
