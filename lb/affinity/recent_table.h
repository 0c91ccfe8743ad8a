// recent_table.h: one list of xt_recent, to the letter: who was seen, when, and with what TTL.
//
//   bucket ─▶ entry ─▶ entry        hash of (family, masked address) under a secret key
//               │ ring of 2^k stamps [s0 s1 s2 …], `next_slot` 1 to 2^k: where the next stamp goes, before masking
//   LRU  head ⇄ … ⇄ tail            order of the last set or update: the head is evicted at capacity
//
// match() is recent_mt() of net/netfilter/xt_recent.c (Linux 6.12), whose rules these are:
//   - not remembered: only --set does anything (at capacity it evicts the head); all others answer "no", inverted or not
//   - a stamp has expired iff now - stamp > seconds · HZ; the product is made in 32 bits and wraps
//   - stamps are counted in the order of their slots until there are `hitcount`
//   - --reap takes away at most one entry, the LRU head, iff its newest stamp has expired; never the entry that is being
//     updated, but perhaps the very one that --rcheck has just found
//   - --update dates the entry anew iff the match, inversion included, is true: so `! --update` does where it is not
//   - --rttl: an entry of TTL 0 (written by hand) stands for every TTL
// Rings grow to what the most demanding rule needs, never shrink, and growing forgets every entry.
//
// Differs from the kernel: capacity 0 is unlimited; a slot number has more than 16 bits, so a ring of 65536 does not run
// over (the kernel's reads beyond its array there); each list has its own lock, the kernel one for all.
//
// Memory: 48 bytes an entry and 8 a stamp of the ring (304 at 32 stamps); beside a RecentIndex 32 to 40 more. It is all
// allocated when the list is made or a rule is admitted, where a refusal is an error of that rule: a packet never
// allocates, and nothing on its path throws (the kernel allocates per entry, and drops the packet where it cannot).
// Pages become memory as entries come (lazy_array.h). What a list may have, it takes from RecentMemory:
//   capacity N   for N entries, when it is made
//   unlimited    for the entries of a page (at least one) then, and for as many again whenever they are used up. Where
//                nothing is left the LRU head makes room: counted as `starved`. A list keeps what it has taken
//
// Lists live as long as rules hold them (recent_lists.h), so no longer than the process: as in the kernel, nothing of
// them is left after it.
//
// Time is a parameter: jiffies, 64 bits. Threads: any; one lock, held for one entry's work, or one page's: a list of any
// length is flushed, read and watched without stopping those who ask it. Cost: O(1) expected for any number of entries
// (buckets come one at a time, linear_buckets.h), plus the stamps looked at.
//
//   page(from)   entries by the slot that they lie in, from slot `from` on. Between pages the list goes on changing (as
//                between the reads of the kernel's file): an entry that is there all the while is shown once, as it is
//                when its page is taken; one that comes, goes, or goes and comes again meanwhile may be shown or missed,
//                and after a flush or a larger ring nothing of before is shown
//   flush()      every entry is forgotten at once; their slots become free in pages
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"
#include "lb/affinity/lazy_array.h"
#include "lb/affinity/linear_buckets.h"
#include "lb/affinity/recent_match.h"
#include "lb/affinity/recent_memory.h"

namespace limpet::affinity {

class RecentIndex;

/// What a packet shows to `-m recent`. TTL: the header's; one more (modulo 256) where it has an out-interface and no
/// local socket, as in FORWARD and POSTROUTING: there the kernel has decremented it already.
struct RecentPacket {
  net::Address source;
  net::Address destination;
  std::uint8_t ttl = 0;
};

struct RecentAnswer {
  bool matches = false;
  bool known = false;  // was the address in the list, with that TTL if the rule asks for it?
};

/// One entry, as it is shown.
struct RecentRecord {
  net::Address address;
  std::uint8_t ttl = 0;
  std::uint32_t next_slot = 0;  // `oldest_pkt` in /proc: 1 to the ring's size
  std::uint64_t last_seen = 0;
  std::vector<std::uint64_t> stamps;  // in the order of their slots
  friend bool operator==(const RecentRecord&, const RecentRecord&) = default;
};

/// A piece of a list: entries in the order of their slots.
struct RecentPage {
  std::vector<RecentRecord> records;
  std::optional<std::uint32_t> next;  // nullopt: that was the end
};

struct RecentOptions {
  static constexpr std::uint32_t kUnlimited = 0;
  static constexpr std::uint64_t kMemory = std::uint64_t{1} << 30;

