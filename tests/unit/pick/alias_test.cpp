#include "lb/pick/alias.h"

#include <cmath>
#include <numeric>
#include <string>

#include <gtest/gtest.h>

namespace limpet::pick {
namespace {

using Weights = std::vector<std::uint32_t>;

struct Case {
  std::string name;
  Weights weights;
};

Weights random_weights(std::size_t n, std::uint64_t seed, std::uint64_t below) {
  Rng rng(seed);
  Weights weights(n);
  for (std::uint32_t& weight : weights) weight = static_cast<std::uint32_t>(rng.uniform(below));
  return weights;
}

std::vector<Case> cases() {
  constexpr std::uint32_t kMax = 0xffffffff;
  Weights powers, ascending(1000);
  for (unsigned bit = 0; bit < 32; ++bit) powers.push_back(std::uint32_t{1} << bit);
  std::iota(ascending.begin(), ascending.end(), 0U);
  return {
      {"one", {1}},
      {"one, heavy", {kMax}},
      {"the seed's four endpoints", {1, 1, 1, 1}},
      {"three to one", {3, 1}},
      {"seven and thirds", {7, 3, 3}},
      {"zero first", {0, 1}},
      {"zeros around", {0, 0, 5, 0, 7, 0}},
      {"all but one zero", {0, 0, 0, 9}},
      {"one giant", {1, 1, 1, kMax}},
      {"giants", Weights(65535, kMax)},  // n * sum = 65535 * 65535 * (2^32 - 1), just below 2^64
      {"giants and ones", {kMax, 1, kMax, 1, kMax, 1, 0}},
      {"powers of two", powers},
      {"ascending", ascending},
      {"random 10,000 below 100", random_weights(10'000, 7, 100)},
      {"random 100 of any size", random_weights(100, 8, std::uint64_t{1} << 32)},
      {"mostly zero", random_weights(500, 9, 2)},
  };
}

// The probability of endpoint i is units(i) / (n * W). It must be w_i / W, so units(i) = n * w_i, with nothing rounded.
TEST(Alias, ProbabilitiesAreExact) {
  for (const auto& [name, weights] : cases()) {
    const AliasTable table = AliasTable::build(weights);
    ASSERT_EQ(table.slots(), weights.size()) << name;
    EXPECT_EQ(table.total(), std::accumulate(weights.begin(), weights.end(), std::uint64_t{0})) << name;
    // units() reads every slot: of a large table a sample of a hundred endpoints.
    for (std::size_t i = 0; i < weights.size(); i += 1 + weights.size() / 100)
      ASSERT_EQ(table.units(static_cast<std::uint32_t>(i)), weights.size() * weights[i]) << name << ", endpoint " << i;
  }
}

TEST(Alias, EmptyWithoutAPositiveWeight) {
  EXPECT_TRUE(AliasTable().empty());
  EXPECT_TRUE(AliasTable::build({}).empty());
  EXPECT_TRUE(AliasTable::build(Weights{0, 0, 0}).empty());
  EXPECT_FALSE(AliasTable::build(Weights{0, 1, 0}).empty());
}

/// Pearson's statistic of the endpoints of positive weight over `draws` picks; fails if one of weight 0 is picked.
double chi_square(const Weights& weights, std::uint64_t seed, std::uint64_t draws) {
  const AliasTable table = AliasTable::build(weights);
  Rng rng(seed);
  std::vector<std::uint64_t> counts(weights.size());
  for (std::uint64_t i = 0; i < draws; ++i) ++counts.at(table.pick(rng));
  double statistic = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) {
      EXPECT_EQ(counts[i], 0U) << "endpoint " << i << " has no weight";
      continue;
    }
    const double expected = static_cast<double>(draws) * weights[i] / static_cast<double>(table.total());
    const double excess = static_cast<double>(counts[i]) - expected;
    statistic += excess * excess / expected;
  }
  return statistic;
}

// Chi-square with k degrees of freedom has mean k and variance 2k; by Wilson and Hilferty its cube root is nearly
// normal, so the bound at 5 sigma (one in 3.5 million) is k (1 - 2/9k + 5 sqrt(2/9k))^3.
TEST(Alias, PicksFollowTheWeights) {
  const std::vector<Case> kCases = {
      {"the seed's four endpoints", {1, 1, 1, 1}},
      {"three to one", {3, 1}},
      {"seven and thirds", {7, 3, 3}},
      {"zeros around", {0, 0, 5, 0, 7, 0}},
      {"ten to one", {10, 1, 1, 1}},
      {"hundred", random_weights(100, 3, 50)},
  };
  constexpr std::uint64_t kSeed = 42, kDraws = 200'000;
  for (const auto& [name, weights] : kCases) {
    const auto positive = weights.size() - static_cast<std::size_t>(std::count(weights.begin(), weights.end(), 0U));
    const double k = static_cast<double>(positive - 1), spread = 2 / (9 * k);
    const double bound = k * std::pow(1 - spread + 5 * std::sqrt(spread), 3);
    EXPECT_LT(chi_square(weights, kSeed, kDraws), bound) << name << ", seed " << kSeed << ", " << kDraws << " draws";
  }
}

TEST(Alias, TheSameSeedPicksTheSame) {
  const AliasTable table = AliasTable::build(Weights{5, 1, 1});
  Rng a(11), b(11);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(table.pick(a), table.pick(b));
}

}  // namespace
}  // namespace limpet::pick
