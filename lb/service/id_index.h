// id_index.h: id → index, made once and then only read: open addressing, linear probing, half full at most, in one piece.
//
// Ids are not 0, and are numbers given one after the other: their low bits spread them well enough. find is O(1); 8 bytes
// a slot, at least two slots an entry. Immutable after build; any number of threads may read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace limpet::service {

class IdIndex {
 public:
  using Entry = std::pair<std::uint32_t, std::uint32_t>;  // id, index

  IdIndex() = default;
  /// Entries of id 0 are left out; of two with one id the first counts.
  explicit IdIndex(std::span<const Entry> entries) : slots_(std::bit_ceil(entries.size() * 2)) {
    for (const Entry& entry : entries) {
      if (entry.first == 0) continue;
      std::size_t at = home(entry.first);
      while (slots_[at].first != 0 && slots_[at].first != entry.first) at = next(at);
      if (slots_[at].first == 0) slots_[at] = entry;
    }
  }

  std::optional<std::uint32_t> find(std::uint32_t id) const noexcept {
    if (slots_.empty() || id == 0) return std::nullopt;
    for (std::size_t at = home(id); slots_[at].first != 0; at = next(at)) {
      if (slots_[at].first == id) return slots_[at].second;
    }
    return std::nullopt;
  }

 private:
  std::size_t home(std::uint32_t id) const noexcept { return id & (slots_.size() - 1); }
  std::size_t next(std::size_t at) const noexcept { return (at + 1) & (slots_.size() - 1); }

  std::vector<Entry> slots_;  // a power of two; id 0: free
};

}  // namespace limpet::service
