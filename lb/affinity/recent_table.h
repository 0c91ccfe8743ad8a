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
// over (the kernel's reads beyond its array there); where memory ends the LRU head is evicted, while the kernel drops
// the packet; each list has its own lock, the kernel one for all.
//
// Time is a parameter: jiffies, 64 bits. Threads: any; one lock, held for one call: records and flush are long ones where
// the list is. Cost: O(1) expected for any number of entries (amortised, while an unlimited list grows), plus the stamps
// looked at. Memory: 44 bytes an entry, 4 to 8 of buckets, and 8 a stamp of the ring (256 at 32 stamps), in pieces of
// 16 KiB of stamps or one entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"
#include "lb/affinity/recent_match.h"

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

struct RecentOptions {
  static constexpr std::uint32_t kUnlimited = 0;

  std::uint32_t capacity = 100;  // of each list: ip_list_tot
  std::uint32_t least_stamps =
      0;  // ip_pkt_list_tot: rings of rules with a smaller hitcount have so many; at most 65536
  std::uint32_t per_second = 250;  // HZ
  store::HashKey key{};            // secret: clients choose the addresses
};

/// Since the list was made.
struct RecentCounts {
  std::uint64_t entries = 0;
  std::uint64_t evicted = 0;  // a new one came at capacity
  std::uint64_t reaped = 0;
  std::uint64_t flushed = 0;  // entries; by hand, or because a ring grew
};

class RecentTable {
 public:
  /// `first`: the rule that names the list first; its mask stays.
  RecentTable(const RecentOptions& options, const RecentMatch& first);
  RecentTable(const RecentTable&) = delete;
  RecentTable& operator=(const RecentTable&) = delete;

  /// Another rule names the list: its ring becomes at least what the rule needs.
  void admit(const RecentMatch& rule);
  bool match(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) {
    return ask(rule, packet, now).matches;
  }
  /// match(), and a word more.
  RecentAnswer ask(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now);
  /// What ask() would answer; nothing is changed.
  RecentAnswer peek(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) const;

  /// By hand, as through /proc: the address is not masked. add: a new entry has TTL 0; a known one gets a stamp.
  void add(const net::Address& address, std::uint64_t now);
  bool erase(const net::Address& address);
  void flush();

  /// In the order of eviction. (The kernel's order is its hash's, which is another after every boot.)
  std::vector<RecentRecord> records() const;
  RecentCounts counts() const;
  const std::string& name() const noexcept { return name_; }
  const RecentMask& mask() const noexcept { return mask_; }
  /// From now on `index` is told of every entry, the present ones first, as of list `number` (recent_index.h).
  void watch(RecentIndex& index, std::uint32_t number);
  void unwatch(const RecentIndex& index);
  std::uint32_t ring() const;

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = ~Index{0};

  struct Entry {
    net::Address address;
    std::uint8_t ttl;
    std::uint32_t hash;
    std::uint32_t next_slot;
    std::uint32_t stamps;  // how many slots are in use
    Index next_in_bucket;
    Index older, newer;  // LRU
  };
  /// Entries and their rings, that stay where they are.
  struct Piece {
    std::unique_ptr<Entry[]> entries;
    std::unique_ptr<std::uint64_t[]> stamps;
  };

  Entry& entry(Index index) noexcept { return pieces_[index >> piece_bits_].entries[index & piece_mask()]; }
  const Entry& entry(Index index) const noexcept { return pieces_[index >> piece_bits_].entries[index & piece_mask()]; }
  std::uint64_t* stamps(Index index) const noexcept {
    return &pieces_[index >> piece_bits_].stamps[std::size_t{index & piece_mask()} * ring_];
  }
  Index piece_mask() const noexcept { return (Index{1} << piece_bits_) - 1; }

  std::uint32_t ring_for(const RecentMatch& rule) const noexcept;
  void set_ring(std::uint32_t ring) noexcept;
  std::uint32_t hash(const net::Address& address) const noexcept;
  Index find(const net::Address& address, std::uint32_t hash) const noexcept;
  bool fits(const RecentMatch& rule, std::uint8_t ttl, Index index) const noexcept;
  std::uint64_t oldest(const RecentMatch& rule, std::uint64_t now) const noexcept;
  bool recent_enough(const RecentMatch& rule, Index index, std::uint64_t oldest) const noexcept;
  void reap(Index found, std::uint64_t oldest, bool updates);
  void create(const net::Address& address, std::uint32_t hash, std::uint8_t ttl, std::uint64_t now);
  void stamp(Index index, std::uint64_t now) noexcept;
  void remove(Index index) noexcept;
  void forget_all() noexcept;
  Index take_free();
  bool make_room() noexcept;
  void spread(std::size_t buckets);
  void tell(const net::Address& address, bool there) const;
  void link_newest(Index index) noexcept;
  void unlink(Index index) noexcept;

  const std::string name_;
  const RecentMask mask_;
  const RecentOptions options_;

  mutable store::SpinLock lock_;
  std::uint32_t ring_ = 0;  // a power of two
  unsigned piece_bits_ = 0;
  std::vector<Piece> pieces_;
  std::vector<Index> buckets_;  // a power of two of them
  Index used_ = 0;              // entries of pieces_ that have ever been in use
  Index free_ = kNone;          // those that are no longer, by next_in_bucket
  Index oldest_ = kNone, newest_ = kNone;
  RecentCounts counts_;
  std::vector<std::pair<RecentIndex*, std::uint32_t>> watchers_;
};

}  // namespace limpet::affinity
