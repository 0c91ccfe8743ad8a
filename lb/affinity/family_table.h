// family_table.h: the affinities of one address family: a FlatTable of entries, and what affinity makes of them.
//
// AffinityTable has one of each family and says what its operations mean. Instants are here stamps already:
// milliseconds since the epoch, modulo 2^32. One shard's lock is held by each operation, by the ranged ones for one
// piece of a shard.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "conntrack/store/flat_table.h"
#include "lb/affinity/affinity.h"
#include "lb/affinity/entry_layout.h"
#include "lb/affinity/scope_policies.h"

namespace limpet::affinity {

template <typename Entry>
class FamilyTable {
 public:
  using Table = store::FlatTable<Entry>;
  using Locked = typename Table::Locked;
  using Slot = typename Table::Slot;

  FamilyTable(const store::TableShape& shape, const store::HashKey& secret, std::span<std::byte> memory,
              const ScopePolicies& policies) noexcept
      : table_(shape, secret, memory), policies_(policies) {}

  const Table& table() const noexcept { return table_; }
  store::RecoveryCounts recover() noexcept { return table_.recover(); }

  template <typename Selectable, typename Pick>
  Assignment get_or_assign(const Key& key, std::uint32_t now, Selectable&& selectable, Pick&& pick) {
    const Id id = Entry::narrow(key);
    const std::uint64_t hash = table_.hash(id);
    Locked shard = table_.lock(hash);
    const auto place = shard.find(id, hash);
    if (place.found) return judge_known(shard, place.index, id, now, selectable, pick);
    const std::uint32_t endpoint = pick();
    insert(shard, id, hash, Entry::make(id, endpoint, EntryMeta::of(id.scope, now, false)), now);
    return {endpoint, Outcome::miss};
  }

  std::optional<std::uint32_t> find(const Key& key, std::uint32_t now) const noexcept;
  void confirm(const Key& key, std::uint32_t endpoint, std::uint32_t now) noexcept;
  void refresh(const Key& key, std::uint32_t endpoint, std::uint32_t now) noexcept;
  bool put(const Key& key, std::uint32_t endpoint, std::uint32_t stamp, bool confirmed) noexcept {
    return put_unless(key, endpoint, stamp, confirmed, [](EntryMeta) { return false; }) != Put::no_room;
  }
  Put put_if_absent(const Key& key, std::uint32_t endpoint, std::uint32_t stamp, bool confirmed,
                    std::uint32_t now) noexcept {
    return put_unless(key, endpoint, stamp, confirmed, [&](EntryMeta there) { return in_time(there, now); });
  }
  bool erase(const Key& key) noexcept;
  void prefetch(const Key& key) const noexcept { table_.prefetch(table_.hash(Entry::narrow(key))); }

  /// Of one piece: takes out expired entries, and makes the others no older than `oldest`. Returns how many went.
  std::uint32_t sweep(std::uint64_t piece, std::uint32_t now, std::uint32_t oldest) noexcept;
  /// Of one piece: entries of `scope`, or all.
  std::uint32_t erase_piece(std::uint64_t piece, std::optional<std::uint32_t> scope) noexcept;
  /// A copy of the used slots of one piece. Returns how many.
  std::uint32_t copy_piece(std::uint64_t piece, std::span<Slot, Table::kPiece> copies) const noexcept;
  /// Of one piece: `stamp -> stamp` for every entry.
  template <typename Restamp>
  void restamp(std::uint64_t piece, Restamp&& restamp) noexcept {
    for_used(piece, [&](Locked& shard, std::uint32_t index) {
      const EntryMeta meta{shard[index].back()};
      shard.touch(index, meta.stamped(restamp(meta.stamp())).word);
    });
  }

 private:
  using Id = typename Entry::Key;

  bool in_time(EntryMeta meta, std::uint32_t now) const noexcept {
    return policies_.get(meta.scope()).in_time(AgeClock::age(now, meta.stamp()));
  }

  template <typename Selectable, typename Pick>
  Assignment judge_known(Locked& shard, std::uint32_t index, const Id& id, std::uint32_t now, Selectable&& selectable,
                         Pick&& pick) {
    const EntryMeta meta{shard[index].back()};
    const std::uint32_t remembered = Entry::endpoint(shard[index]);
    const ScopePolicies::Packed policy = policies_.get(id.scope);
    Outcome outcome = Outcome::expired;
    if (policy.in_time(AgeClock::age(now, meta.stamp()))) {
      if (selectable(remembered)) {
        if (policy.sliding()) shard.touch(index, meta.stamped(now).word);
        return {remembered, Outcome::hit};
      }
      outcome = Outcome::moved;
    }
    const std::uint32_t endpoint = pick();
    shard.replace(index, Entry::make(id, endpoint, EntryMeta::of(id.scope, now, false)));
    return {endpoint, outcome};
  }

  /// `stays(what is remembered) -> bool`
  template <typename Stays>
  Put put_unless(const Key& key, std::uint32_t endpoint, std::uint32_t stamp, bool confirmed, Stays&& stays) noexcept;

