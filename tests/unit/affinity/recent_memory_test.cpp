// Lists have all their memory before packets come, within a bound, and are read and flushed in pieces.
#include "lb/affinity/recent_memory.h"

#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/affinity/linear_buckets.h"
#include "lb/affinity/recent_index.h"
#include "lb/pick/rng.h"
#include "tests/support/allocations.h"
#include "tests/unit/affinity/recent_fixture.h"

namespace limpet::affinity {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

RecentPacket client(std::uint32_t number) {
  return {net::Address::from_v4(0x0a000000 + number), address("192.0.2.1"), 64};
}
RecentMatch in_list(RecentMatch match, const std::string& name) {
  match.name = name;
  return match;
}
/// Of a list: an entry of 44 bytes, its bucket's 4, and the ring.
constexpr std::uint64_t bytes_of(std::uint64_t entries, std::uint64_t ring) {
  return entries * (44 + 4 + 8 * ring);
}

TEST(LinearBuckets, EveryHashIsFoundAfterEveryStep) {
  constexpr std::uint32_t kNone = ~0U, kHashes = 5000;
  LinearBuckets<std::uint32_t> buckets(1000, kNone);
  std::vector<std::uint32_t> hashes(kHashes), next(kHashes);
  pick::Rng rng(3);
  for (std::uint32_t i = 0; i < kHashes; ++i) {
    hashes[i] = static_cast<std::uint32_t>(rng());
    next[i] = std::exchange(buckets[hashes[i]], i);
  }
  EXPECT_EQ(buckets.count(), 128U);
  for (std::size_t count = 129; count <= 1001; ++count) {
    buckets.grow([&](std::uint32_t& from, std::uint32_t& to, std::size_t bit) {
      for (std::uint32_t i = std::exchange(from, kNone); i != kNone;) {
        const std::uint32_t following = next[i];
        next[i] = std::exchange((hashes[i] & bit) != 0 ? to : from, i);
        i = following;
      }
    });
    ASSERT_EQ(buckets.count(), std::min<std::size_t>(count, 1000)) << "no room for more than it was made for";
    for (std::uint32_t i = 0; i < kHashes; ++i) {
      std::uint32_t at = buckets[hashes[i]];
      while (at != kNone && at != i) at = next[at];
      ASSERT_EQ(at, i) << "of " << count;
    }
  }
}

TEST(RecentMemory, IsNeverOverdrawn) {
  RecentMemory memory(100);
  EXPECT_TRUE(memory.take(60));
  EXPECT_FALSE(memory.take(41));
  EXPECT_TRUE(memory.take(40));
  EXPECT_FALSE(memory.take(1));
  memory.give(60);
  EXPECT_FALSE(memory.take(~std::uint64_t{0})) << "no sum runs over";
  EXPECT_TRUE(memory.take(60));
  EXPECT_EQ(memory.used(), 100U);
}

TEST(RecentMemory, AListOfFixedCapacityHasAllOfItAtTheStart) {
  RecentLists lists({.capacity = 10, .memory = bytes_of(25, 32)});
  auto first = *lists.open(kSet);
  EXPECT_EQ(lists.memory().used(), bytes_of(10, 32));
  const auto second = *lists.open(in_list(kSet, "M"));
  const auto third = lists.open(in_list(kSet, "N"));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind, store::ErrorKind::configuration);
  EXPECT_THAT(third.error().message, HasSubstr("list 'N': there is no memory for 10 entries"));
  EXPECT_THAT(lists.names(), ElementsAre("L", "M")) << "what is refused leaves nothing behind";
  first.reset();
  EXPECT_EQ(lists.memory().used(), bytes_of(10, 32)) << "a list that goes gives back";
  EXPECT_TRUE(lists.open(in_list(kSet, "N")));
}

TEST(RecentMemory, ARingThatCannotGrowStaysAsItIs) {
  RecentLists lists({.capacity = 10, .memory = bytes_of(30, 32)});
  const auto list = *lists.open(kSet);
  list->match(kSet, from("10.0.0.1"), 1);
  EXPECT_THAT(lists.open(with_hitcount(kRcheck, 1000)).error().message, HasSubstr("--hitcount 1000"));
  EXPECT_EQ(list->ring(), 32U);
  EXPECT_THAT(order(*list), ElementsAre("10.0.0.1"));
  EXPECT_EQ(lists.memory().used(), bytes_of(10, 32));
  EXPECT_TRUE(lists.open(with_hitcount(kRcheck, 33)));
  EXPECT_EQ(lists.memory().used(), bytes_of(10, 64)) << "the old ring's was given back";
}

