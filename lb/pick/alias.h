// alias.h: weighted random choice in O(1), by the alias method (Walker 1977; Vose 1991).
//
//   slots   n columns of equal height W (the sum of the weights); column i holds endpoint i up to threshold[i] and
//           endpoint alias[i] above it. Endpoint i owns n * weight[i] units of the n * W in all
//   build   O(n), two work lists ("small" and "large" columns), in integers: nothing is rounded
//   pick    a uniform column, a uniform height below W; one compare. Two 64-bit random numbers
//
// Probabilities are exactly weight[i] / W, given uniform 64-bit words: both draws are free of modulo bias (rng.h).
// An endpoint of weight 0 is never chosen. 16 bytes a slot. Immutable after build; any number of threads may pick.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lb/pick/rng.h"

namespace limpet::pick {

class AliasTable {
 public:
  AliasTable() = default;
  /// Weights of endpoints 0 … n-1. n < 2^32; n * (sum of weights) < 2^64, which holds for any weights while n < 2^16.
  /// Empty if no weight is positive.
  static AliasTable build(std::span<const std::uint32_t> weights);

  bool empty() const noexcept { return slots_.empty(); }
  /// Index of an endpoint. Not on an empty table.
  std::uint32_t pick(Rng& rng) const noexcept {
    const Slot& slot = slots_[rng.uniform(slots_.size())];
    return rng.uniform(total_) < slot.threshold ? slot.self : slot.alias;
  }

  /// Units of the slots_.size() * total() that choose endpoint `index`: its exact probability, times that product.
  std::uint64_t units(std::uint32_t index) const noexcept;
  std::uint64_t total() const noexcept { return total_; }
  std::size_t slots() const noexcept { return slots_.size(); }

 private:
  struct Slot {
    std::uint64_t threshold;
    std::uint32_t self;
    std::uint32_t alias;
  };
  std::vector<Slot> slots_;
  std::uint64_t total_ = 0;
};

}  // namespace limpet::pick
