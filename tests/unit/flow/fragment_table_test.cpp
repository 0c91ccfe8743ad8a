// The fates of first fragments: who is found, how long, and who makes way; against a plain list of datagrams.
#include "conntrack/flow/fragment_table.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/pick/rng.h"

namespace limpet::flow {
namespace {

using net::Address;
using net::DatagramId;
using net::Protocol;

constexpr store::HashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

Instant at_ms(std::int64_t ms) {
  return Instant{Milliseconds{ms}};
}
DatagramId datagram(std::uint32_t identification, const char* source = "10.0.0.1",
                    const char* destination = "10.96.0.1", Protocol protocol = Protocol::udp) {
  return {*Address::parse(source), *Address::parse(destination), protocol, identification};
}
/// A fate that says which datagram it is of.
FragmentFate fate(std::uint32_t number) {
  return {.accept = true,
          .source = *Address::parse("10.0.0.1"),
          .destination = Address::from_v4(number),
          .rewritten = true,
          .mark = number};
}
/// The number in the fate that is known of a datagram; -1: none.
std::int64_t number(const std::optional<FragmentFate>& found) {
  return found ? std::int64_t{found->mark} : -1;
}

TEST(FragmentTable, ReturnsTheWholeFate) {
  FragmentTable table({.capacity = 8, .key = kKey});
  const FragmentFate v6{.accept = true,
                        .source = *Address::parse("2001:db8::7"),
                        .destination = *Address::parse("fd01::5"),
                        .rewritten = true,
                        .mark = 0xffffffff};
  EXPECT_TRUE(table.remember(datagram(1, "2001:db8::7", "fd00::1"), v6, at_ms(0)));
  const auto found = table.find(datagram(1, "2001:db8::7", "fd00::1"), at_ms(0));
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->accept && found->rewritten);
  EXPECT_EQ(found->source, v6.source);
  EXPECT_EQ(found->destination, v6.destination);
  EXPECT_EQ(found->mark, v6.mark);
  EXPECT_TRUE(table.remember(datagram(1, "2001:db8::7", "fd00::1"), {}, at_ms(1)));
  EXPECT_FALSE(table.find(datagram(1, "2001:db8::7", "fd00::1"), at_ms(1))->accept)
      << "the newest first fragment counts";
}

TEST(FragmentTable, EveryPartOfTheNameCounts) {
  // One entry each, in a table where all of them share the one shard: only the comparison tells them apart.
  const std::vector<DatagramId> names{datagram(7),
                                      datagram(8),
                                      datagram(7, "10.0.0.2"),
                                      datagram(7, "10.0.0.1", "10.96.0.2"),
                                      datagram(7, "10.0.0.1", "10.96.0.1", Protocol::tcp),
                                      datagram(7, "10.96.0.1", "10.0.0.1"),
                                      datagram(7, "::ffff:10.0.0.1", "::ffff:10.96.0.1")};
  FragmentTable table({.capacity = 8, .key = kKey});
  ASSERT_EQ(table.capacity(), 8u);
  for (std::uint32_t i = 0; i < names.size(); ++i) EXPECT_TRUE(table.remember(names[i], fate(i), at_ms(0)));
  EXPECT_TRUE(table.remember(names[0], fate(99), at_ms(0), 1));
  for (std::uint32_t i = 0; i < names.size(); ++i) EXPECT_EQ(number(table.find(names[i], at_ms(0))), i);
  EXPECT_EQ(number(table.find(names[0], at_ms(0), 1)), 99) << "the same name at another stage";
  EXPECT_FALSE(table.find(names[1], at_ms(0), 1));
}

TEST(FragmentTable, LivesForItsTimeoutAndIsRenewedByItsFirstFragmentOnly) {
  FragmentTable table({.capacity = 8, .key = kKey, .timeout = Seconds{30}});
  table.remember(datagram(1), fate(1), at_ms(1000));
  EXPECT_EQ(number(table.find(datagram(1), at_ms(31'000))), 1) << "30 s, inclusive";
  EXPECT_FALSE(table.find(datagram(1), at_ms(31'001))) << "finding it has not renewed it";
  table.remember(datagram(1), fate(2), at_ms(20'000));
  EXPECT_EQ(number(table.find(datagram(1), at_ms(50'000))), 2);
  EXPECT_FALSE(table.find(datagram(1), at_ms(50'001)));
}

TEST(FragmentTable, NothingIsKnownAtFirst) {
  const FragmentTable table({.capacity = 8, .key = kKey});
  EXPECT_FALSE(table.find({}, at_ms(0))) << "an empty entry is no datagram of zeros";
  EXPECT_FALSE(table.find({}, Instant::min()));
}

TEST(FragmentTable, CapacityIsRoundedUp) {
  for (const auto& [asked, got] : std::vector<std::pair<std::uint32_t, std::size_t>>{
           {0, 8}, {1, 8}, {8, 8}, {9, 16}, {4096, 4096}, {4097, 4104}}) {
    EXPECT_EQ(FragmentTable({.capacity = asked, .key = kKey}).capacity(), got) << asked;
  }
}

/// One shard, as the header describes it: a list.
class Model {
 public:
  bool remember(std::uint32_t identification, std::uint32_t value, std::int64_t now) {
    std::erase_if(known_, [&](const Known& k) { return k.identification == identification || k.deadline < now; });
    const bool full = known_.size() == FragmentTable::kWays;
    if (full) known_.erase(known_.begin());  // in order of time: the oldest
    known_.push_back({identification, value, now + 30'000});
    return !full;
  }
  std::int64_t find(std::uint32_t identification, std::int64_t now) const {
    for (const Known& k : known_) {
      if (k.identification == identification && now <= k.deadline) return k.value;
    }
    return -1;
  }

 private:
  struct Known {
    std::uint32_t identification, value;
    std::int64_t deadline;
  };
  std::vector<Known> known_;
};

TEST(FragmentTable, AShardDoesAsTheModel) {
  constexpr std::uint32_t kNames = 12;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    FragmentTable table({.capacity = FragmentTable::kWays, .key = kKey});
    Model model;
    pick::Rng rng(seed);
    std::int64_t now = 0;
    unsigned forgotten = 0, expired = 0;
    for (std::uint32_t step = 0; step < 3000; ++step) {
      now += 1 + static_cast<std::int64_t>(rng() % (step % 100 < 50 ? 2000 : 10'000));
      const auto name = static_cast<std::uint32_t>(rng() % kNames);
      const bool known_before = model.find(name, now) >= 0;
      const bool kept = model.remember(name, step, now);
      ASSERT_EQ(table.remember(datagram(name), fate(step), at_ms(now)), kept) << step;
      forgotten += !kept, expired += kept && !known_before;
      for (std::uint32_t other = 0; other < kNames; ++other) {
        ASSERT_EQ(number(table.find(datagram(other), at_ms(now))), model.find(other, now)) << step << ' ' << other;
      }
    }
    EXPECT_GT(forgotten, 100u);  // both ways to find room were taken
    EXPECT_GT(expired, 100u);
  }
}

// 4096 datagrams over 512 shards: the fullest of them holds more than 8 of its 8, so some are forgotten, but few. A
// shard's share is Poisson distributed with mean 8: E[max(0, X - 8)] = 8 * P(X = 8) = 8 * e^-8 * 8^8 / 8! = 1.117 a
// shard, 572 in all; variance of max(0, X - 8) is about 3.2 a shard, so sigma is about 40 in all. 5 sigma either way.
TEST(FragmentTable, ShardsAreEvenlyUsed) {
  FragmentTable table({.capacity = 4096, .key = kKey});
  unsigned forgotten = 0;
  for (std::uint32_t i = 0; i < 4096; ++i) forgotten += !table.remember(datagram(i), fate(i), at_ms(i));
  EXPECT_NEAR(forgotten, 572, 200);
  unsigned found = 0;
  for (std::uint32_t i = 0; i < 4096; ++i) found += number(table.find(datagram(i), at_ms(4096))) == i;
  EXPECT_EQ(found + forgotten, 4096u);
}

TEST(FragmentTable, ThreadsNeverSeeHalfAFate) {
  FragmentTable table({.capacity = 8, .key = kKey});
  std::atomic<unsigned> wrong{0}, seen{0};
  const auto run = [&](unsigned thread) {
    for (std::uint32_t step = 0; step < 20'000; ++step) {
      const std::uint32_t name = (step * 7 + thread) % 12;
      if (step % 2 == 0) table.remember(datagram(name), fate(name << 16 | step % 1000), at_ms(step));
      const auto found = table.find(datagram(name), at_ms(step));
      if (!found) continue;
      ++seen;
      if (found->destination != Address::from_v4(found->mark) || found->mark >> 16 != name) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(seen, 1000u);
}

}  // namespace
}  // namespace limpet::flow
