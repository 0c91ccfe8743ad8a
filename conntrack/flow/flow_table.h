// flow_table.h: every flow, found by any of its three keys with one probe.
//
//   records   a slab of fixed capacity; a record is taken, used, given back; its generation counts the uses
//   index     buckets → chains of links (record, role), kept inside the records: no allocation after start
//     hash      SipHash-1-3 under a secret key of protocol and the unordered pair of ends, so a packet
//               finds its flow from either direction, at any hook; its low 32 bits are the link's tag
//     locks     one in each bucket (bucket.h); the bucket follows from the packet alone
//
//   buckets_ [ 0 | 5 | 0 | 1 | … ]      bucket = tag mod their number; link id = 1 + record * 3 + role, 0: end of chain
//                  │       └──▶ record 0 outer ──▶ record 7 middle ──▶ 0
//                  └──────────▶ record 1 middle ─▶ 0
//
// Lock order: a record's lock first; a bucket, the free list (and elsewhere affinity and ports) are
// leaf locks, never two at once; never two records at once, but by try_find(), which does not wait.
//   find      first the chain without its lock, by tags alone; the record whose tag is right is locked, and proves that it
//             is in use, linked, and has these ends: a known flow costs one lock. What is met nowhere may have been moved
//             meanwhile: then bucket → (record, generation) → release → record lock → recheck; else again
//   create    take a record, lock it, insert-if-absent its outer key; who loses that race gives the record
//             back and finds the winner's. The creator decides, links the middle key, and commits
//   remove    under the record's lock: unlink each key, next generation, give back
// A record whose creation is not complete is locked, so whoever finds it waits until the decision is made.
//
// A burst of packets is announced first, in three rounds, so that the misses of a whole burst overlap: prefetch() of each
// brings in its bucket, prefetch_links() the line with the links of the record that it names, prefetch_flow() the rest of
// the record whose tag is right. Hints only, taken without locks. The hash is handed on from the first to find().
//
// The memory may be a file's (store/mapped_region.h), and outlive the process:
//
//   [ header: used_ | buckets_ | records_ ]
//
// What kill -9 leaves behind. A thread that is killed stops between two instructions: what it stored before is there, what
// comes later is not. So only the compiler must keep the order, and release stores and signal fences make it. Whoever
// changes a record holds its lock, which says after the kill that the record may be torn; its phase says what to do:
//
//          lock          create(): first link        commit()            remove(): unlinked          unlock
//   free ────────▶ free ──────────▶ begun ────────────▶ live ──────────────▶ ending ─────────▶ free ────────▶ free
//
//   free     nothing of it is in the index. Its contents mean nothing                                  → free
//   begun    the first packet has not left: undone; its retransmission begins again                    → free
//   live     outer and middle keys stand since before commit(), until after `ending`                   → kept, unlocked
//            inner key: the egress end is complete, then `linked` is set, then the bucket names it. Found linked, its
//            pair is this flow's: the bucket is locked since it was searched, so no other can have taken it. Found not
//            linked, no packet has left with that port, which may be half written: the assignment is undone
//            the rest is flags, one aligned deadline, and a tracker that any retransmission brings up to date
//   ending   whoever removed it has no more use for it: finished                                       → free
//
// A pair that a flow in `ending` has given up may be another's already: only one of the two is kept. A bucket's lock
// and head are one word, a link in the middle of a chain goes with one store. But recover() does not even read the
// chains: `linked` and the tags of the flows kept say all that an index needs, so it is made again, front to back, in one
// pass over the records, and the free list with it. That costs 4 bytes of random store a key, less than to check what is
// there, and no damage of the file can lead outside the table or round in a circle: an index is never read from it.
// recover() may be killed as well: it only frees records, and begins with an empty index. The record's own lock is the
// intent word of design.md section 5: there is one for each record, none for each worker, and none is written for its sake.
//
// Cost: find, create, link and remove are O(1) expected (load factor <= 1 link a bucket); recover is O(records ever used).
// Sweeps skip a record that another thread has locked: it is in use, so neither due nor idle.
// Memory: 192 bytes a record, 12 to 24 bytes of index, all of it taken at start.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
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