// A page of 4096 bytes holds 13 entries of 304: that is what an unlimited list has for certain.
TEST(RecentMemory, UnlimitedListsShareWhatThereIs) {
  RecentLists lists({.capacity = RecentOptions::kUnlimited, .memory = bytes_of(13 * 10, 32)});
  const auto greedy = *lists.open(kSet);
  const auto modest = *lists.open(in_list(kSet, "M"));
  for (std::uint32_t i = 0; i < 1000; ++i) greedy->match(kSet, client(i), i);
  EXPECT_EQ(greedy->counts().entries, 13U * 9);
  EXPECT_EQ(greedy->counts().starved, 1000U - 13 * 9);
  EXPECT_EQ(greedy->counts().evicted, 0U);
  EXPECT_EQ(greedy->memory() + modest->memory(), lists.memory().limit());
  EXPECT_TRUE(greedy->match(kRcheck, client(1000 - 13 * 9), 1000)) << "the longest unused made room";
  EXPECT_FALSE(greedy->match(kRcheck, client(1000 - 13 * 9 - 1), 1000));
  for (std::uint32_t i = 0; i < 20; ++i) modest->match(kSet, client(i), i);
  EXPECT_EQ(modest->counts().entries, 13U);
  EXPECT_EQ(modest->counts().starved, 7U);
}

/// All that packets do, of rules that know the list from the start.
void serve(RecentTable& list, std::uint32_t clients, std::uint64_t rounds) {
  pick::Rng rng(rounds);
  const RecentMatch rules[] = {kSet, kUpdate, with_reap(kRcheck, 1), kRemove, with_hitcount(kRcheck, 3)};
  for (std::uint64_t now = 0; now < rounds; ++now) {
    const auto who = static_cast<std::uint32_t>(rng.uniform(clients));
    list.match(kSet, client(who), now);
    list.peek(kRcheck, client(who), now);
    list.match(rules[rng.uniform(5)], client(static_cast<std::uint32_t>(rng.uniform(clients))), now);
  }
}