  std::uint32_t capacity = 100;  // of each list: ip_list_tot
  std::uint32_t least_stamps =
      0;  // ip_pkt_list_tot: rings of rules with a smaller hitcount have so many; at most 65536
  std::uint32_t per_second = 250;  // HZ
  store::HashKey key{};            // secret: clients choose the addresses
  std::uint64_t memory = kMemory;  // bytes, of all lists together
};

/// Since the list was made.
struct RecentCounts {
  std::uint64_t entries = 0;
  std::uint64_t evicted = 0;  // a new one came at capacity
  std::uint64_t starved = 0;  // a new one came to an unlimited list when no memory was left
  std::uint64_t reaped = 0;
  std::uint64_t flushed = 0;  // entries; by hand, or because a ring grew
};

class RecentTable {
 public:
  /// `first`: the rule that names the list first; its mask stays. `memory`: nullptr: of its own. Throws std::bad_alloc
  /// where it does not suffice, or the system has none.
  RecentTable(const RecentOptions& options, const RecentMatch& first, std::shared_ptr<RecentMemory> memory = nullptr);
  ~RecentTable();
  RecentTable(const RecentTable&) = delete;
  RecentTable& operator=(const RecentTable&) = delete;

  /// Another rule names the list: its ring becomes at least what the rule needs. One at a time. Throws std::bad_alloc as
  /// above; nothing is changed then.
  void admit(const RecentMatch& rule);
  bool match(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) noexcept {
    return ask(rule, packet, now).matches;
  }
  /// match(), and a word more.
  RecentAnswer ask(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) noexcept;
  /// What ask() would answer; nothing is changed.
  RecentAnswer peek(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) const noexcept;

  /// By hand, as through /proc: the address is not masked. add: a new entry has TTL 0; a known one gets a stamp.
  void add(const net::Address& address, std::uint64_t now) noexcept;
  bool erase(const net::Address& address) noexcept;
  void flush() noexcept;

  static constexpr std::uint32_t kSlotsOfPage = 128;
  static constexpr std::uint32_t kStampsOfPage = 4096;  // unless one entry has more
  /// At most kSlotsOfPage slots from `from` on.
  RecentPage page(std::uint32_t from) const;
  /// All under one lock, in the order of eviction: for a list that no packets ask meanwhile.
  std::vector<RecentRecord> records() const;
  RecentCounts counts() const noexcept;
  const std::string& name() const noexcept { return name_; }
  const RecentMask& mask() const noexcept { return mask_; }
  /// 0: unlimited.
  std::uint32_t capacity() const noexcept { return options_.capacity; }
  std::uint32_t ring() const noexcept;
  /// So many slots it has at most, unless a rule is admitted.
  std::uint32_t bound() const noexcept;
  /// Bytes taken from RecentMemory.
  std::uint64_t memory() const noexcept;
  /// From now on `index` is told of every entry, the present ones first, as of list `number` (recent_index.h).
  void watch(RecentIndex& index, std::uint32_t number);
  void unwatch(const RecentIndex& index) noexcept;

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = ~Index{0};
  static constexpr std::uint64_t kPiece = 4096;  // bytes: what an unlimited list takes at a time, if not for one entry

