// flat_table.h: a hash table of fixed capacity that lies in given memory, is shared by threads, and outlives a kill -9.
//
//   memory   [ shard 0 | shard 1 | … ]  64 bytes each: lock word, entries, hand of the clock, counters
//            [ slots of shard 0 | slots of shard 1 | … ]
//
//   hash     63        …        32 31        …         0      SipHash-1-3 under a secret key: who chooses the keys
//            └ shard: top bits ┘   └ home · lines / 2^32      cannot choose where they fall
//
//   slot     word 0 | … | last word: (the layout's own) 56 bits, flags 8       flags 0: a free slot
//
//   home     the first slot of a cache line: a line is looked at whole before the next one is asked for
//
//   probing  ── home ─▶ [ a ][ b ][ c ][   ]      linear, round the end of the shard; a key is looked for up to the
//                                                 first free slot. Deletion shifts back what stands behind (Knuth,
//                                                 TAOCP 3, 6.4, algorithm R), so there are no tombstones and probes
//                                                 stay short
//
// What a slot means is its layout's business (SlotLayout). The engine knows two flags: used, and provisional, the
// entries that are given up first.
//
// Invariants, in a shard whose lock word is free:
//   1. no free slot lies between an entry's home and its place; no key is there twice
//   2. entries and provisional are the numbers of used and of provisional slots; entries <= limit < slots
//   3. all that a used slot holds was written for that entry
//
// Killed at any instruction. The stores of a thread reach memory in the order of its program (for the process that
// comes after it even on a machine that reorders), so only the compiler must be kept from reordering: all are release
// stores. Every change is made under the shard's lock word, in single 8-byte stores:
//
//   insert    word 0, …, last word                          before the last store the slot is free
//   replace   last word = 0, word 0, …, last word           before the last store the slot is free
//   touch     last word                                     one store
//   erase     while an entry stands behind that may come    before its last store the destination is free; after it the
//             back: write it here (as replace), go on       entry is there twice, the same both times; at every moment
//             from where it stood; last: last word = 0      it is there at least once
//
// So a slot in use is never a mixture (3), whatever happens; 1 and 2 may not hold where the lock word is held.
// recover() restores them there: an entry that a probe does not reach is written to where its probe ends and then
// cleared where it stood, a second one of the same key, or one of another shard, is cleared, until nothing changes; then it counts. Each of these
// is one of the changes above, so recover() may itself be killed. It terminates: every step shortens an entry's probe
// or removes one.
//
// At its limit a shard makes room (make_room): a clock hand looks at the next 32 entries and gives up the first expired
// one, else the oldest provisional one, else the oldest. If those 32 are all confirmed, it goes on through the whole
// shard while there is a provisional entry, and for expired ones once a second. So newcomers never push out a confirmed
// entry while the shard holds a provisional one, or one that expired more than a second ago.
//
// Cost: four 16-byte slots share a cache line; at a load of .62 a probe for an entry looks at 1.1 lines: one DRAM miss.
// erase and make_room: O(1) expected, O(slots of a shard), some microseconds, at worst. No allocation.
// Threads: any; one lock at a time. recover(): before any other.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>

#include "conntrack/store/lock_word.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/table_shape.h"