/// What recover() has found.
struct FlowRecovery {
  bool usable = true;                  // false: this memory is no table of this capacity. It must be zeroed
  std::uint32_t kept = 0;              // flows that go on
  std::uint32_t undone = 0;            // creations that were under way
  std::uint32_t finished = 0;          // removals that were under way
  std::uint32_t mended = 0;            // flows kept whose record was locked
  std::uint32_t refused = 0;           // flows that adopt() did not want
  std::uint32_t damaged = 0;           // records that no kill explains. Dropped
  std::uint32_t returned = 0;          // free records that had been taken
  std::uint32_t buckets_unlocked = 0;  // held at the kill
};

class FlowTable {
 public:
  /// In memory of its own. Throws std::bad_alloc where there is not memory(capacity).
  explicit FlowTable(const FlowTableOptions& options);
  /// In memory(capacity) bytes that outlive it, aligned to 64: all zero, or what a table of the same capacity, layout()
  /// and key has left there. Then recover() comes first. Throws std::length_error if they are too few.
  FlowTable(const FlowTableOptions& options, std::span<std::byte> memory);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  /// Make the table whole again, before any other call. adopt(const Flow&) is asked of every flow that could be kept; where
  /// it says no, the flow is dropped.
  FlowRecovery recover(const std::function<bool(const Flow&)>& adopt);

  /// Bring the tuple's bucket into the cache. Returns its hash, for the next two rounds and for find().
  std::uint64_t prefetch(const net::Tuple& tuple) const noexcept;
  void prefetch_links(std::uint64_t hash) const noexcept;
  void prefetch_flow(std::uint64_t hash) const noexcept;

  /// The flow that has a key with these two ends, in either order.
  LockedFlow find(const net::Tuple& tuple) noexcept { return find(tuple, hash(tuple)); }
  /// The same; `hash` is what prefetch() has returned for this tuple.
  LockedFlow find(const net::Tuple& tuple, std::uint64_t hash) noexcept;
  /// The same, but none if another thread has it locked, or this one. For who holds another record's lock.
  LockedFlow try_find(const net::Tuple& tuple) noexcept;
  /// The same use of the same record, if it is still live.
  LockedFlow relock(const FlowRef& ref, KeyRole role = KeyRole::outer) noexcept;
  FlowRef ref(const Flow& flow) const noexcept {
    return {record_of(flow), flow.generation.load(std::memory_order_relaxed)};
  }

  enum class Create { created, exists, full };
  /// A new record with the outer key of `outer` (source: the client) in place, locked, in `flow` if created. Until commit()
  /// a kill undoes it.
  Create create(const net::Tuple& outer, LockedFlow& flow) noexcept;
  /// Its creation is complete: every key that it needs before its first packet leaves is linked.
  void commit(Flow& flow) noexcept { flow.phase.store(Phase::live, std::memory_order_release); }
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

  /// Show up to `budget` records, from number `from` on (0: the first), to visit(const Flow&), which may say false: enough.
  /// Returns the number of the next one, nullopt after the last. The flow is locked meanwhile, so `visit` must be brief;
  /// one that stays busy is left out.
  template <typename Visit>
  std::optional<std::uint32_t> visit(std::uint32_t from, std::size_t budget, Visit&& visit);

  /// Bytes that a table of this capacity takes.
  static std::uint64_t memory(std::uint32_t capacity) noexcept;
  /// Names what its memory looks like: two builds that agree on it may take over each other's.
  static std::string layout();
  const Timeouts& timeouts() const noexcept { return timeouts_; }
  std::uint32_t capacity() const noexcept { return capacity_; }
  /// Records that have ever been in use: what a sweep goes round.
  std::uint32_t records_in_use() const noexcept { return header_->used.load(std::memory_order_relaxed); }
  /// Flows in the table. Approximate while workers run.
  std::uint32_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  /// What must survive beside buckets and records.
  struct alignas(64) Header {
    std::atomic<std::uint32_t> used;  // records [0, used) are constructed: a high-water mark
  };
  static constexpr int kVisitTries = 16;
  static constexpr unsigned kMostHops = 16;  // a chain that changes could lead round in a circle

