// affinity_table.h: (scope, client) → endpoint, while the client keeps coming back, and longer than the process.
//
//   memory   [ head | IPv4: FlatTable of 16-byte entries | IPv6: FlatTable of 32-byte entries ]   anonymous or a file's
//
//   get_or_assign   one critical section: look the client up, judge what is remembered, choose afresh if it does not
//                   hold, date it. Two workers can never give one client two endpoints
//   find            what is remembered and in time; changes nothing
//   confirm         the client has answered that endpoint: its entry is provisional no longer; if the entry was given
//                   up meanwhile, it comes back
//   refresh         dates an entry anew, if it names that endpoint
//   put             an entry as it was elsewhere; pushes nobody out. put_if_absent (load, import): unless its client is
//                   remembered, in the same critical section: what happens here is newer than what was elsewhere
//   sweep           some entries at a time: takes out the expired, keeps stamps apart (below)
//   visit           some entries at a time, for who lists them
//
// The words, and what hit, expired and moved mean: affinity.h. Entries: entry_layout.h. Locks, probes, eviction at
// capacity, what a kill -9 may leave behind: flat_table.h. At capacity expired entries go first, then provisional ones,
// and only then the oldest confirmed one of some: newcomers that never prove themselves turn over their own entries.
//
// Time. Stamps have 32 bits, so after 49.7 days an entry would look young again. An entry older than kOldest, 25 days,
// is expired under every policy but "never" (at most 24 days); a sweep dates it kOldest ago. With a whole lap of the
// sweep each day no entry is ever older than 26 days. The head keeps the instant of the last sweep in 64 bits: if the
// process was away for weeks, recover() brings every stamp up to date first.
//
// Threads: get_or_assign, find, confirm, refresh, put*, erase*, prefetch, sweep, visit, counts: any, one shard's lock
// at a time, a leaf lock, held for one entry or for at most 64 slots. set_scope: the control thread. recover: before any
// other.
// Cost: one cache miss for the entry (prefetch overlaps those of a burst); nothing is allocated but set_scope's pages.
// Memory: 26 bytes an IPv4 entry, 52 an IPv6 entry.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "conntrack/store/flat_table.h"
#include "conntrack/store/zeroed_memory.h"
#include "lb/affinity/affinity.h"
#include "lb/affinity/entry_layout.h"
#include "lb/affinity/family_table.h"
#include "lb/affinity/scope_policies.h"

namespace limpet::affinity {

using store::RecoveryCounts;

/// An entry, as visit() shows it.
struct EntryView {
  Key key;
  std::uint32_t endpoint = 0;
  Instant stamp{};  // of the last refresh
  bool confirmed = false;
  bool expired = false;  // by now's policy; it has not been taken out yet
};

/// How far a visit has come. Starts at 0.
struct Cursor {
  static constexpr std::uint64_t kEnd = ~std::uint64_t{0};
  std::uint64_t next = 0;
  bool at_end() const noexcept { return next == kEnd; }
};

class AffinityTable {
 public:
  /// Bytes, both families.
  static std::size_t memory(const AffinityOptions& options) noexcept;
  /// Names what the memory looks like: two builds that agree on it may take over each other's.
  static std::string layout(const AffinityOptions& options);

  /// In anonymous memory of its own. Throws std::bad_alloc where there is none.
  explicit AffinityTable(const AffinityOptions& options);
  /// In `memory`, at least memory(options) bytes aligned to 64, that outlive the table. All zero: empty; else it is
  /// what a table of the same options left there, and recover() comes first.
  AffinityTable(const AffinityOptions& options, std::span<std::byte> memory);
  AffinityTable(const AffinityTable&) = delete;
  AffinityTable& operator=(const AffinityTable&) = delete;

  /// Repairs the shards in which a killed process held the lock.
  RecoveryCounts recover(Instant now) noexcept;

  /// scope: 1 to kScopes - 1. Holds for the clients that it has already.
  void set_scope(std::uint32_t scope, ScopePolicy policy) { policies_.set(scope, policy); }

  /// `selectable(endpoint) -> bool`: may this endpoint be chosen for this connection? `pick() -> endpoint`: a fresh
  /// choice; bounded, called at most once. Both are called inside the critical section.
  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, Instant now, Selectable&& selectable, Pick&& pick) {
    const std::uint32_t stamp = clock_.stamp(now);
    return key.client.is_v4() ? v4_.get_or_assign(key, stamp, selectable, pick)
                              : v6_.get_or_assign(key, stamp, selectable, pick);
  }
  std::optional<std::uint32_t> find(const Key& key, Instant now) const noexcept;
  /// Ignored if the client is remembered for another endpoint.
  void confirm(const Key& key, std::uint32_t endpoint, Instant now) noexcept;
  void refresh(const Key& key, std::uint32_t endpoint, Instant now) noexcept;
  /// Takes the place of what is remembered. False: its shard is full. `stamp` is at most 25 days ago.
  bool put(const Key& key, std::uint32_t endpoint, Instant stamp, bool confirmed) noexcept;
  /// The same, unless something is remembered that is in time now.
  Put put_if_absent(const Key& key, std::uint32_t endpoint, Instant stamp, bool confirmed, Instant now) noexcept;
  bool erase(const Key& key) noexcept;
  /// How many there were. A client that comes back while it runs may be left.
  std::size_t erase_scope(std::uint32_t scope) noexcept { return erase_where(scope); }
  std::size_t erase_all() noexcept { return erase_where(std::nullopt); }
  void prefetch(const Key& key) const noexcept { key.client.is_v4() ? v4_.prefetch(key) : v6_.prefetch(key); }

