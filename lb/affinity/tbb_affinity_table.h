// tbb_affinity_table.h: AffinityStore over oneTBB's concurrent_hash_map: the plain one. AffinityTable's oracle in tests
// and its opponent in benchmarks; not part of limpet.
//
// An accessor is the critical section. Bounded: a ring holds the keys, one place each. When all places are taken, a new
// client's key takes the place of one of the next kScan keys after the hand, and the hand moves on behind it: an
// expired one, else a provisional one, else a confirmed one; of several of a kind the one longest unused. So, unlike
// AffinityTable, it gives up a confirmed client where kScan of them stand side by side.
//
// Capacity (both families together) is exact at rest; while n threads add clients at once, the map may hold n entries
// more. Threads: any. Lock order: ring, then map; get_or_assign never holds both. O(1). Memory: about 120 bytes an
// entry.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <tbb/concurrent_hash_map.h>
#include <tbb/tbb_allocator.h>

#include "conntrack/store/huge_page_allocator.h"
#include "lb/affinity/affinity.h"
#include "lb/affinity/scope_policies.h"

namespace limpet::affinity {

class TbbAffinityTable {
 public:
  explicit TbbAffinityTable(const AffinityOptions& options);

  void set_scope(std::uint32_t scope, ScopePolicy policy) { policies_.set(scope, policy); }

  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, Instant now, Selectable&& selectable, Pick&& pick) {
    Map::accessor held;
    const bool created = map_.insert(held, key);
    Entry& entry = held->second;
    const Outcome outcome = created ? Outcome::miss : judge(key, entry, now, selectable);
    if (outcome != Outcome::hit) entry = {pick(), now, false};
    if (policies_.get(key.scope).sliding()) entry.stamp = now;
    const Assignment result{entry.endpoint, outcome};
    held.release();
    if (created) make_room_for(key, now);
    return result;
  }
  std::optional<std::uint32_t> find(const Key& key, Instant now) const;
  void confirm(const Key& key, std::uint32_t endpoint, Instant now);
  void refresh(const Key& key, std::uint32_t endpoint, Instant now);
  bool erase(const Key& key);
  AffinityCounts counts() const;

 private:
  struct Entry {
    std::uint32_t endpoint = 0;
    Instant stamp{};
    bool confirmed = false;
  };
  struct KeyHash {
    store::HashKey secret;
    std::size_t hash(const Key& key) const noexcept { return affinity::hash(secret, key); }
    bool equal(const Key& a, const Key& b) const noexcept { return a == b; }
  };
  using Node = std::pair<const Key, Entry>;
  using Map = tbb::concurrent_hash_map<Key, Entry, KeyHash, store::HugePageAllocator<Node, tbb::tbb_allocator<Node>>>;
  static constexpr std::size_t kScan = 8;
  /// In the order in which they are given up.
  enum class Standing : std::uint8_t { expired, provisional, confirmed };

  bool in_time(const Key& key, const Entry& entry, Instant now) const noexcept;
  template <typename Selectable>
  Outcome judge(const Key& key, const Entry& entry, Instant now, Selectable&& selectable) const {
    if (!in_time(key, entry, now)) return Outcome::expired;
    return selectable(entry.endpoint) ? Outcome::hit : Outcome::moved;
  }
  void make_room_for(const Key& key, Instant now);
  /// The place among the next kScan whose key is given up. The ring is locked and full.
  std::size_t choose_victim(Instant now);

  ScopePolicies policies_;
  Map map_;
  mutable std::mutex ring_mutex_;
  std::vector<Key, store::HugePageAllocator<Key>> ring_;
  std::size_t capacity_;
  std::size_t hand_ = 0;
  std::array<std::uint64_t, 3> evicted_{};  // by Standing
};

static_assert(AffinityStore<TbbAffinityTable>);

}  // namespace limpet::affinity