  FlowTable(const FlowTableOptions& options, std::unique_ptr<store::ZeroedMemory> own);
  std::uint64_t hash(const net::Tuple& tuple) const noexcept {
    return hash(tuple.protocol, tuple.source, tuple.destination);
  }
  std::uint64_t hash(net::Protocol protocol, const net::AddressPort& a, const net::AddressPort& b) const noexcept;
  static std::uint32_t tag(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash); }
  Bucket& bucket(std::uint32_t tag) const noexcept { return buckets_[tag & bucket_mask_]; }
  std::uint32_t record_of(const Flow& flow) const noexcept { return static_cast<std::uint32_t>(&flow - records_); }
  std::uint32_t link_id(const Flow& flow, KeyRole role) const noexcept {
    return 1 + record_of(flow) * static_cast<std::uint32_t>(kKeyRoles) + static_cast<std::uint32_t>(role);
  }
  Flow& record_of(std::uint32_t link) const noexcept { return records_[(link - 1) / kKeyRoles]; }
  Flow::Link& link_at(std::uint32_t link) const noexcept { return record_of(link).links[(link - 1) % kKeyRoles]; }
  /// The flow with a key of this tag and these ends, without the bucket's lock. Empty: none was met, which proves nothing.
  LockedFlow find_by_tag(const net::Tuple& tuple, std::uint32_t tag) const noexcept;
  /// The link with these ends in the chain that begins at `id`, or 0. Its bucket is locked.
  std::uint32_t search(std::uint32_t id, std::uint32_t tag, net::Protocol protocol, const net::AddressPort& a,
                       const net::AddressPort& b) const noexcept;
  void unlink(Flow& flow, KeyRole role) noexcept;
  /// A record nobody uses, locked; nullptr if the table is full.
  Flow* take() noexcept;
  void give_back(Flow& flow) noexcept;
  /// The next record in sweep order, locked; empty if it is not live or busy.
  LockedFlow next_in_sweep() noexcept;

  // Recovery.
  void prefetch_buckets(std::uint32_t record, std::uint32_t used) const noexcept;
  bool keep(Flow& flow, const std::function<bool(const Flow&)>& adopt, FlowRecovery& found) const;
  void put_in_index(Flow& flow) noexcept;
  void free_in_recovery(Flow& flow) noexcept;

  std::uint32_t capacity_;
  std::uint32_t bucket_mask_;
  store::HashKey key_;
  Timeouts timeouts_;
  std::unique_ptr<store::ZeroedMemory> own_memory_;
  Header* header_;
  Bucket* buckets_;
  Flow* records_;
  store::SpinLock free_lock_;  // guards free_ and growth of Header::used
  std::uint32_t free_ = 0;     // 1 + record, 0: none
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

template <typename Visit>
std::optional<std::uint32_t> FlowTable::visit(std::uint32_t from, std::size_t budget, Visit&& visit) {
  const std::uint32_t used = header_->used.load(std::memory_order_acquire);
  for (; from < used && budget > 0; ++from, --budget) {
    Flow& record = records_[from];
    int tries = kVisitTries;
    while (!record.lock.try_lock() && --tries > 0) {
    }
    if (tries == 0) continue;
    const LockedFlow flow(record, KeyRole::outer);
    if (record.phase.load(std::memory_order_relaxed) != Phase::live) continue;
    if constexpr (std::is_void_v<std::invoke_result_t<Visit&, const Flow&>>) {
      visit(std::as_const(record));
    } else if (!visit(std::as_const(record))) {
      ++from;
      break;
    }
  }
  return from < used ? std::optional(from) : std::nullopt;
}

}  // namespace limpet::flow
