#include "conntrack/flow/fragment_table.h"

#include <algorithm>
#include <mutex>

namespace limpet::flow {

FragmentTable::FragmentTable(const FragmentTableOptions& options)
    : key_(options.key),
      timeout_(options.timeout),
      shards_((std::max<std::size_t>(options.capacity, 1) + kWays - 1) / kWays) {}

std::uint64_t FragmentTable::memory(std::uint32_t capacity) noexcept {
  return (std::uint64_t{capacity} + kWays - 1) / kWays * sizeof(Shard);
}

std::size_t FragmentTable::shard_of(const net::DatagramId& datagram, std::uint8_t stage) const noexcept {
  const auto source = datagram.source.words();
  const auto destination = datagram.destination.words();
  const std::uint64_t rest =
      std::uint64_t{stage} << 40 | static_cast<std::uint64_t>(datagram.protocol) << 32 | datagram.identification;
  return store::siphash13(key_, std::array{source[0], source[1], destination[0], destination[1], rest}) %
         shards_.size();
}

bool FragmentTable::remember(const net::DatagramId& datagram, const FragmentFate& fate, Instant now,
                             std::uint8_t stage) noexcept {
  Shard& shard = shards_[shard_of(datagram, stage)];
  const std::lock_guard lock(shard.lock);
  Entry* place = nullptr;
  for (Entry& entry : shard.entries) {
    if (entry.used && entry.is(datagram, stage)) {
      place = &entry;
      break;
    }
    // The deadline orders the live ones by age, and all of them after the dead.
    const auto worth = [now](const Entry& e) { return e.is_live(now) ? e.deadline : Instant::min(); };
    if (place == nullptr || worth(entry) < worth(*place)) place = &entry;
  }
  const bool forgets = place->is_live(now) && !place->is(datagram, stage);
  *place = {datagram, fate, now + timeout_, stage, true};
  return !forgets;
}

std::optional<FragmentFate> FragmentTable::find(const net::DatagramId& datagram, Instant now,
                                                std::uint8_t stage) const noexcept {
  const Shard& shard = shards_[shard_of(datagram, stage)];
  const std::lock_guard lock(shard.lock);
  for (const Entry& entry : shard.entries) {
    if (entry.is_live(now) && entry.is(datagram, stage)) return entry.fate;
  }
  return std::nullopt;
}

}  // namespace limpet::flow
