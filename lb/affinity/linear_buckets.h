// linear_buckets.h: the buckets of a chained hash table, which come one at a time: linear hashing (Litwin, "Linear
// hashing: a new tool for file and table addressing", VLDB 1980).
//
//   bucket of a hash   its lowest bits: one more of them where that bucket is there already
//
//     there are 6:  0 1 2 3 4 5         h mod 8 = 5 → 5;  h mod 8 = 7 is not there yet → h mod 4 = 3
//     grow():       0 1 2 3 4 5 6       bucket 6 takes from bucket 2 what has h mod 8 = 6
//
// So a table that grows never stops to move everything. Room for `most` buckets is there from the start (lazy_array.h);
// nothing is allocated later. Cost of grow: the chain that is split. Threads: as a plain value.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>

#include "lb/affinity/lazy_array.h"

namespace limpet::affinity {

template <typename Link>
class LinearBuckets {
 public:
  static constexpr std::size_t kFewest = 128;  // from the start, unless `most` is less: then so many, as a power of two

  LinearBuckets(std::size_t most, Link none)
      : none_(none), count_(std::min(std::bit_ceil(most), kFewest)), most_(std::max(most, count_)), heads_(most_) {
    std::fill_n(&heads_[0], count_, none);
  }

  Link& operator[](std::size_t hash) noexcept { return heads_[number(hash)]; }
  const Link& operator[](std::size_t hash) const noexcept { return heads_[number(hash)]; }
  std::size_t count() const noexcept { return count_; }
  std::size_t most() const noexcept { return most_; }

  /// One more bucket, if there is room: split(from, to, bit) moves what has this bit in its hash to the empty bucket `to`.
  template <typename Split>
  void grow(Split&& split) noexcept {
    if (count_ == most_) return;
    const std::size_t bit = std::bit_floor(count_);
    heads_[count_] = none_;
    split(heads_[count_ - bit], heads_[count_], bit);
    ++count_;
  }

 private:
  std::size_t number(std::size_t hash) const noexcept {
    const std::size_t wide = hash & (std::bit_ceil(count_) - 1);
    return wide < count_ ? wide : wide & (std::bit_floor(count_) - 1);
  }

  Link none_;
  std::size_t count_;
  std::size_t most_;
  LazyArray<Link> heads_;
};

}  // namespace limpet::affinity
