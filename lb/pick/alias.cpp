#include "lb/pick/alias.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace limpet::pick {

namespace {

std::uint64_t sum_of(std::span<const std::uint32_t> weights) noexcept {
  std::uint64_t total = 0;
  for (const std::uint32_t weight : weights) total += weight;
  return total;
}

}  // namespace

AliasTable AliasTable::build(std::span<const std::uint32_t> weights) {
  AliasTable table;
  const std::uint64_t n = weights.size();
  table.total_ = sum_of(weights);
  if (table.total_ == 0) return table;
  assert(n <= std::numeric_limits<std::uint32_t>::max() &&
         table.total_ <= std::numeric_limits<std::uint64_t>::max() / n);

  // Each column starts with all the units of its own endpoint: too few to fill it (small), or enough (large).
  table.slots_.reserve(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    table.slots_.push_back({.threshold = n * weights[i], .self = i, .alias = i});
  }
  if (std::ranges::all_of(weights, [&](std::uint32_t weight) { return weight == weights[0]; })) return table;

  std::vector<std::uint32_t> small, large;
  const auto classify = [&](std::uint32_t column) {
    (table.slots_[column].threshold < table.total_ ? small : large).push_back(column);
  };
  for (std::uint32_t i = 0; i < n; ++i) classify(i);
  // A large column gives a small one what it lacks. All units together fill all columns, so while one is small there is
  // a large one to give, and in the end every column is exactly full.
  while (!small.empty()) {
    Slot& filled = table.slots_[small.back()];
    const std::uint32_t donor = large.back();
    small.pop_back(), large.pop_back();
    filled.alias = donor;
    table.slots_[donor].threshold -= table.total_ - filled.threshold;
    classify(donor);
  }
  return table;
}

std::uint64_t AliasTable::units(std::uint32_t index) const noexcept {
  std::uint64_t units = 0;
  for (const Slot& slot : slots_) {
    if (slot.self == index) units += slot.threshold;
    if (slot.alias == index) units += total_ - slot.threshold;
  }
  return units;
}

}  // namespace limpet::pick
