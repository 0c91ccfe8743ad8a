// flow_table.h: every flow, found by any of its three keys with one probe.
//
//   records   a slab of fixed capacity; a record is taken, used, given back; its generation counts the uses
//   index     buckets → chains of links (record, role), kept inside the records: no allocation after start
//     hash      SipHash-1-3 under a secret key of protocol and the unordered pair of ends, so a packet
//               finds its flow from either direction, at any hook
//     locks     one in each bucket (bucket.h); the bucket follows from the packet alone
//
//   buckets_ [ 0 | 5 | 0 | 1 | … ]      link id = 1 + record * 3 + role, 0: end of chain
//                  │       └──▶ record 0 outer ──▶ record 7 middle ──▶ 0
//                  └──────────▶ record 1 middle ─▶ 0
//
// Lock order: a record's lock first; a bucket, the free list (and elsewhere affinity and ports) are
// leaf locks, never two at once; never two records at once, but by try_find(), which does not wait.
//   find      bucket → (record, generation) → release → record lock → recheck generation and liveness; else
//             again
//   create    take a record, lock it, insert-if-absent its outer key; who loses that race gives the record
//             back and finds the winner's
//   remove    under the record's lock: unlink each key, next generation, give back
// A record whose creation is not complete is locked, so whoever finds it waits until the decision is made.
//
// A burst of packets is announced first: prefetch() of each brings in its bucket, prefetch_flow() then the record that the
// bucket names, so that the misses of a whole burst overlap. Hints only.
//
// Cost: find, create, link and remove are O(1) expected (load factor <= 1 link a bucket). Sweeps skip a
// record that another thread has locked: it is in use, so neither due nor idle.
// Memory: 192 bytes a record, 12 to 24 bytes of index, all of it taken at start.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "conntrack/flow/bucket.h"
#include "conntrack/flow/flow.h"
#include "conntrack/flow/timeouts.h"
#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"
#include "conntrack/store/zeroed_memory.h"

namespace limpet::flow {

struct FlowTableOptions {
  std::uint32_t capacity = 1'000'000;  // flows; at least 1
  store::HashKey key;                  // secret, drawn at random at start
  Timeouts timeouts;
};

/// Names one use of one record; stays safe to hold when the flow is gone.
struct FlowRef {
  std::uint32_t record = 0;
  std::uint32_t generation = 0;
};

/// A flow whose lock is held, and the key it was found by. Empty: no flow.
class LockedFlow {
 public:
  LockedFlow() = default;
  LockedFlow(Flow& locked, KeyRole role) noexcept : flow_(&locked), role_(role) {}
  LockedFlow(LockedFlow&& other) noexcept : flow_(std::exchange(other.flow_, nullptr)), role_(other.role_) {}
  LockedFlow& operator=(LockedFlow&& other) noexcept {
    if (this != &other) {
      unlock();
      flow_ = std::exchange(other.flow_, nullptr);
      role_ = other.role_;
    }
    return *this;
  }
  ~LockedFlow() { unlock(); }

  explicit operator bool() const noexcept { return flow_ != nullptr; }
  Flow& operator*() const noexcept { return *flow_; }
  Flow* operator->() const noexcept { return flow_; }
  KeyRole role() const noexcept { return role_; }
  void unlock() noexcept {
    if (Flow* flow = std::exchange(flow_, nullptr)) flow->lock.unlock();
  }

 private:
  Flow* flow_ = nullptr;
  KeyRole role_ = KeyRole::outer;
};

class FlowTable {
 public:
  /// Throws std::bad_alloc where there is not memory(capacity).
  explicit FlowTable(const FlowTableOptions& options);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;
  ~FlowTable();

  /// Bring the tuple's bucket into the cache. Returns what prefetch_flow() wants.
  std::uint64_t prefetch(const net::Tuple& tuple) const noexcept;
  void prefetch_flow(std::uint64_t prefetched) const noexcept;

  /// The flow that has a key with these two ends, in either order.
  LockedFlow find(const net::Tuple& tuple) noexcept;
  /// The same, but none if another thread has it locked, or this one. For who holds another record's lock.
  LockedFlow try_find(const net::Tuple& tuple) noexcept;
  /// The same use of the same record, if it is still live.
  LockedFlow relock(const FlowRef& ref, KeyRole role = KeyRole::outer) noexcept;
  FlowRef ref(const Flow& flow) const noexcept {
    return {record_of(flow), flow.generation.load(std::memory_order_relaxed)};
  }