  /// Looks at about `budget` slots, wherever the last call ended; slots() of them are a lap. Returns how many went.
  std::size_t sweep(std::size_t budget, Instant now) noexcept;
  std::size_t slots() const noexcept;

  /// `visit(const EntryView&)` for the entries of about `budget` slots, without a lock. Returns where to go on; an
  /// entry that comes, goes or moves meanwhile may be shown or not, or twice.
  template <typename Visit>
  Cursor visit(Cursor from, std::size_t budget, Instant now, Visit&& visit) const;

  AffinityCounts counts() const noexcept;

 private:
  static constexpr std::uint32_t kPiece = store::FlatTable<EntryV4>::kPiece;
  static_assert(kPiece == store::FlatTable<EntryV6>::kPiece);
  static constexpr std::uint32_t kOldest = 25U * 86'400'000;

  struct alignas(64) Head {
    std::uint64_t last_sweep;  // 1 + ms since the epoch; 0: never
    std::uint64_t swept;
  };
  /// Where things lie in the memory.
  struct Plan {
    store::TableShape v4, v6;
    std::size_t v4_at, v6_at, end;
    explicit Plan(const AffinityOptions& options) noexcept;
  };
  AffinityTable(const AffinityOptions& options, const Plan& plan, std::unique_ptr<store::ZeroedMemory> own,
                std::byte* memory);

  std::uint64_t pieces() const noexcept { return v4_.table().pieces() + v6_.table().pieces(); }
  /// `work(family, number)`: the family table that piece `piece` of pieces() belongs to, and its number there.
  template <typename Self, typename Work>
  static auto in_family(Self& self, std::uint64_t piece, Work&& work) {
    const std::uint64_t v4_pieces = self.v4_.table().pieces();
    return piece < v4_pieces ? work(self.v4_, piece) : work(self.v6_, piece - v4_pieces);
  }
  std::size_t erase_where(std::optional<std::uint32_t> scope) noexcept;
  void catch_up(Instant now) noexcept;
  template <typename Entry>
  EntryView view(const store::SlotWords<Entry::kWords>& slot, Instant now) const noexcept;
  template <typename Entry, typename Visit>
  void visit_piece(const FamilyTable<Entry>& family, std::uint64_t piece, Instant now, Visit&& visit) const;

  AgeClock clock_;
  ScopePolicies policies_;
  std::unique_ptr<store::ZeroedMemory> own_;  // null: the caller's
  Head& head_;
  FamilyTable<EntryV4> v4_;
  FamilyTable<EntryV6> v6_;
  std::atomic<std::uint64_t> sweep_piece_{0};
};

template <typename Entry>
EntryView AffinityTable::view(const store::SlotWords<Entry::kWords>& slot, Instant now) const noexcept {
  const EntryMeta meta{slot.back()};
  const std::uint32_t age = AgeClock::age(clock_.stamp(now), meta.stamp());
  return {.key = Entry::widen(Entry::key_of(slot)),
          .endpoint = Entry::endpoint(slot),
          .stamp = now - Milliseconds(age),
          .confirmed = meta.confirmed(),
          .expired = !policies_.get(meta.scope()).in_time(age)};
}

template <typename Entry, typename Visit>
void AffinityTable::visit_piece(const FamilyTable<Entry>& family, std::uint64_t piece, Instant now,
                                Visit&& visit) const {
  std::array<store::SlotWords<Entry::kWords>, kPiece> copies;
  const std::uint32_t copied = family.copy_piece(piece, copies);
  for (std::uint32_t i = 0; i < copied; ++i) visit(view<Entry>(copies[i], now));
}

template <typename Visit>
Cursor AffinityTable::visit(Cursor from, std::size_t budget, Instant now, Visit&& visit) const {
  const std::uint64_t end = pieces();
  for (std::size_t looked_at = 0; from.next < end && looked_at < budget; ++from.next) {
    in_family(*this, from.next, [&](const auto& family, std::uint64_t piece) {
      looked_at += family.table().piece(piece).size();
      visit_piece(family, piece, now, visit);
    });
  }
  return from.next < end ? from : Cursor{Cursor::kEnd};
}

static_assert(AffinityStore<AffinityTable>);

}  // namespace limpet::affinity
