#include "lb/affinity/tbb_affinity_table.h"

#include <algorithm>

namespace limpet::affinity {

TbbAffinityTable::TbbAffinityTable(const AffinityOptions& options)
    : map_(std::max<std::uint32_t>(options.capacity_v4 + options.capacity_v6, 1), KeyHash{options.key}),
      capacity_(std::max<std::uint32_t>(options.capacity_v4 + options.capacity_v6, 1)) {
  ring_.reserve(capacity_);  // never grows while workers wait for it
}

bool TbbAffinityTable::in_time(const Key& key, const Entry& entry, Instant now) const noexcept {
  const std::int64_t age = std::clamp<std::int64_t>((now - entry.stamp).count(), 0, 0xffffffff);
  return policies_.get(key.scope).in_time(static_cast<std::uint32_t>(age));
}

std::optional<std::uint32_t> TbbAffinityTable::find(const Key& key, Instant now) const {
  Map::const_accessor held;
  if (!map_.find(held, key) || !in_time(key, held->second, now)) return std::nullopt;
  return held->second.endpoint;
}

void TbbAffinityTable::confirm(const Key& key, std::uint32_t endpoint, Instant now) {
  Map::accessor held;
  const bool created = map_.insert(held, key);
  if (created) held->second = {endpoint, now, true};
  if (held->second.endpoint == endpoint) held->second.confirmed = true;
  held.release();
  if (created) make_room_for(key, now);
}

void TbbAffinityTable::refresh(const Key& key, std::uint32_t endpoint, Instant now) {
  Map::accessor held;
  if (!map_.find(held, key) || held->second.endpoint != endpoint) return;
  if (policies_.get(key.scope).sliding() && in_time(key, held->second, now)) held->second.stamp = now;
}

bool TbbAffinityTable::erase(const Key& key) {
  const std::lock_guard lock(ring_mutex_);
  std::erase(ring_, key);  // O(capacity): for tests
  return map_.erase(key);
}

AffinityCounts TbbAffinityTable::counts() const {
  const std::lock_guard lock(ring_mutex_);
  return {.entries = map_.size(),
          .capacity = capacity_,
          .evicted_expired = evicted_[0],
          .evicted_provisional = evicted_[1],
          .evicted_confirmed = evicted_[2]};
}

void TbbAffinityTable::make_room_for(const Key& key, Instant now) {
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

std::size_t TbbAffinityTable::choose_victim(Instant now) {
  std::size_t victim = hand_;
  std::pair<Standing, Instant> least{Standing::confirmed, Instant::max()};
  for (std::size_t step = 0; step < std::min(kScan, capacity_); ++step) {
    const std::size_t place = (hand_ + step) % capacity_;
    Map::const_accessor held;
    std::pair<Standing, Instant> standing{Standing::expired, Instant::min()};
    if (map_.find(held, ring_[place])) {
      const Entry& entry = held->second;
      standing.first = !in_time(ring_[place], entry, now) ? Standing::expired
                       : entry.confirmed                  ? Standing::confirmed
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
