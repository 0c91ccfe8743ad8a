#include "lb/affinity/affinity_table.h"

#include <algorithm>
#include <utility>

namespace limpet::affinity {

std::size_t AffinityTable::KeyHash::hash(const Key& k) const noexcept {
  const auto words = k.client.words();
  const std::uint64_t first = std::uint64_t{k.scope} << 8 | static_cast<std::uint8_t>(k.client.family());
  return store::siphash13(key, std::array{first, words[0], words[1]});
}

AffinityTable::AffinityTable(std::uint32_t capacity, const store::HashKey& key)
    : map_(std::max<std::uint32_t>(capacity, 1), KeyHash{key}), capacity_(std::max<std::uint32_t>(capacity, 1)) {
  ring_.reserve(capacity_);  // never grows while workers wait for it
}

std::optional<EndpointId> AffinityTable::find(const Key& key, Seconds timeout, Instant now) const {
  Map::const_accessor held;
  if (!map_.find(held, key) || !in_time(held->second, timeout, now)) return std::nullopt;
  return held->second.endpoint;
}

void AffinityTable::confirm(const Key& key, EndpointId endpoint) {
  Map::accessor held;
  if (map_.find(held, key) && held->second.endpoint == endpoint) held->second.confirmed = true;
}

AffinityCounts AffinityTable::counts() const {
  const std::lock_guard lock(ring_mutex_);
  return {map_.size(), evicted_[0], evicted_[1], evicted_[2]};
}

void AffinityTable::make_room_for(const Key& key, Instant now) {
  const std::lock_guard lock(ring_mutex_);
  if (ring_.size() < capacity_) {
    ring_.push_back(key);
    return;
  }
  const std::size_t victim = choose_victim(now);
  map_.erase(ring_[victim]);
  ring_[victim] = key;
  hand_ = (victim + 1) % capacity_;  // the newcomer has a round to prove itself; who was passed over is left alone
}

std::size_t AffinityTable::choose_victim(Instant now) {
  std::size_t victim = hand_;
  std::pair<Standing, Instant> least{Standing::confirmed, Instant::max()};
  for (std::size_t step = 0; step < std::min(kScan, capacity_); ++step) {
    const std::size_t place = (hand_ + step) % capacity_;
    Map::const_accessor held;
    std::pair<Standing, Instant> standing{Standing::expired, Instant::min()};
    if (map_.find(held, ring_[place])) {
      const Entry& entry = held->second;
      standing.first = !in_time(entry, entry.timeout, now) ? Standing::expired
                       : entry.confirmed                   ? Standing::confirmed
                                                           : Standing::provisional;
      standing.second = entry.stamp;
    }
    if (standing < least) {
      least = standing;
      victim = place;
    }
  }
  ++evicted_[static_cast<std::size_t>(least.first)];
  return victim;
}

}  // namespace limpet::affinity
