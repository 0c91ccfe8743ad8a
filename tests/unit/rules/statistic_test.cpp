// `-m statistic`: thresholds as iptables 1.8.9 makes and prints them, counters as xt_statistic runs them.
#include "lb/rules/statistic.h"

#include <cmath>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::rules {
namespace {

using testing::ElementsAre;

// The texts are those of iptables-save (data/iptables_rule_texts.json); thresholds by hand: lround(2^31 · p).
TEST(Statistic, ProbabilitiesAreMultiplesOf2ToTheMinus31) {
  struct Case {
    const char* text;
    std::uint32_t threshold;
    const char* saved;
  };
  const Case cases[] = {{"0", 0, "0.00000000000"},
                        {"1", 0x80000000, "1.00000000000"},
                        {"0.5", 0x40000000, "0.50000000000"},
                        {"0.33333", 715820724, "0.33332999982"},       // 715820724.39…
                        {"0.3333333333", 715827883, "0.33333333349"},  // 715827882.59…
                        {"0.33333333349", 715827883, "0.33333333349"},
                        {"0.6666666667", 1431655765, "0.66666666651"},  // 1431655765.40…
                        {"2e-10", 0, "0.00000000000"},                  // 0.43
                        {"3e-10", 1, "0.00000000047"},                  // 0.64
                        {"0.9999999999", 0x80000000, "1.00000000000"},
                        {"+.25", 0x20000000, "0.25000000000"},
                        {" 0x1p-2", 0x20000000, "0.25000000000"}};
  for (const Case& c : cases) {
    EXPECT_EQ(parse_probability(c.text), c.threshold) << c.text;
    EXPECT_EQ(probability_text(c.threshold), c.saved) << c.text;
    EXPECT_EQ(parse_probability(c.saved), c.threshold) << "what is saved loads as the same: " << c.saved;
  }
  for (const char* bad : {"", " ", "x", "1.5", "-0.1", "0.5 ", "0,5", "nan", "inf", "0.5x", "1.0000000001"}) {
    EXPECT_EQ(parse_probability(bad), std::nullopt) << bad;
  }
}

TEST(Statistic, RandomMatchesWithItsProbability) {
  constexpr int kDraws = 1'000'000;
  pick::Rng rng(20261127);
  for (const char* text : {"0.5", "0.33333333349", "0.01"}) {
    RandomMatch match{.threshold = *parse_probability(text)};
    int hits = 0;
    for (int i = 0; i < kDraws; ++i) hits += match.match(rng);
    const double p = match.threshold / 2147483648.0;
    const double sigma = std::sqrt(kDraws * p * (1 - p));
    EXPECT_NEAR(hits, kDraws * p, 5 * sigma) << text << ", seed 20261127, 5 sigma";
  }
}

TEST(Statistic, RandomAtTheEnds) {
  pick::Rng rng(1);
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE((RandomMatch{RandomMatch::kAlways, false}.match(rng)));
    EXPECT_FALSE((RandomMatch{RandomMatch::kAlways, true}.match(rng)));
    EXPECT_FALSE((RandomMatch{0, false}.match(rng)));
    EXPECT_TRUE((RandomMatch{0, true}.match(rng)));
  }
}

TEST(Statistic, InversionIsTheOtherHalfOfTheSameDraws) {
  pick::Rng a(7), b(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NE((RandomMatch{0x30000000, false}.match(a)), (RandomMatch{0x30000000, true}.match(b)));
  }
}

std::string first(NthMatch match, int packets) {
  std::string hits;
  for (int i = 0; i < packets; ++i) hits += match.match() ? '1' : '0';
  return hits;
}

TEST(Statistic, NthMatchesItsNumberOfEveryN) {
  EXPECT_EQ(first(NthMatch({3, 0, false}), 7), "1001001");
  EXPECT_EQ(first(NthMatch({3, 1, false}), 7), "0100100");
  EXPECT_EQ(first(NthMatch({3, 2, false}), 7), "0010010");
  EXPECT_EQ(first(NthMatch({3, 1, true}), 7), "1011011");
  EXPECT_EQ(first(NthMatch({1, 0, false}), 4), "1111");
  EXPECT_EQ(first(NthMatch({1, 0, true}), 4), "0000");
  EXPECT_EQ(first(NthMatch({4294967295, 4294967294, false}), 4), "0000");
  EXPECT_EQ(first(NthMatch({4294967295, 2, false}), 4), "0010");
}

TEST(Statistic, NthIsSharedByAllWorkers) {
  constexpr int kThreads = 4, kPackets = 30'000;
  NthMatch match({7, 3, false});
  std::vector<int> hits(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&match, &mine = hits[static_cast<std::size_t>(t)]] {
        int count = 0;
        for (int i = 0; i < kPackets; ++i) count += match.match();
        mine = count;
      });
    }
  }
  // Packets 3, 10, 17, … of 120000: (120000 - 3 - 1) / 7 + 1.
  EXPECT_EQ(hits[0] + hits[1] + hits[2] + hits[3], 17143);
}

TEST(Statistic, AReloadResetsOrPersists) {
  const NthRule rule{3, 2, false};
  for (const auto on_reload : {NthOnReload::reset, NthOnReload::persist}) {
    NthCounters counters(on_reload);
    NthMatch old = counters.open("c2 1 0", rule);
    EXPECT_FALSE(old.match());
    EXPECT_FALSE(old.match());
    NthMatch same = counters.open("c2 1 0", rule);
    EXPECT_EQ(same.match(), on_reload == NthOnReload::persist) << "packet 2, or 0 again";
    NthMatch other_place = counters.open("c2 2 0", rule);
    EXPECT_FALSE(other_place.match());
    NthMatch other_rule = counters.open("c2 1 0", {3, 1, false});
    EXPECT_EQ(first(other_rule, 3), "010");
  }
}

TEST(Statistic, WhatNobodyHoldsBeginsAnew) {
  NthCounters counters(NthOnReload::persist);
  const NthRule rule{2, 0, false};
  { EXPECT_EQ(first(counters.open("a", rule), 1), "1"); }
  EXPECT_EQ(first(counters.open("a", rule), 1), "1") << "were it the same counter, this would be packet 1";
}

// Two workers may still run the old program while others run the new one: they count together.
TEST(Statistic, ThePersistingCounterIsOne) {
  NthCounters counters(NthOnReload::persist);
  const NthRule rule{4, 0, false};
  NthMatch old = counters.open("a", rule);
  NthMatch fresh = counters.open("a", rule);
  std::vector<bool> hits;
  for (int i = 0; i < 4; ++i) {
    hits.push_back(old.match());
    hits.push_back(fresh.match());
  }
  EXPECT_THAT(hits, ElementsAre(true, false, false, false, true, false, false, false));
}

}  // namespace
}  // namespace limpet::rules