namespace limpet::store {

template <std::size_t Words>
using SlotWords = std::array<std::uint64_t, Words>;

/// Flags of a slot, the low bits of its last word. The other six of eight, and the word's 56 bits, are the layout's.
inline constexpr std::uint64_t kSlotUsed = 1;
inline constexpr std::uint64_t kSlotProvisional = 2;

/// What slots hold.
template <typename L>
concept SlotLayout = requires(const HashKey& secret, const typename L::Key& key, const SlotWords<L::kWords>& slot) {
  { L::hash(secret, key) } -> std::same_as<std::uint64_t>;
  { L::key_of(slot) } -> std::same_as<typename L::Key>;  // of a slot in use
  { L::holds(slot, key) } -> std::same_as<bool>;         // in use, and for this key
};

/// In the order in which entries are given up.
enum class Standing : std::uint8_t { expired, provisional, confirmed };

/// What a table's owner says of an entry when room is needed.
struct Judgement {
  bool expired = false;
  std::uint32_t age = 0;  // any unit; of several of a kind the oldest goes
};

/// Of the table since it was made, in this process and those before.
struct TableCounts {
  std::uint64_t entries = 0;
  std::uint64_t provisional = 0;
  std::array<std::uint64_t, 3> evicted{};  // by Standing
};

/// What recover() found and did.
struct RecoveryCounts {
  std::uint64_t torn_shards = 0;  // whose lock word was held
  std::uint64_t moved = 0;        // entries that a probe did not reach
  std::uint64_t duplicates = 0;   // entries that were there twice
  std::uint64_t strays = 0;       // entries in a shard that is not theirs: no kill leaves any, damage may
  RecoveryCounts& operator+=(const RecoveryCounts& other) noexcept {
    torn_shards += other.torn_shards, moved += other.moved, duplicates += other.duplicates;
    strays += other.strays;
    return *this;
  }
};

template <SlotLayout Layout>
class FlatTable {
 public:
  using Key = typename Layout::Key;
  using Slot = SlotWords<Layout::kWords>;
  static_assert(sizeof(Slot) == 8 * Layout::kWords && std::has_single_bit(sizeof(Slot)));
  static constexpr std::uint32_t kSlotsPerLine = sizeof(Slot) < 64 ? 64 / sizeof(Slot) : 1;
  class Locked;

  static TableShape shape_of(std::uint32_t capacity, unsigned workers) noexcept {
    return TableShape::of(capacity, workers, sizeof(Slot));
  }
  static std::size_t memory(const TableShape& shape) noexcept {
    return shape.shards * (sizeof(Shard) + sizeof(Slot) * shape.slots);
  }

  /// In the first memory(shape) bytes of `memory`, aligned to 64, which outlive the table. All zero: an empty table;
  /// else one that was made there with the same shape and secret.
  FlatTable(const TableShape& shape, const HashKey& secret, std::span<std::byte> memory) noexcept
      : shape_(shape),
        secret_(secret),
        shard_bits_(static_cast<unsigned>(std::countr_zero(shape.shards))),
        shards_(reinterpret_cast<Shard*>(memory.data())),
        slots_(reinterpret_cast<Slot*>(memory.data() + sizeof(Shard) * shape.shards)) {}

  const TableShape& shape() const noexcept { return shape_; }
  std::uint64_t hash(const Key& key) const noexcept { return Layout::hash(secret_, key); }
  /// The slot at which the probe for a key begins. Lemire, "Fast Random Integer Generation in an Interval" (2019): a
  /// multiplication for a modulo.
  std::uint32_t home_of(std::uint64_t hash) const noexcept {
    const std::uint64_t lines = shape_.slots / kSlotsPerLine;
    return static_cast<std::uint32_t>((hash & 0xffffffff) * lines >> 32) * kSlotsPerLine;
  }

  /// Announce a key that is about to be looked up: a whole burst's misses overlap.
  void prefetch(std::uint64_t hash) const noexcept {
    const std::uint32_t shard = shard_of(hash);
    __builtin_prefetch(&shards_[shard], 1);
    __builtin_prefetch(&slots_of(shard)[home_of(hash)], 1);
  }
  /// The shard of a key. Taking a lock waits for all loads before it: both lines are asked for first.
  Locked lock(std::uint64_t hash) const noexcept {
    prefetch(hash);
    return Locked(*this, shard_of(hash));
  }

  /// The table cut into pieces of at most kPiece slots, numbered from 0, to be gone through one lock at a time. The pieces
  /// of a shard come last slots first, because entries move towards the first: one that moves between two calls is met
  /// again rather than missed (unless it moved round the end of the shard).
  static constexpr std::uint32_t kPiece = 64;
  struct Piece {
    std::uint32_t shard, first, last;  // slots [first, last)
    std::uint32_t size() const noexcept { return last - first; }
  };
  std::uint64_t pieces() const noexcept { return std::uint64_t{shape_.shards} * pieces_of_shard(); }
  Piece piece(std::uint64_t number) const noexcept {
    const auto part = static_cast<std::uint32_t>(number % pieces_of_shard());
    const std::uint32_t first = (pieces_of_shard() - 1 - part) * kPiece;
    return {static_cast<std::uint32_t>(number / pieces_of_shard()), first, std::min(first + kPiece, shape_.slots)};
  }
  Locked lock(const Piece& piece) const noexcept { return Locked(*this, piece.shard); }