  struct Entry {
    net::Address address;
    std::uint8_t ttl;
    std::uint16_t epoch;  // not epoch_: flushed
    std::uint32_t hash;
    std::uint32_t next_slot;
    std::uint32_t stamps;  // how many of the ring are in use; 0: the entry is free
    Index next_in_bucket;
    Index older, newer;  // LRU; of flushed ones: newer
  };
  /// Of rings of one size.
  struct Storage {
    Storage(std::uint32_t slots, std::uint32_t stamps);
    std::uint32_t bound;
    std::uint32_t ring;  // a power of two
    LazyArray<Entry> entries;
    LazyArray<std::uint64_t> stamps;
    LinearBuckets<Index> buckets;
  };
  /// Slots taken from `memory_`, and what they cost.
  struct Share {
    std::uint32_t slots = 0;
    std::uint64_t bytes = 0;
  };

  Entry& entry(Index index) noexcept { return storage_.entries[index]; }
  const Entry& entry(Index index) const noexcept { return storage_.entries[index]; }
  std::uint64_t* stamps(Index index) noexcept { return &storage_.stamps[std::size_t{index} * storage_.ring]; }
  const std::uint64_t* stamps(Index index) const noexcept {
    return &storage_.stamps[std::size_t{index} * storage_.ring];
  }
  bool is_live(Index index) const noexcept { return entry(index).stamps != 0 && entry(index).epoch == epoch_; }

  /// Entry, bucket, ring.
  static constexpr std::uint64_t bytes_of_entry(std::uint32_t ring) noexcept {
    return sizeof(Entry) + sizeof(Index) + std::uint64_t{ring} * sizeof(std::uint64_t);
  }
  static constexpr std::uint32_t slots_of_piece(std::uint32_t ring) noexcept {
    const std::uint64_t slots = kPiece / bytes_of_entry(ring);
    return slots != 0 ? static_cast<std::uint32_t>(slots) : 1;
  }
  std::uint32_t ring_for(const RecentMatch& rule) const noexcept;
  std::uint32_t bound_for(std::uint32_t ring) const noexcept;
  Share first_share(std::uint32_t ring) const noexcept;
  std::uint32_t hash(const net::Address& address) const noexcept;
  Index find(const net::Address& address, std::uint32_t hash) const noexcept;
  bool fits(const RecentMatch& rule, std::uint8_t ttl, Index index) const noexcept;
  std::uint64_t oldest(const RecentMatch& rule, std::uint64_t now) const noexcept;
  bool recent_enough(const RecentMatch& rule, Index index, std::uint64_t oldest) const noexcept;
  void reap(Index found, std::uint64_t oldest, bool updates) noexcept;
  void create(const net::Address& address, std::uint32_t hash, std::uint8_t ttl, std::uint64_t now) noexcept;
  void stamp(Index index, std::uint64_t now) noexcept;
  void remove(Index index) noexcept;
  void release(Index index) noexcept;
  void bury() noexcept;
  bool sweep() noexcept;
  void release_dead() noexcept;
  Index take_slot() noexcept;
  Index first_use() noexcept;
  bool take_more() noexcept;
  void split(Index& from, Index& to, std::size_t bit) noexcept;
  void link_newest(Index index) noexcept;
  void unlink(Index index) noexcept;
  RecentRecord record(Index index) const;

  const std::string name_;
  const RecentMask mask_;
  const RecentOptions options_;
  const std::shared_ptr<RecentMemory> memory_;

  mutable store::SpinLock lock_;
  Storage storage_;
  Share share_;
  Index used_ = 0;      // slots that have ever been in use
  Index free_ = kNone;  // those that are no longer, by next_in_bucket
  Index oldest_ = kNone, newest_ = kNone;
  Index first_dead_ = kNone, last_dead_ = kNone;  // flushed, not yet free
  std::uint16_t epoch_ = 0;
  RecentCounts counts_;
  std::vector<std::pair<RecentIndex*, std::uint32_t>> watchers_;
};

}  // namespace limpet::affinity
