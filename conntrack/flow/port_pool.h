// port_pool.h: source ports for masqueraded connections.
//
//   one pool per (protocol, egress address, endpoint): there alone must a port be unique, so each endpoint
//   has them all
//   pool      65,536 bits: ports in use; and the ports that only TIME_WAIT connections hold, oldest first
//   choose    the client's own port, where it is free and may be kept; else the next free one of the allowed
//             ports, searched by words from a random place: at most 1,025 steps
//
//   port                                  may be kept                          may be assigned
//   0                                     no                                   no
//   a nodePort                            no                                   no
//   in ip_local_port_range                no: a local socket could take it     if it is in masqueradePorts
//   any other                             yes                                  if it is in masqueradePorts
//
// Why no nodePort: kubernetes/kubernetes#139276. They come and go with services: who has such a port already keeps it.
// Exhaustion is answered with nullopt; oldest_held() then
// names the port that can be spared first. The caller removes its flow, which releases it.
//
// Threads: any; pools are found under a shard's mutex, a leaf lock held for one operation. add_node_port and
// remove_node_port: the control thread. Memory: 16 KiB a
// pool, made on first use, one for each endpoint that masqueraded clients reach; never given back.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::flow {

struct PortInterval {
  std::uint16_t first = 0;
  std::uint16_t last = 0;  // inclusive
};

struct PortPoolOptions {
  std::span<const PortInterval> assignable;  // masqueradePorts
  PortInterval ephemeral{32768, 60999};      // ip_local_port_range
  std::span<const std::uint16_t> node_ports;
};

struct PoolKey {
  net::Protocol protocol{};
  net::Address egress;
  net::AddressPort endpoint;
  friend bool operator==(const PoolKey&, const PoolKey&) noexcept = default;
};

class PortPool {
 public:
  explicit PortPool(const PortPoolOptions& options);

  /// From now on it is a nodePort, of one service more; or of one less.
  void add_node_port(std::uint16_t port);
  void remove_node_port(std::uint16_t port);

  /// A port that is now the caller's, until release(). `random` places the search. nullopt: none is free.
  std::optional<std::uint16_t> acquire(const PoolKey& key, std::uint16_t preferred, std::uint64_t random);
  /// This very port is the caller's, whatever the pool's own rules: a flow that was there before the pool has it. False if
  /// it is in use already. `held`: its connection is in TIME_WAIT, as after hold().
  bool claim(const PoolKey& key, std::uint16_t port, bool held);
  /// Its connection is in TIME_WAIT: the port can be spared, in the order of these calls.
  void hold(const PoolKey& key, std::uint16_t port);
  /// The port longest held. nullopt: none is.
  std::optional<std::uint16_t> oldest_held(const PoolKey& key);
  void release(const PoolKey& key, std::uint16_t port);

  /// An assignable port for a connection that no pool counts: a tuple clash. Not reserved. 0 if none is assignable.
  std::uint16_t random_port(std::uint64_t random) const noexcept { return next_free({}, random).value_or(0); }

  bool may_keep(std::uint16_t port) const noexcept { return keepable_.test(port) && !is_node_port(port); }
  bool may_assign(std::uint16_t port) const noexcept { return assignable(port / 64) >> (port % 64) & 1; }

 private:
  static constexpr std::size_t kWords = 65536 / 64;
  static constexpr std::size_t kShards = 64;
  using Bits = std::array<std::uint64_t, kWords>;
  struct Pool {
    Bits used{};
    std::deque<std::uint16_t> held;  // in order of hold(); each of them once, and in use
    std::bitset<65536> is_held;      // the same ports
  };
  struct KeyHash {
    std::size_t operator()(const PoolKey& key) const noexcept;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<PoolKey, std::unique_ptr<Pool>, KeyHash> pools;
  };

  Shard& shard(const PoolKey& key) noexcept { return shards_[KeyHash{}(key) % kShards]; }
  /// The pool of this key, made if need be. Its shard is locked.
  static Pool& pool_in(Shard& home, const PoolKey& key);
  std::optional<std::uint16_t> next_free(const Bits& used, std::uint64_t random) const noexcept;
  bool is_node_port(std::uint16_t port) const noexcept {
    return node_ports_[port / 64].load(std::memory_order_relaxed) >> (port % 64) & 1;
  }
  std::uint64_t assignable(std::size_t word) const noexcept {
    return assignable_[word] & ~node_ports_[word].load(std::memory_order_relaxed);
  }

  std::bitset<65536> keepable_;  // these two but for nodePorts
  Bits assignable_{};
  std::array<std::atomic<std::uint64_t>, kWords> node_ports_{};
  std::vector<std::uint32_t> node_port_users_ = std::vector<std::uint32_t>(65536);  // services, by port
  std::array<Shard, kShards> shards_;
};

}  // namespace limpet::flow