  enum class Create { created, exists, full };
  /// A new record with the outer key of `outer` (source: the client) in place, locked, in `flow` if created.
  Create create(const net::Tuple& outer, LockedFlow& flow) noexcept;
  /// Put a key of a locked flow, whose ends are set, into the index. False if another flow has such a pair.
  bool link(Flow& flow, KeyRole role) noexcept;
  /// Take the flow out, whatever keys it has, and give its record back.
  void remove(LockedFlow&& flow) noexcept;

  /// Look at `budget` records, wherever the last call ended, and remove those that are due. `retire(Flow&)` is told
  /// before.
  template <typename Retire>
  std::size_t sweep(std::size_t budget, Instant now, Retire&& retire);
  /// The table is full: look at up to `budget` records; remove those that are due, else one half-open flow (the first
  /// found). False if there was none: what remains is established.
  template <typename Retire>
  bool make_room(std::size_t budget, Instant now, Retire&& retire);

  /// Bytes that a table of this capacity takes.
  static std::uint64_t memory(std::uint32_t capacity) noexcept;
  const Timeouts& timeouts() const noexcept { return timeouts_; }
  std::uint32_t capacity() const noexcept { return capacity_; }
  /// Records that have ever been in use: what a sweep goes round.
  std::uint32_t records_in_use() const noexcept { return used_.load(std::memory_order_relaxed); }
  /// Flows in the table. Approximate while workers run.
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  std::uint64_t hash(net::Protocol protocol, const net::AddressPort& a, const net::AddressPort& b) const noexcept;
  Bucket& bucket(std::uint64_t hash) const noexcept { return buckets_[hash & bucket_mask_]; }
  static std::uint32_t tag(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }
  std::uint32_t record_of(const Flow& flow) const noexcept { return static_cast<std::uint32_t>(&flow - records_); }
  std::uint32_t link_id(const Flow& flow, KeyRole role) const noexcept {
    return 1 + record_of(flow) * static_cast<std::uint32_t>(kKeyRoles) + static_cast<std::uint32_t>(role);
  }
  /// The link with these ends in the chain that begins at `id`, or 0. Its bucket is locked.
  std::uint32_t search(std::uint32_t id, std::uint32_t tag, net::Protocol protocol, const net::AddressPort& a,
                       const net::AddressPort& b) const noexcept;
  void unlink(Flow& flow, KeyRole role) noexcept;
  /// A record nobody uses, locked; nullptr if the table is full.
  Flow* take() noexcept;
  void give_back(Flow& flow) noexcept;
  /// The next record in sweep order, locked; empty if it is not live or busy.
  LockedFlow next_in_sweep() noexcept;

  std::uint32_t capacity_;
  std::uint64_t bucket_mask_;
  store::HashKey key_;
  Timeouts timeouts_;
  store::ZeroedMemory record_memory_;
  store::ZeroedMemory bucket_memory_;
  Flow* records_;  // [0, used_) are constructed
  Bucket* buckets_;
  std::atomic<std::uint32_t> used_{0};  // high-water mark
  store::SpinLock free_lock_;           // guards free_ and growth of used_
  std::uint32_t free_ = 0;              // 1 + record, 0: none
  std::atomic<std::uint32_t> size_{0};
  std::atomic<std::uint32_t> cursor_{0};
};

template <typename Retire>
std::size_t FlowTable::sweep(std::size_t budget, Instant now, Retire&& retire) {
  std::size_t removed = 0;
  for (; budget > 0; --budget) {
    LockedFlow flow = next_in_sweep();
    if (!flow || flow->deadline >= now) continue;
    retire(*flow);
    remove(std::move(flow));
    ++removed;
  }
  return removed;
}

template <typename Retire>
bool FlowTable::make_room(std::size_t budget, Instant now, Retire&& retire) {
  bool removed = false;
  std::optional<FlowRef> spare;
  for (; budget > 0; --budget) {
    LockedFlow flow = next_in_sweep();
    if (!flow) continue;
    if (flow->deadline < now) {
      retire(*flow);
      remove(std::move(flow));
      removed = true;
    } else if (!spare && flow->half_open()) {
      spare = ref(*flow);
    }
  }
  if (removed || !spare) return removed;
  LockedFlow flow = relock(*spare);
  if (!flow) return true;  // another thread has removed it meanwhile
  if (!flow->half_open()) return false;
  retire(*flow);
  remove(std::move(flow));
  return true;
}

}  // namespace limpet::flow
