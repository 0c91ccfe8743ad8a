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
// Each slot of each list has a node of its own here, so that an entry comes and goes without allocation:
//
//   nodes[list][slot] = {hash, list, chain}     linked into its shard's bucket while the slot holds an entry
//
// Threads: any. A list tells under its own lock, then a shard's is taken; a reader takes the shard's alone. What a reader
// is told may have changed when it asks the list: the list's answer counts. Addresses are told apart by 64 bits of keyed
// hash: were two the same, a list would be asked in vain.
// Cost: O(1) expected; reading, also in how many of the lists have the client. Memory: 32 bytes a slot and 8 of buckets,
// all allocated at the start (std::bad_alloc there, never later), pages of it touched as entries come.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"
#include "lb/affinity/lazy_array.h"
#include "lb/affinity/linear_buckets.h"

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
  std::uint32_t first(const net::Address& address, std::uint32_t from) const noexcept;

 private:
  friend class RecentTable;
  struct Node {
    Node* next;
    Node** link;  // what points here; nullptr: not in a bucket
    std::uint64_t hash;
    std::uint32_t list;
  };
  struct alignas(64) Shard {
    mutable store::SpinLock lock;
    std::size_t entries = 0;
    LinearBuckets<Node*> buckets{1, nullptr};
  };
  static constexpr std::size_t kShards = 16;

  /// By a list, under its lock. Told again, nothing happens.
  void add(std::uint32_t list, std::uint32_t slot, const net::Address& address) noexcept;
  void remove(std::uint32_t list, std::uint32_t slot) noexcept;

  static void push(Node*& bucket, Node& node) noexcept;
  static void split(Node*& from, Node*& to, std::size_t bit) noexcept;
  std::uint64_t hash(const net::Address& address) const noexcept;
  Shard& shard(std::uint64_t hash) noexcept { return shards_[hash >> 60]; }
  const Shard& shard(std::uint64_t hash) const noexcept { return shards_[hash >> 60]; }

  const store::HashKey key_;
  std::vector<std::shared_ptr<RecentTable>> lists_;
  std::vector<LazyArray<Node>> nodes_;  // by list, then by slot
  std::array<Shard, kShards> shards_;
};

}  // namespace limpet::affinity