  /// Restores what a killed process left half done. Before any other call on adopted memory.
  RecoveryCounts recover() noexcept;
  /// Approximate while others write.
  TableCounts counts() const noexcept;

 private:
  struct alignas(64) Shard {
    std::uint32_t lock;
    std::uint32_t entries;
    std::uint32_t provisional;
    std::uint32_t hand;            // where the clock scan goes on
    std::uint32_t provisional_at;  // where the last provisional entry was written: a hint
    std::uint32_t searched;        // 1 + second of the last search of the whole shard that found none to give up
    std::uint64_t evicted[3];      // by Standing
  };
  static_assert(sizeof(Shard) == 64);

  std::uint32_t shard_of(std::uint64_t hash) const noexcept {
    return static_cast<std::uint32_t>(hash >> 32 >> (32 - shard_bits_));
  }
  Slot* slots_of(std::uint32_t shard) const noexcept { return slots_ + std::size_t{shard} * shape_.slots; }
  std::uint32_t pieces_of_shard() const noexcept { return (shape_.slots + kPiece - 1) / kPiece; }

  TableShape shape_;
  HashKey secret_;
  unsigned shard_bits_;
  Shard* shards_;
  Slot* slots_;
};

/// One shard, its lock held until the end of this object's life.
template <SlotLayout Layout>
class FlatTable<Layout>::Locked {
 public:
  Locked(const FlatTable& table, std::uint32_t shard) noexcept
      : table_(table), shard_(table.shards_[shard]), slots_(table.slots_of(shard)) {
    LockWord(shard_.lock).lock();
  }
  Locked(const FlatTable& table, std::uint32_t shard, std::adopt_lock_t) noexcept
      : table_(table), shard_(table.shards_[shard]), slots_(table.slots_of(shard)) {}
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
  ~Locked() { LockWord(shard_.lock).unlock(); }

  /// Where a key is, or where it would be written.
  struct Place {
    std::uint32_t index = 0;
    bool found = false;
  };
  /// Whole lines, without a branch on where in the line: a wrong guess would keep the processor from going on to the
  /// next key while this one's line is on its way.
  Place find(const Key& key, std::uint64_t hash) const noexcept {
    const std::uint32_t home = table_.home_of(hash);
    std::uint32_t line = home;
    do {
      unsigned held = 0;
      unsigned free = 0;
      for (unsigned i = 0; i < kSlotsPerLine; ++i) {
        held |= static_cast<unsigned>(Layout::holds(slots_[line + i], key)) << i;
        free |= static_cast<unsigned>(!is_used(line + i)) << i;
      }
      if (held != 0) [[likely]] {
        return {line + static_cast<std::uint32_t>(std::countr_zero(held)), true};
      }
      if (free != 0) [[likely]] {
        return {line + static_cast<std::uint32_t>(std::countr_zero(free)), false};
      }
      line = line + kSlotsPerLine == table_.shape_.slots ? 0 : line + kSlotsPerLine;
    } while (line != home);
    return {home, false};  // every slot in use: invariant 2 forbids it
  }
  const Slot& operator[](std::uint32_t index) const noexcept { return slots_[index]; }
  bool is_used(std::uint32_t index) const noexcept { return (slots_[index].back() & kSlotUsed) != 0; }
  bool full() const noexcept { return shard_.entries >= table_.shape_.limit; }

  /// At the place that find() gave for its key. The shard is not full.
  void insert(std::uint32_t index, const Slot& slot) noexcept {
    write(index, slot);
    count(shard_.entries, 1);
    count_provisional(0, slot.back(), index);
  }
  /// Other contents for an entry of the same key.
  void replace(std::uint32_t index, const Slot& slot) noexcept {
    const std::uint64_t before = slots_[index].back();
    store(index, kLast, 0);
    write(index, slot);
    count_provisional(before, slot.back(), index);
  }
  /// Another last word for an entry in use: a single store.
  void touch(std::uint32_t index, std::uint64_t last) noexcept {
    const std::uint64_t before = slots_[index].back();
    store(index, kLast, last);
    if ((before ^ last) & kSlotProvisional) count_provisional(before, last, index);
  }
  /// Takes an entry out. Entries that stood behind it may move.
  void erase(std::uint32_t index) noexcept;

