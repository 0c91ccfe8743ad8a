// recent_index.h: which of many `recent` lists know a client? One probe instead of one for each list.
//
//   RecentTable 0 ──┐ tell of every entry that comes or goes
//   RecentTable 1 ──┼──▶ shard ──▶ hash of the entry's address ──▶ the numbers of the lists that have it
//   …             ──┘
//
// For programs that ask list after list for the same client, as kube-proxy's do: only the lists named here are asked
// themselves, so that nothing but the order of search changes. The lists have one mask and one side in common; their
// entries are found under the masked address.
//
// Threads: any. A list tells under its own lock, then a shard's is taken; a reader takes the shard's alone. What a reader
// is told may have changed when it asks the list: the list's answer counts.
// Cost: O(1) expected; reading, also in how many of the lists have the client. Memory: one node an entry (about 64 bytes).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"

namespace limpet::affinity {

class RecentTable;

class RecentIndex {
 public:
  /// `lists` are numbered as they come; one may be there twice. `key` is secret: clients choose the addresses.
  RecentIndex(std::vector<std::shared_ptr<RecentTable>> lists, const store::HashKey& key);
  ~RecentIndex();
  RecentIndex(const RecentIndex&) = delete;
  RecentIndex& operator=(const RecentIndex&) = delete;

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  /// The first list from number `from` on that has this (masked) address.
  std::uint32_t first(const net::Address& address, std::uint32_t from) const;

 private:
  friend class RecentTable;
  struct Hash {
    store::HashKey key;
    std::size_t operator()(const net::Address& address) const noexcept;
  };
  struct alignas(64) Shard {
    mutable store::SpinLock lock;
    std::unordered_multimap<net::Address, std::uint32_t, Hash> entries;
  };
  static constexpr std::size_t kShards = 16;

  /// By a list, under its lock.
  void add(const net::Address& address, std::uint32_t list);
  void remove(const net::Address& address, std::uint32_t list);

  Shard& shard(const net::Address& address) noexcept { return shards_[hash_(address) >> 60]; }
  const Shard& shard(const net::Address& address) const noexcept { return shards_[hash_(address) >> 60]; }

  Hash hash_;
  std::array<Shard, kShards> shards_;
  std::vector<std::shared_ptr<RecentTable>> lists_;
};

}  // namespace limpet::affinity