  /// Of a key that find() did not find. Somebody else makes room if there is none.
  void insert(Locked& shard, const Id& id, std::uint64_t hash, const Slot& slot, std::uint32_t now) noexcept {
    if (shard.full()) {
      shard.make_room(now / 1000, [&](const Slot& other) {
        const EntryMeta meta{other.back()};
        return store::Judgement{!in_time(meta, now), AgeClock::age(now, meta.stamp())};
      });
    }
    shard.insert(shard.find(id, hash).index, slot);
  }

  /// `visit(shard, index)` for each used slot of one piece, last to first; it may erase that slot.
  template <typename Visit>
  void for_used(std::uint64_t piece, Visit&& visit) const {
    const auto range = table_.piece(piece);
    Locked shard = table_.lock(range);
    for (std::uint32_t index = range.last; index-- > range.first;) {
      if (shard.is_used(index)) visit(shard, index);
    }
  }

  Table table_;
  const ScopePolicies& policies_;
};

template <typename Entry>
std::optional<std::uint32_t> FamilyTable<Entry>::find(const Key& key, std::uint32_t now) const noexcept {
  const Id id = Entry::narrow(key);
  const std::uint64_t hash = table_.hash(id);
  const Locked shard = table_.lock(hash);
  const auto place = shard.find(id, hash);
  if (!place.found || !in_time({shard[place.index].back()}, now)) return std::nullopt;
  return Entry::endpoint(shard[place.index]);
}

template <typename Entry>
void FamilyTable<Entry>::confirm(const Key& key, std::uint32_t endpoint, std::uint32_t now) noexcept {
  const Id id = Entry::narrow(key);
  const std::uint64_t hash = table_.hash(id);
  Locked shard = table_.lock(hash);
  const auto place = shard.find(id, hash);
  if (!place.found) {
    insert(shard, id, hash, Entry::make(id, endpoint, EntryMeta::of(id.scope, now, true)), now);
  } else if (const EntryMeta meta{shard[place.index].back()};
             !meta.confirmed() && Entry::endpoint(shard[place.index]) == endpoint) {
    shard.touch(place.index, meta.as_confirmed().word);
  }
}

template <typename Entry>
void FamilyTable<Entry>::refresh(const Key& key, std::uint32_t endpoint, std::uint32_t now) noexcept {
  const Id id = Entry::narrow(key);
  const std::uint64_t hash = table_.hash(id);
  Locked shard = table_.lock(hash);
  const auto place = shard.find(id, hash);
  if (!place.found || Entry::endpoint(shard[place.index]) != endpoint) return;
  const EntryMeta meta{shard[place.index].back()};
  if (policies_.get(meta.scope()).sliding() && in_time(meta, now)) shard.touch(place.index, meta.stamped(now).word);
}

template <typename Entry>
template <typename Stays>
Put FamilyTable<Entry>::put_unless(const Key& key, std::uint32_t endpoint, std::uint32_t stamp, bool confirmed,
                                   Stays&& stays) noexcept {
  const Id id = Entry::narrow(key);
  const std::uint64_t hash = table_.hash(id);
  const Slot slot = Entry::make(id, endpoint, EntryMeta::of(id.scope, stamp, confirmed));
  Locked shard = table_.lock(hash);
  const auto place = shard.find(id, hash);
  if (place.found) {
    if (stays(EntryMeta{shard[place.index].back()})) return Put::kept;
    shard.replace(place.index, slot);
  } else if (shard.full()) {
    return Put::no_room;
  } else {
    shard.insert(place.index, slot);
  }
  return Put::taken;
}

template <typename Entry>
bool FamilyTable<Entry>::erase(const Key& key) noexcept {
  const Id id = Entry::narrow(key);
  const std::uint64_t hash = table_.hash(id);
  Locked shard = table_.lock(hash);
  const auto place = shard.find(id, hash);
  if (place.found) shard.erase(place.index);
  return place.found;
}

template <typename Entry>
std::uint32_t FamilyTable<Entry>::sweep(std::uint64_t piece, std::uint32_t now, std::uint32_t oldest) noexcept {
  std::uint32_t swept = 0;
  for_used(piece, [&](Locked& shard, std::uint32_t index) {
    const EntryMeta meta{shard[index].back()};
    if (!in_time(meta, now)) {
      shard.erase(index);
      ++swept;
    } else if (AgeClock::age(now, meta.stamp()) > oldest) {
      shard.touch(index, meta.stamped(now - oldest).word);
    }
  });
  return swept;
}

template <typename Entry>
std::uint32_t FamilyTable<Entry>::erase_piece(std::uint64_t piece, std::optional<std::uint32_t> scope) noexcept {
  std::uint32_t erased = 0;
  for_used(piece, [&](Locked& shard, std::uint32_t index) {
    if (scope && EntryMeta{shard[index].back()}.scope() != *scope) return;
    shard.erase(index);
    ++erased;
  });
  return erased;
}

template <typename Entry>
std::uint32_t FamilyTable<Entry>::copy_piece(std::uint64_t piece,
                                             std::span<Slot, Table::kPiece> copies) const noexcept {
  std::uint32_t copied = 0;
  for_used(piece, [&](Locked& shard, std::uint32_t index) { copies[copied++] = shard[index]; });
  return copied;
}

}  // namespace limpet::affinity