TEST(RecentMemory, PacketsNeverAllocate) {
  if (!test::kAllocationsAreCounted) GTEST_SKIP() << "a sanitizer stands before malloc";
  for (const std::uint32_t capacity : {1U, 100U, 5000U, RecentOptions::kUnlimited}) {
    RecentLists lists({.capacity = capacity, .memory = 30'000'000});
    const auto list = *lists.open(kSet), other = *lists.open(in_list(kSet, "M"));
    const RecentIndex index({list, other}, {1, 2});
    const test::AllocationCount before;
    serve(*list, 20'000, 50'000);
    serve(*other, 300, 5'000);
    for (std::uint32_t i = 0; i < 1000; ++i) index.first(client(i).source, 0);
    list->add(address("10.9.9.9"), 1);
    list->flush();
    serve(*list, 20'000, 1000);
    EXPECT_EQ(before.since(), 0U) << "capacity " << capacity;
    EXPECT_GT(list->counts().entries, 0U);
  }
  const test::AllocationCount before;
  const auto counted = std::make_unique<int>(1);
  EXPECT_EQ(before.since(), 1U) << "what does allocate is seen";
}

std::vector<std::string> all_pages(const RecentTable& table) {
  std::vector<std::string> shown;
  std::optional<std::uint32_t> next = 0;
  while (next) {
    const RecentPage page = table.page(*next);
    for (const RecentRecord& record : page.records) shown.push_back(record.address.to_string());
    next = page.next;
  }
  return shown;
}

TEST(RecentPages, ShowEveryEntryOnceAndAreBounded) {
  RecentTable table({.capacity = 1000}, kSet);
  EXPECT_THAT(all_pages(table), IsEmpty());
  for (std::uint32_t i = 0; i < 1000; ++i) table.match(kSet, client(i), i);
  for (std::uint32_t i = 0; i < 1000; i += 3) table.match(kRemove, client(i), 2000);
  for (std::uint32_t i = 1; i < 1000; i += 3) table.match(kSet, client(i), 3000);
  std::set<std::string> there;
  for (const RecentRecord& record : table.records()) there.insert(record.address.to_string());
  const auto shown = all_pages(table);
  EXPECT_THAT(shown, SizeIs(666));
  EXPECT_EQ(std::set<std::string>(shown.begin(), shown.end()), there);
  const RecentPage first = table.page(0);
  EXPECT_EQ(first.next, RecentTable::kSlotsOfPage);
  EXPECT_EQ(first.records.front(), (RecentRecord{address("10.0.0.1"), 64, 2, 3000, {1, 3000}}));
  EXPECT_EQ(table.page(~0U).next, std::nullopt) << "a number that never was a slot is the end";
}

// Rings of 2048 stamps: a page holds as many as 4096 stamps of them, and one of 8192 alone.
TEST(RecentPages, CopyNoMoreStampsThanTheirShare) {
  RecentTable table({.capacity = 9}, with_hitcount(kRcheck, 2048));
  for (std::uint32_t i = 0; i < 5; ++i) {
    for (std::uint64_t now = 1; now <= 2048; ++now) table.match(kSet, client(i), now);
  }
  EXPECT_THAT(table.page(0).records, SizeIs(2));
  EXPECT_EQ(table.page(0).next, 2U);
  EXPECT_THAT(table.page(4).records, SizeIs(1));
  EXPECT_THAT(all_pages(table), SizeIs(5));
  table.admit(with_hitcount(kRcheck, 8192));
  for (std::uint64_t now = 1; now <= 8192; ++now) table.match(kSet, client(7), now);
  ASSERT_THAT(table.page(0).records, SizeIs(1));
  EXPECT_THAT(table.page(0).records[0].stamps, SizeIs(8192));
}

TEST(RecentPages, WhatStaysIsShownOnceWhateverComesAndGoes) {
  RecentTable table({.capacity = 600}, kSet);
  for (std::uint32_t i = 0; i < 500; ++i) table.match(kSet, client(i), i);
  std::multiset<std::string> shown;
  std::uint32_t round = 0;
  for (std::optional<std::uint32_t> next = 0; next; ++round) {
    const RecentPage page = table.page(*next);
    for (const RecentRecord& record : page.records) shown.insert(record.address.to_string());
    next = page.next;
    table.match(kRemove, client(round), 1000);        // one that has been shown
    table.match(kSet, client(10'000 + round), 1000);  // somebody new, perhaps in its slot
    table.match(kUpdate, client(300 + round), 1000);  // moved in the order of eviction
  }
  for (std::uint32_t i = 10; i < 500; ++i) EXPECT_EQ(shown.count(client(i).source.to_string()), 1U) << i;
  const RecentPage page = table.page(0);
  table.flush();
  EXPECT_THAT(table.page(*page.next).records, IsEmpty()) << "nothing of before a flush";
}

TEST(RecentFlush, ForgetsAtOnceAndGoesOn) {
  RecentTable table({.capacity = 300}, kSet);
  auto list = std::shared_ptr<RecentTable>(&table, [](RecentTable*) {});
  const RecentIndex index({list}, {});
  for (std::uint32_t round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < 300; ++i) table.match(kSet, client(i), i);
    table.flush();
    EXPECT_THAT(table.records(), IsEmpty());
    EXPECT_EQ(table.counts().flushed, 300 * (round + 1));
    for (std::uint32_t i = 0; i < 300; ++i) ASSERT_EQ(index.first(client(i).source, 0), RecentIndex::kNone);
    EXPECT_FALSE(table.match(kRcheck, client(7), 1));
  }
  EXPECT_EQ(table.counts().evicted, 0U);
  // More flushes than their count has numbers: what was flushed never comes back.
  for (std::uint32_t i = 0; i < 70'000; ++i) {
    table.match(kSet, client(i), i);
    table.flush();
    ASSERT_FALSE(table.match(kRcheck, client(i), i)) << i;
  }
}

// Packets, readers, a flush, and an index that comes and goes; afterwards the index says what the list says.
TEST(RecentFlush, GoesOnBesidePackets) {
  constexpr std::uint32_t kClients = 700;
  RecentLists lists({.capacity = RecentOptions::kUnlimited, .memory = bytes_of(13 * 30, 32)});
  const auto list = *lists.open(kSet);
  RecentIndex index({list}, {});
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 1; t <= 2; ++t) threads.emplace_back([&, t] { serve(*list, kClients, 3000 + t); });
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const RecentIndex passing({list}, {});
        passing.first(client(3).source, 0);
        EXPECT_LE(all_pages(*list).size(), 2U * kClients);
        if (i % 5 == 0) list->flush();
      }
      EXPECT_TRUE(lists.open(with_hitcount(kRcheck, 40)));
    });
  }
  std::set<std::string> there;
  for (const RecentRecord& record : list->records()) there.insert(record.address.to_string());
  EXPECT_EQ(there.size(), list->counts().entries);
  for (std::uint32_t i = 0; i < kClients; ++i) {
    const net::Address asked = client(i).source;
    ASSERT_EQ(index.first(asked, 0) == 0, there.contains(asked.to_string())) << i;
  }
  EXPECT_EQ(list->ring(), 64U);
}

}  // namespace
}  // namespace limpet::affinity