  /// The shard is full: gives up one entry. `judge(const Slot&) -> Judgement`; `second`: the clock, for the once a
  /// second.
  template <typename Judge>
  Standing make_room(std::uint32_t second, Judge&& judge) noexcept;

 private:
  friend class FlatTable;
  static constexpr std::size_t kLast = Layout::kWords - 1;
  static constexpr std::uint32_t kScan = 32;
  struct Victim {
    std::uint32_t index = 0;
    Standing standing = Standing::confirmed;
    std::uint32_t age = 0;
    bool none = true;
  };

  std::uint32_t next(std::uint32_t index) const noexcept { return index + 1 == table_.shape_.slots ? 0 : index + 1; }
  bool is_provisional(std::uint32_t index) const noexcept {
    return (slots_[index].back() & (kSlotUsed | kSlotProvisional)) == (kSlotUsed | kSlotProvisional);
  }
  /// Steps from `from` forward to `to`.
  std::uint32_t distance(std::uint32_t from, std::uint32_t to) const noexcept {
    return to >= from ? to - from : to + table_.shape_.slots - from;
  }
  std::uint32_t home_of_entry(std::uint32_t index) const noexcept {
    return table_.home_of(table_.hash(Layout::key_of(slots_[index])));
  }
  void store(std::uint32_t index, std::size_t word, std::uint64_t value) noexcept {
    std::atomic_ref<std::uint64_t>(slots_[index][word]).store(value, std::memory_order_release);
  }
  /// Into a free slot.
  void write(std::uint32_t index, const Slot& slot) noexcept {
    for (std::size_t word = 0; word < Layout::kWords; ++word) store(index, word, slot[word]);
  }
  /// Under the lock; atomic for counts(), which does without.
  static void count(std::uint32_t& counter, std::int32_t by) noexcept {
    std::atomic_ref<std::uint32_t>(counter).store(counter + static_cast<std::uint32_t>(by), std::memory_order_relaxed);
  }
  void count_provisional(std::uint64_t before, std::uint64_t after, std::uint32_t index) noexcept {
    const bool was = (before & kSlotProvisional) != 0;
    const bool is = (after & kSlotProvisional) != 0;
    if (is) shard_.provisional_at = index;
    if (was != is) count(shard_.provisional, is ? 1 : -1);
  }
  template <typename Judge>
  Victim choose_victim(std::uint32_t second, Judge&& judge) noexcept;
  bool settle_entry(std::uint32_t index, RecoveryCounts& counts) noexcept;
  void recover(RecoveryCounts& counts) noexcept;

