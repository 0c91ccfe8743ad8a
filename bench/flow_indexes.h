// flow_indexes.h: FlowTable, and the same thing built from a library's hash table, under one interface.
//
//   add(n)            flow number n: outer and middle key, complete
//   touch(tuple)      find, lock the record, move its deadline, unlock: false if there is none
//   end(n)            remove it
//   bytes()           of records and index
//
// The others map each pair to a record's number. Their records are FlowTable's, and so are locks and hash; what lies
// between the index and the record's lock (a flow that ends just then) is left out, in their favour.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include <libcuckoo/cuckoohash_map.hh>
#include <malloc.h>
#include <tbb/concurrent_hash_map.h>

#include "conntrack/flow/flow_table.h"

namespace limpet::bench {

inline constexpr store::HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210};

/// As the parser reads it out of a packet: stored in one piece, so that whoever loads it need not wait.
inline net::Address v4(std::uint32_t host_order) noexcept {
  const std::uint32_t wire = __builtin_bswap32(host_order);
  return net::Address::from_wire(net::Family::v4, reinterpret_cast<const std::byte*>(&wire));
}

/// 50 connections from each of many clients to one service with 8 endpoints.
inline net::Tuple outer_of(std::uint32_t n) noexcept {
  const net::AddressPort client{v4(0x0a000000 + n / 50), static_cast<std::uint16_t>(1024 + n % 50)};
  return {net::Protocol::tcp, client, {v4(0xac100001), 80}};
}
inline net::Tuple middle_of(std::uint32_t n) noexcept {
  net::Tuple tuple = outer_of(n);
  tuple.destination = {v4(0xac110001 + n % 8), 8080};
  return tuple;
}

class LimpetFlows {
 public:
  explicit LimpetFlows(std::uint32_t capacity) : table_({.capacity = capacity, .key = kKey, .timeouts = {}}) {}
  void add(std::uint32_t n) {
    flow::LockedFlow flow;
    if (table_.create(outer_of(n), flow) != flow::FlowTable::Create::created) throw std::logic_error("not created");
    flow->endpoint = middle_of(n).destination;
    if (!table_.link(*flow, flow::KeyRole::middle)) throw std::logic_error("a pair stands twice");
    table_.commit(*flow);
  }
  std::uint64_t prefetch(const net::Tuple& tuple) const noexcept { return table_.prefetch(tuple); }
  void prefetch_links(std::uint64_t hash) const noexcept { table_.prefetch_links(hash); }
  void prefetch_flow(std::uint64_t hash) const noexcept { table_.prefetch_flow(hash); }
  bool touch(const net::Tuple& tuple, flow::Instant now) noexcept { return touch(table_.find(tuple), now); }
  bool touch(const net::Tuple& tuple, flow::Instant now, std::uint64_t hash) noexcept {
    return touch(table_.find(tuple, hash), now);
  }
  void end(std::uint32_t n) noexcept { table_.remove(table_.find(outer_of(n))); }
  std::size_t bytes() const noexcept { return flow::FlowTable::memory(table_.capacity()); }

 private:
  static bool touch(const flow::LockedFlow& flow, flow::Instant now) noexcept {
    if (!flow) return false;
    flow->deadline = now;
    return true;
  }
  flow::FlowTable table_;
};

/// Protocol and unordered pair, as FlowTable hashes them.
struct PairKey {
  net::Protocol protocol;
  net::AddressPort low, high;
  explicit PairKey(const net::Tuple& tuple) noexcept
      : protocol(tuple.protocol),
        low(std::min(tuple.source, tuple.destination)),
        high(std::max(tuple.source, tuple.destination)) {}
  friend bool operator==(const PairKey&, const PairKey&) noexcept = default;
};
struct PairHash {
  std::size_t operator()(const PairKey& key) const noexcept {
    const std::uint64_t low = key.low.address.words()[0] << 16 | key.low.port;
    const std::uint64_t high = key.high.address.words()[0] << 16 | key.high.port;
    return store::siphash13(kKey, std::array{low | static_cast<std::uint64_t>(key.protocol) << 56, high});
  }
};

class TbbIndex {
 public:
  explicit TbbIndex(std::size_t keys) : map_(keys) {}
  bool insert(const PairKey& key, std::uint32_t record) { return map_.insert({key, record}); }
  bool find(const PairKey& key, std::uint32_t& record) const {
    Map::const_accessor found;
    if (!map_.find(found, key)) return false;
    record = found->second;
    return true;
  }
  void erase(const PairKey& key) { map_.erase(key); }

