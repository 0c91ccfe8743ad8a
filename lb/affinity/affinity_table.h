// affinity_table.h: (scope, client) → endpoint, for as long as the client keeps coming back.
//
//   get_or_assign   one critical section: look the client up, judge what is remembered, choose afresh if it
//                   does not hold, date it. Two workers can never give one client two endpoints
//   judged          miss      not remembered
//                   hit       remembered, now - stamp <= timeout (inclusive, to the millisecond), and its
//                             endpoint is still selectable
//                   expired   remembered, but too long ago
//                   moved     remembered in time, but its endpoint may no longer be chosen
//   timeout         an argument, so a changed configuration holds for clients that are known already.
//                   Zero: never expires
//   refreshed       by every get_or_assign: a window that slides with each new connection, as xt_recent's
//                   --set does. find() refreshes nothing
//   provisional     until confirm(): the client has answered that endpoint. A fresh choice is provisional
//                   again
//
// AffinityStore is the concept; AffinityTable implements it over oneTBB's concurrent_hash_map (an accessor
// is the critical section).
//
// Bounded: a ring holds the keys, one place each. When all places are taken, a new client's key takes the
// place of one of the next kScan keys after the hand, and the hand moves on behind it:
//
//   1. an expired one
//   2. a provisional one
//   3. a confirmed one; of several of a kind, the one longest unused. Each kind is counted.
//
// So a flood of clients that never prove themselves turns over its own entries: a confirmed one is lost only
// where kScan of them stand side by side.
//
// Capacity is exact at rest; while n threads add clients at once, the map may hold n entries more.
// Threads: any. Lock order: ring, then map; get_or_assign never holds both. O(1). Memory: about 120 bytes
// an entry.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <tbb/concurrent_hash_map.h>
#include <tbb/tbb_allocator.h>

#include "conntrack/flow/endpoint_id.h"
#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "conntrack/store/huge_page_allocator.h"
#include "conntrack/store/siphash.h"

namespace limpet::affinity {

using flow::EndpointId;
using flow::Instant;
using flow::Seconds;

struct Key {
  std::uint32_t scope = 0;
  net::Address client;
  friend bool operator==(const Key&, const Key&) noexcept = default;
};

enum class Outcome : std::uint8_t { miss, hit, expired, moved };

struct Assignment {
  EndpointId endpoint;
  Outcome outcome = Outcome::miss;
};

/// Counted since the table was made.
struct AffinityCounts {
  std::uint64_t entries = 0;
  std::uint64_t evicted_expired = 0;
  std::uint64_t evicted_provisional = 0;
  std::uint64_t evicted_confirmed = 0;
};

template <typename T>
concept AffinityStore = requires(T& table, const T& view, const Key& key, Seconds timeout, Instant now,
                                 EndpointId endpoint, bool (*selectable)(EndpointId), EndpointId (*pick)()) {
  { table.get_or_assign(key, timeout, now, selectable, pick) } -> std::same_as<Assignment>;
  { view.find(key, timeout, now) } -> std::same_as<std::optional<EndpointId>>;
  table.confirm(key, endpoint);
  { view.counts() } -> std::same_as<AffinityCounts>;
};

class AffinityTable {
 public:
  /// At most `capacity` entries (at least 1); `key` is secret, drawn at random at start.
  AffinityTable(std::uint32_t capacity, const store::HashKey& key);

  /// `selectable(EndpointId) -> bool`: may this endpoint be chosen for this connection? `pick() -> EndpointId`: a fresh
  /// choice; bounded, called at most once, inside the critical section.
  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, Seconds timeout, Instant now, Selectable&& selectable, Pick&& pick) {
    Map::accessor held;
    const bool created = map_.insert(held, key);
    Entry& entry = held->second;
    Assignment result;
    result.outcome = created ? Outcome::miss : judge(entry, timeout, now, selectable);
    if (result.outcome != Outcome::hit) {
      entry.endpoint = pick();
      entry.confirmed = false;
    }
    entry.stamp = now;
    entry.timeout = timeout;
    result.endpoint = entry.endpoint;
    held.release();
    if (created) make_room_for(key, now);
    return result;
  }

  /// What is remembered and still in time; refreshes nothing.
  std::optional<EndpointId> find(const Key& key, Seconds timeout, Instant now) const;

  /// The client has answered `endpoint`: its entry is no longer provisional. Ignored if it is remembered for another.
  void confirm(const Key& key, EndpointId endpoint);

  AffinityCounts counts() const;
  /// About the bytes that a full table of this capacity takes.
  static constexpr std::uint64_t memory(std::uint32_t capacity) noexcept { return std::uint64_t{capacity} * 136; }

 private:
  struct Entry {
    EndpointId endpoint;
    Instant stamp{};
    Seconds timeout{};  // as of the last refresh: a hint for eviction only
    bool confirmed = false;
  };
  struct KeyHash {
    store::HashKey key;
    std::size_t hash(const Key& k) const noexcept;
    bool equal(const Key& a, const Key& b) const noexcept { return a == b; }
  };
  using Node = std::pair<const Key, Entry>;
  using Map = tbb::concurrent_hash_map<Key, Entry, KeyHash, store::HugePageAllocator<Node, tbb::tbb_allocator<Node>>>;
  static constexpr std::size_t kScan = 8;
  /// In the order in which they are given up.
  enum class Standing : std::uint8_t { expired, provisional, confirmed };

  static bool in_time(const Entry& entry, Seconds timeout, Instant now) noexcept {
    return timeout == Seconds::zero() || now - entry.stamp <= timeout;
  }
  template <typename Selectable>
  static Outcome judge(const Entry& entry, Seconds timeout, Instant now, Selectable&& selectable) {
    if (!in_time(entry, timeout, now)) return Outcome::expired;
    return selectable(entry.endpoint) ? Outcome::hit : Outcome::moved;
  }
  void make_room_for(const Key& key, Instant now);
  /// The place among the next kScan whose key is given up. The ring is locked and full.
  std::size_t choose_victim(Instant now);

  Map map_;
  mutable std::mutex ring_mutex_;
  std::vector<Key, store::HugePageAllocator<Key>> ring_;
  std::size_t capacity_;
  std::size_t hand_ = 0;
  std::array<std::uint64_t, 3> evicted_{};  // by Standing
};

static_assert(AffinityStore<AffinityTable>);

}  // namespace limpet::affinity