  const FlatTable& table_;
  Shard& shard_;
  Slot* slots_;
};

template <SlotLayout Layout>
void FlatTable<Layout>::Locked::erase(std::uint32_t index) noexcept {
  count(shard_.entries, -1);
  count_provisional(slots_[index].back(), 0, index);
  std::uint32_t hole = index;
  for (std::uint32_t i = next(hole); is_used(i) && i != index; i = next(i)) {
    if (distance(home_of_entry(i), i) < distance(hole, i)) continue;  // its home lies behind the hole
    store(hole, kLast, 0);
    write(hole, slots_[i]);
    if (shard_.provisional_at == i) shard_.provisional_at = hole;
    hole = i;
  }
  store(hole, kLast, 0);
}

template <SlotLayout Layout>
template <typename Judge>
Standing FlatTable<Layout>::Locked::make_room(std::uint32_t second, Judge&& judge) noexcept {
  const Victim victim = choose_victim(second, judge);
  erase(victim.index);
  shard_.hand = victim.index;  // what shifted there comes next; who was passed over has a round
  std::uint64_t& evicted = shard_.evicted[static_cast<std::size_t>(victim.standing)];
  std::atomic_ref<std::uint64_t>(evicted).store(evicted + 1, std::memory_order_relaxed);
  return victim.standing;
}

template <SlotLayout Layout>
template <typename Judge>
auto FlatTable<Layout>::Locked::choose_victim(std::uint32_t second, Judge&& judge) noexcept -> Victim {
  Victim best;
  const std::uint32_t slots = table_.shape_.slots;
  std::uint32_t seen = 0;
  std::uint32_t i = shard_.hand < slots ? shard_.hand : 0;
  for (std::uint32_t step = 0; step < slots; ++step, i = next(i)) {
    if (!is_used(i)) continue;
    const Judgement judged = judge(std::as_const(slots_[i]));
    const Standing standing = judged.expired      ? Standing::expired
                              : is_provisional(i) ? Standing::provisional
                                                  : Standing::confirmed;
    if (best.none || standing < best.standing || (standing == best.standing && judged.age > best.age)) {
      best = {i, standing, judged.age, false};
    }
    if (standing == Standing::expired) return best;
    if (++seen < kScan) continue;
    if (best.standing == Standing::provisional) return best;
    if (seen > kScan) continue;
    // The next 32 are all confirmed: is it worth going on?
    if (shard_.provisional == 1 && shard_.provisional_at < slots && is_provisional(shard_.provisional_at)) {
      return {shard_.provisional_at, Standing::provisional, 0, false};
    }
    if (shard_.provisional == 0 && shard_.searched == second + 1) return best;
  }
  shard_.searched = second + 1;
  return best;
}

/// True if the entry was not where a probe for it ends: it is there now, or gone: a duplicate, or a stray.
template <SlotLayout Layout>
bool FlatTable<Layout>::Locked::settle_entry(std::uint32_t index, RecoveryCounts& counts) noexcept {
  if (!is_used(index)) return false;
  const Key key = Layout::key_of(slots_[index]);
  const std::uint64_t hash = table_.hash(key);
  if (&table_.shards_[table_.shard_of(hash)] != &shard_) {
    ++counts.strays;
    store(index, kLast, 0);
    return true;
  }
  // Slot by slot: find() would overlook a free one before it in the same line, which erase() must not meet.
  std::uint32_t end = table_.home_of(hash);
  while (is_used(end) && !Layout::holds(slots_[end], key)) end = next(end);
  if (end == index) return false;
  if (is_used(end)) {
    ++counts.duplicates;
  } else {
    ++counts.moved;
    write(end, slots_[index]);
  }
  store(index, kLast, 0);
  return true;
}

/// On a shard whose lock word a killed process left held, and which no other thread knows yet.
template <SlotLayout Layout>
void FlatTable<Layout>::Locked::recover(RecoveryCounts& counts) noexcept {
  const std::uint32_t slots = table_.shape_.slots;
  for (bool changed = true; changed;) {
    changed = false;
    for (std::uint32_t i = 0; i < slots; ++i) changed |= settle_entry(i, counts);
  }
  shard_.entries = shard_.provisional = 0;
  for (std::uint32_t i = 0; i < slots; ++i) {
    shard_.entries += is_used(i);
    shard_.provisional += is_provisional(i);
  }
  shard_.hand = shard_.provisional_at = shard_.searched = 0;
  ++counts.torn_shards;
}

template <SlotLayout Layout>
RecoveryCounts FlatTable<Layout>::recover() noexcept {
  RecoveryCounts counts;
  for (std::uint32_t i = 0; i < shape_.shards; ++i) {
    if (!LockWord(shards_[i].lock).held()) continue;
    Locked shard(*this, i, std::adopt_lock);
    shard.recover(counts);
  }
  return counts;
}

template <SlotLayout Layout>
TableCounts FlatTable<Layout>::counts() const noexcept {
  TableCounts sum;
  for (std::uint32_t i = 0; i < shape_.shards; ++i) {
    Shard& shard = shards_[i];
    sum.entries += std::atomic_ref<std::uint32_t>(shard.entries).load(std::memory_order_relaxed);
    sum.provisional += std::atomic_ref<std::uint32_t>(shard.provisional).load(std::memory_order_relaxed);
    for (std::size_t kind = 0; kind < sum.evicted.size(); ++kind) {
      sum.evicted[kind] += std::atomic_ref<std::uint64_t>(shard.evicted[kind]).load(std::memory_order_relaxed);
    }
  }
  return sum;
}

}  // namespace limpet::store
