// entry_layout.h: how an affinity lies in a slot of a FlatTable. IPv4 takes 16 bytes, IPv6 32.
//
//   EntryV4   word 0   endpoint 32 | client 32
//             word 1   stamp 32 | scope 24 | flags 8
//
//   EntryV6   word 0   client, first 64 bits            word 2   0 | endpoint 32
//             word 1   client, last 64 bits             word 3   stamp 32 | scope 24 | flags 8
//
// Clients as they lie in memory: network order. A refresh changes the stamp alone, so it is one 8-byte store.
//
// Stamps are milliseconds since the file's epoch modulo 2^32: they go round in 49.7 days. AgeClock tells ages apart up
// to 49.6 days; what is more than an hour in the future is old, what is less is a worker's clock that was read a little
// later, and new. AffinityTable::sweep keeps every stamp younger than that (affinity_table.h).
#pragma once

#include <array>
#include <cstdint>

#include "conntrack/store/flat_table.h"
#include "lb/affinity/affinity.h"

namespace limpet::affinity {

class AgeClock {
 public:
  explicit AgeClock(Instant epoch) noexcept : epoch_(epoch) {}

  std::uint32_t stamp(Instant instant) const noexcept { return static_cast<std::uint32_t>(since_epoch(instant)); }
  std::int64_t since_epoch(Instant instant) const noexcept { return (instant - epoch_).count(); }
  /// Milliseconds; 0 for a stamp of up to an hour from now.
  static std::uint32_t age(std::uint32_t now, std::uint32_t stamp) noexcept {
    const std::uint32_t age = now - stamp;
    return age > kFuture ? 0 : age;
  }

 private:
  static constexpr std::uint32_t kFuture = 0U - 3'600'000U;
  Instant epoch_;
};

/// The last word of an entry.
struct EntryMeta {
  std::uint64_t word = 0;

  static EntryMeta of(std::uint32_t scope, std::uint32_t stamp, bool confirmed) noexcept {
    const std::uint64_t flags = store::kSlotUsed | (confirmed ? 0 : store::kSlotProvisional);
    return {std::uint64_t{stamp} << 32 | std::uint64_t{scope} << 8 | flags};
  }
  std::uint32_t stamp() const noexcept { return static_cast<std::uint32_t>(word >> 32); }
  std::uint32_t scope() const noexcept { return static_cast<std::uint32_t>(word >> 8) & (kScopes - 1); }
  bool confirmed() const noexcept { return (word & store::kSlotProvisional) == 0; }
  EntryMeta stamped(std::uint32_t stamp) const noexcept { return {(word & 0xffffffff) | std::uint64_t{stamp} << 32}; }
  EntryMeta as_confirmed() const noexcept { return {word & ~store::kSlotProvisional}; }
  /// 0: in use, and of this scope. No branch: most often the answer is "other", but not predictably.
  std::uint32_t other_than(std::uint32_t scope_wanted) const noexcept {
    return static_cast<std::uint32_t>(word ^ (std::uint64_t{scope_wanted} << 8 | store::kSlotUsed)) & 0xffffff01;
  }
};

struct EntryV4 {
  static constexpr std::size_t kWords = 2;
  using Slot = store::SlotWords<kWords>;
  struct Key {
    std::uint32_t client = 0;
    std::uint32_t scope = 0;
  };

  static Key narrow(const affinity::Key& key) noexcept {
    return {static_cast<std::uint32_t>(key.client.words()[0]), key.scope};
  }
  static affinity::Key widen(const Key& key) noexcept {
    return {key.scope, net::Address::from_wire(net::Family::v4, reinterpret_cast<const std::byte*>(&key.client))};
  }
  static Slot make(const Key& key, std::uint32_t endpoint, EntryMeta meta) noexcept {
    return {std::uint64_t{endpoint} << 32 | key.client, meta.word};
  }
  static std::uint32_t endpoint(const Slot& slot) noexcept { return static_cast<std::uint32_t>(slot[0] >> 32); }

  static std::uint64_t hash(const store::HashKey& secret, const Key& key) noexcept {
    return affinity::hash(secret, key.scope, key.client);
  }
  static Key key_of(const Slot& slot) noexcept {
    return {static_cast<std::uint32_t>(slot[0]), EntryMeta{slot[1]}.scope()};
  }
  static bool holds(const Slot& slot, const Key& key) noexcept {
    return (static_cast<std::uint32_t>(slot[0] ^ key.client) | EntryMeta{slot[1]}.other_than(key.scope)) == 0;
  }
};

struct EntryV6 {
  static constexpr std::size_t kWords = 4;
  using Slot = store::SlotWords<kWords>;
  struct Key {
    std::array<std::uint64_t, 2> client{};
    std::uint32_t scope = 0;
  };

  static Key narrow(const affinity::Key& key) noexcept { return {key.client.words(), key.scope}; }
  static affinity::Key widen(const Key& key) noexcept {
    return {key.scope, net::Address::from_wire(net::Family::v6, reinterpret_cast<const std::byte*>(key.client.data()))};
  }
  static Slot make(const Key& key, std::uint32_t endpoint, EntryMeta meta) noexcept {
    return {key.client[0], key.client[1], endpoint, meta.word};
  }
  static std::uint32_t endpoint(const Slot& slot) noexcept { return static_cast<std::uint32_t>(slot[2]); }

  static std::uint64_t hash(const store::HashKey& secret, const Key& key) noexcept {
    return affinity::hash(secret, key.scope, key.client);
  }
  static Key key_of(const Slot& slot) noexcept { return {{slot[0], slot[1]}, EntryMeta{slot[3]}.scope()}; }
  static bool holds(const Slot& slot, const Key& key) noexcept {
    return ((slot[0] ^ key.client[0]) | (slot[1] ^ key.client[1]) | EntryMeta{slot[3]}.other_than(key.scope)) == 0;
  }
};

static_assert(store::SlotLayout<EntryV4> && sizeof(EntryV4::Slot) == 16);
static_assert(store::SlotLayout<EntryV6> && sizeof(EntryV6::Slot) == 32);

}  // namespace limpet::affinity