 private:
  struct Compare : PairHash {
    static bool equal(const PairKey& a, const PairKey& b) noexcept { return a == b; }
    std::size_t hash(const PairKey& key) const noexcept { return PairHash{}(key); }
  };
  using Map = tbb::concurrent_hash_map<PairKey, std::uint32_t, Compare,
                                       std::allocator<std::pair<const PairKey, std::uint32_t>>>;
  Map map_;
};

class CuckooIndex {
 public:
  explicit CuckooIndex(std::size_t keys) : map_(keys) {}
  bool insert(const PairKey& key, std::uint32_t record) { return map_.insert(key, record); }
  bool find(const PairKey& key, std::uint32_t& record) const { return map_.find(key, record); }
  void erase(const PairKey& key) { map_.erase(key); }

 private:
  libcuckoo::cuckoohash_map<PairKey, std::uint32_t, PairHash> map_;
};

class StripedIndex {
 public:
  explicit StripedIndex(std::size_t keys) : stripes_(kStripes) {
    for (Stripe& stripe : stripes_) stripe.map.reserve(keys / kStripes);
  }
  bool insert(const PairKey& key, std::uint32_t record) {
    Stripe& home = stripe(key);
    const std::lock_guard lock(home.mutex);
    return home.map.insert({key, record}).second;
  }
  bool find(const PairKey& key, std::uint32_t& record) {
    Stripe& home = stripe(key);
    const std::lock_guard lock(home.mutex);
    const auto found = home.map.find(key);
    if (found == home.map.end()) return false;
    record = found->second;
    return true;
  }
  void erase(const PairKey& key) {
    Stripe& home = stripe(key);
    const std::lock_guard lock(home.mutex);
    home.map.erase(key);
  }

 private:
  static constexpr std::size_t kStripes = 1024;
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::unordered_map<PairKey, std::uint32_t, PairHash> map;
  };
  Stripe& stripe(const PairKey& key) { return stripes_[PairHash{}(key) >> 54]; }
  std::vector<Stripe> stripes_;
};

/// The records of flows, found by an index of a library.
template <typename Index>
class IndexedFlows {
 public:
  explicit IndexedFlows(std::uint32_t capacity)
      : before_(heap()), index_(2 * std::size_t{capacity}), memory_(sizeof(flow::Flow) * capacity) {
    records_ = reinterpret_cast<flow::Flow*>(memory_.data());
    for (std::uint32_t i = capacity; i > 0; --i) {
      records_[i - 1].next_free = free_;
      free_ = i;
    }
    capacity_ = capacity;
  }
  void add(std::uint32_t n) {
    const std::uint32_t number = take();
    flow::Flow& flow = records_[number];
    const net::Tuple outer = outer_of(n), middle = middle_of(n);
    flow.lock.lock();
    flow.start(outer.protocol);
    flow.client = flow.client_near = outer.source;
    flow.service = outer.destination;
    flow.endpoint = middle.destination;
    const bool added = index_.insert(PairKey(outer), number) && index_.insert(PairKey(middle), number);
    flow.lock.unlock();
    if (!added) throw std::logic_error("a pair stands twice");
  }
  bool touch(const net::Tuple& tuple, flow::Instant now) {
    std::uint32_t number = 0;
    if (!index_.find(PairKey(tuple), number)) return false;
    const std::lock_guard lock(records_[number].lock);
    records_[number].deadline = now;
    return true;
  }
  void end(std::uint32_t n) {
    std::uint32_t number = 0;
    if (!index_.find(PairKey(outer_of(n)), number)) throw std::logic_error("not found");
    {
      const std::lock_guard lock(records_[number].lock);
      index_.erase(PairKey(middle_of(n)));
      index_.erase(PairKey(outer_of(n)));
    }
    const std::lock_guard lock(free_lock_);
    records_[number].next_free = free_;
    free_ = 1 + number;
  }
  std::size_t bytes() const noexcept { return sizeof(flow::Flow) * capacity_ + heap() - before_; }

 private:
  static std::size_t heap() noexcept {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  }
  std::uint32_t take() {
    const std::lock_guard lock(free_lock_);
    if (free_ == 0) throw std::logic_error("full");
    const std::uint32_t number = free_ - 1;
    free_ = records_[number].next_free;
    return number;
  }

  std::size_t before_;
  Index index_;
  store::ZeroedMemory memory_;
  flow::Flow* records_;
  std::uint32_t capacity_;
  store::SpinLock free_lock_;
  std::uint32_t free_ = 0;
};

using TbbFlows = IndexedFlows<TbbIndex>;
using CuckooFlows = IndexedFlows<CuckooIndex>;
using StripedFlows = IndexedFlows<StripedIndex>;

}  // namespace limpet::bench
