// toy_layout.h: the plainest layouts for a FlatTable's tests, and what must hold of any table.
//
//   ToyLayout<W>   word 0: the key   words 1 … W-2: the key again, inverted by turns   last word: value 48 | 0 | flags
//   8
//
// A slot that holds words of two entries shows.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include <gtest/gtest.h>

#include "conntrack/store/flat_table.h"

namespace limpet::store {

template <std::size_t Words>
struct ToyLayout {
  static constexpr std::size_t kWords = Words;
  using Key = std::uint64_t;
  using Slot = SlotWords<Words>;

  static Slot make(Key key, std::uint64_t value, bool provisional = false) {
    Slot slot;
    for (std::size_t i = 0; i < Words - 1; ++i) slot[i] = word(key, i);
    slot.back() = value << 16 | kSlotUsed | (provisional ? kSlotProvisional : 0);
    return slot;
  }
  static std::uint64_t value(const Slot& slot) { return slot.back() >> 16; }
  static bool is_whole(const Slot& slot) {
    for (std::size_t i = 0; i < Words - 1; ++i) {
      if (slot[i] != word(slot[0], i)) return false;
    }
    return true;
  }

  static std::uint64_t hash(const HashKey& secret, Key key) { return siphash13(secret, std::array{key}); }
  static Key key_of(const Slot& slot) { return slot[0]; }
  static bool holds(const Slot& slot, Key key) { return slot[0] == key && (slot.back() & kSlotUsed) != 0; }

 private:
  static std::uint64_t word(Key key, std::size_t i) { return i % 2 == 0 ? key : ~key; }
};

/// key → last word, of every entry.
template <typename Table>
std::map<std::uint64_t, std::uint64_t> contents(const Table& table) {
  std::map<std::uint64_t, std::uint64_t> all;
  for (std::uint64_t number = 0; number < table.pieces(); ++number) {
    const auto piece = table.piece(number);
    const typename Table::Locked shard = table.lock(piece);
    for (std::uint32_t i = piece.first; i < piece.last; ++i) {
      if (shard.is_used(i)) all.emplace(shard[i][0], shard[i].back());
    }
  }
  return all;
}

/// The invariants of flat_table.h: each entry whole, where a probe finds it, and once; and the counts true.
template <typename Layout>
testing::AssertionResult is_sound(const FlatTable<Layout>& table) {
  std::uint64_t used = 0, provisional = 0;
  const std::uint32_t slots = table.shape().slots;
  for (std::uint64_t number = 0; number < table.pieces(); ++number) {
    const auto piece = table.piece(number);
    const typename FlatTable<Layout>::Locked shard = table.lock(piece);
    for (std::uint32_t i = piece.first; i < piece.last; ++i) {
      if (!shard.is_used(i)) continue;
      ++used;
      provisional += (shard[i].back() & kSlotProvisional) != 0;
      if (!Layout::is_whole(shard[i])) return testing::AssertionFailure() << "slot " << i << " is of two entries";
      const auto key = Layout::key_of(shard[i]);
      const auto place = shard.find(key, table.hash(key));
      if (!place.found || place.index != i) {
        return testing::AssertionFailure() << "key " << key << " at " << i << ", but a probe ends at " << place.index;
      }
      for (std::uint32_t before = table.home_of(table.hash(key)); before != i; before = (before + 1) % slots) {
        if (!shard.is_used(before)) return testing::AssertionFailure() << "a free slot before key " << key;
      }
    }
  }
  const TableCounts counts = table.counts();
  if (counts.entries == used && counts.provisional == provisional) return testing::AssertionSuccess();
  return testing::AssertionFailure() << used << " entries counted as " << counts.entries << ", " << provisional
                                     << " provisional ones as " << counts.provisional;
}

}  // namespace limpet::store
