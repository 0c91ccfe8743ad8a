#include "conntrack/flow/port_pool.h"

#include <algorithm>
#include <bit>

namespace limpet::flow {

namespace {

constexpr std::uint64_t bit(std::uint16_t port) noexcept {
  return std::uint64_t{1} << (port % 64);
}

}  // namespace

PortPool::PortPool(const PortPoolOptions& options) {
  keepable_.set();
  keepable_.reset(0);
  for (unsigned port = options.ephemeral.first; port <= options.ephemeral.last; ++port) keepable_.reset(port);
  for (const PortInterval& interval : options.assignable) {
    for (unsigned port = interval.first; port <= interval.last; ++port) {
      assignable_[port / 64] |= bit(static_cast<std::uint16_t>(port));
    }
  }
  assignable_[0] &= ~std::uint64_t{1};
  for (const std::uint16_t port : options.node_ports) add_node_port(port);
}

void PortPool::add_node_port(std::uint16_t port) {
  if (node_port_users_[port]++ == 0) node_ports_[port / 64].fetch_or(bit(port), std::memory_order_relaxed);
}

void PortPool::remove_node_port(std::uint16_t port) {
  if (--node_port_users_[port] == 0) node_ports_[port / 64].fetch_and(~bit(port), std::memory_order_relaxed);
}

std::size_t PortPool::KeyHash::operator()(const PoolKey& key) const noexcept {
  std::uint64_t h = static_cast<std::uint64_t>(key.protocol) << 16 | key.endpoint.port;
  for (const auto& words : {key.egress.words(), key.endpoint.address.words()}) {
    for (const std::uint64_t word : words) h = (h ^ word) * 0x9e3779b97f4a7c15, h ^= h >> 32;
  }
  return static_cast<std::size_t>(h);
}

std::optional<std::uint16_t> PortPool::acquire(const PoolKey& key, std::uint16_t preferred, std::uint64_t random) {
  Shard& home = shard(key);
  const std::lock_guard lock(home.mutex);
  Pool& pool = pool_in(home, key);
  const bool keep = may_keep(preferred) && (pool.used[preferred / 64] & bit(preferred)) == 0;
  const std::optional<std::uint16_t> port = keep ? preferred : next_free(pool.used, random);
  if (port) pool.used[*port / 64] |= bit(*port);
  return port;
}

bool PortPool::claim(const PoolKey& key, std::uint16_t port, bool held) {
  Shard& home = shard(key);
  const std::lock_guard lock(home.mutex);
  Pool& pool = pool_in(home, key);
  if ((pool.used[port / 64] & bit(port)) != 0) return false;
  pool.used[port / 64] |= bit(port);
  if (held) {
    pool.is_held.set(port);
    pool.held.push_back(port);
  }
  return true;
}

PortPool::Pool& PortPool::pool_in(Shard& home, const PoolKey& key) {
  std::unique_ptr<Pool>& pool = home.pools[key];
  if (!pool) pool = std::make_unique<Pool>();
  return *pool;
}

std::optional<std::uint16_t> PortPool::next_free(const Bits& used, std::uint64_t random) const noexcept {
  const auto start = static_cast<unsigned>(random % 65536);
  const std::uint64_t upper = ~std::uint64_t{0} << (start % 64);  // the first word from `start` on, its rest at the end
  for (std::size_t step = 0; step <= kWords; ++step) {
    const std::size_t word = (start / 64 + step) % kWords;
    std::uint64_t free = assignable(word) & ~used[word];
    if (step == 0) free &= upper;
    if (step == kWords) free &= ~upper;
    if (free != 0) return static_cast<std::uint16_t>(word * 64 + static_cast<unsigned>(std::countr_zero(free)));
  }
  return std::nullopt;
}

void PortPool::hold(const PoolKey& key, std::uint16_t port) {
  Shard& home = shard(key);
  const std::lock_guard lock(home.mutex);
  const auto found = home.pools.find(key);
  if (found == home.pools.end()) return;
  Pool& pool = *found->second;
  if ((pool.used[port / 64] & bit(port)) == 0 || pool.is_held.test(port)) return;
  pool.is_held.set(port);
  pool.held.push_back(port);
}

std::optional<std::uint16_t> PortPool::oldest_held(const PoolKey& key) {
  Shard& home = shard(key);
  const std::lock_guard lock(home.mutex);
  const auto found = home.pools.find(key);
  if (found == home.pools.end() || found->second->held.empty()) return std::nullopt;
  return found->second->held.front();
}

void PortPool::release(const PoolKey& key, std::uint16_t port) {
  Shard& home = shard(key);
  const std::lock_guard lock(home.mutex);
  const auto found = home.pools.find(key);
  if (found == home.pools.end()) return;
  Pool& pool = *found->second;
  pool.used[port / 64] &= ~bit(port);
  if (!pool.is_held.test(port)) return;
  pool.is_held.reset(port);
  pool.held.erase(std::find(pool.held.begin(), pool.held.end(), port));  // mostly near the front: the oldest go first
}

}  // namespace limpet::flow
