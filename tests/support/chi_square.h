// chi_square.h: do counts follow shares? A bound that a fair sample passes, but for a probability that is said.
//
//   statistic   Pearson's: sum of (count - expected)² / expected, over outcomes that are put together, neighbours with
//               neighbours, until each is expected 20 times: then it is a chi-square variable closely enough
//   bound       P(X > d + 2 √(d x) + 2 x) ≤ e^-x for a chi-square variable of d degrees of freedom (Laurent and Massart,
//               Annals of Statistics 28, 2000, lemma 1)
#pragma once

#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace limpet::test {

using Shares = std::map<std::string, double>;
using Tally = std::map<std::string, std::size_t>;

struct ChiSquare {
  double statistic = 0;  // infinite, where something came that has no share
  std::size_t outcomes = 0;

  /// A fair sample is above it with at most this probability.
  double bound(double probability) const {
    const double freedom = static_cast<double>(outcomes) - 1, x = -std::log(probability);
    return freedom + 2 * std::sqrt(freedom * x) + 2 * x;
  }
};

inline ChiSquare chi_square(const Tally& counts, const Shares& shares) {
  constexpr double kLeast = 20;
  struct Outcome {
    double expected = 0, count = 0;
  };
  double n = 0;
  for (const auto& [name, count] : counts) n += static_cast<double>(count);
  std::vector<Outcome> outcomes{{}};
  for (const auto& [name, share] : shares) {
    if (outcomes.back().expected >= kLeast) outcomes.emplace_back();
    const auto count = counts.find(name);
    outcomes.back().expected += share * n;
    outcomes.back().count += count == counts.end() ? 0 : static_cast<double>(count->second);
  }
  if (outcomes.size() > 1 && outcomes.back().expected < kLeast) {
    const Outcome few = outcomes.back();
    outcomes.pop_back();
    outcomes.back().expected += few.expected;
    outcomes.back().count += few.count;
  }
  ChiSquare result{0, outcomes.size()};
  for (const Outcome& one : outcomes) {
    result.statistic += (one.count - one.expected) * (one.count - one.expected) / one.expected;
  }
  for (const auto& [name, count] : counts) {
    if (!shares.contains(name)) result.statistic = INFINITY;
  }
  return result;
}

}  // namespace limpet::test
