// chi_square.h: do counts follow shares? A bound that a fair sample passes, but for a probability that is said.
//
//   statistic   Pearson's: sum of (count - expected)² / expected
//   bound       P(X > d + 2 √(d x) + 2 x) ≤ e^-x for a chi-square variable of d degrees of freedom (Laurent and Massart,
//               Annals of Statistics 28, 2000, lemma 1). Pearson's statistic is one closely enough where every outcome is
//               expected 20 times or more
#pragma once

#include <cmath>
#include <cstddef>
#include <map>
#include <string>

namespace limpet::test {

using Shares = std::map<std::string, double>;
using Tally = std::map<std::string, std::size_t>;

/// Infinite, where something came that has no share.
inline double chi_square(const Tally& counts, const Shares& shares, std::size_t n) {
  double sum = 0;
  for (const auto& [outcome, share] : shares) {
    const auto count = counts.find(outcome);
    const double expected = share * static_cast<double>(n);
    const double off = (count == counts.end() ? 0 : static_cast<double>(count->second)) - expected;
    sum += off * off / expected;
  }
  for (const auto& [outcome, count] : counts) {
    if (!shares.contains(outcome)) return INFINITY;
  }
  return sum;
}

/// A fair sample is above it with at most this probability.
inline double chi_square_bound(std::size_t outcomes, double probability) {
  const double freedom = static_cast<double>(outcomes) - 1, x = -std::log(probability);
  return freedom + 2 * std::sqrt(freedom * x) + 2 * x;
}

}  // namespace limpet::test
