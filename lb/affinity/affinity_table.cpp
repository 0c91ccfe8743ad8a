#include "lb/affinity/affinity_table.h"

#include <utility>

namespace limpet::affinity {
namespace {

/// A gap between sweeps after which stamps could be mistaken: an entry may be 26 days old when it begins.
constexpr std::int64_t kLongGap = 20LL * 86'400'000;
/// erase_scope goes round until a lap finds nothing, since an entry may move round the end of a shard; clients that
/// keep coming must not keep it busy for ever.
constexpr int kEraseLaps = 4;

}  // namespace

AffinityTable::Plan::Plan(const AffinityOptions& options) noexcept
    : v4(store::FlatTable<EntryV4>::shape_of(options.capacity_v4, options.workers)),
      v6(store::FlatTable<EntryV6>::shape_of(options.capacity_v6, options.workers)),
      v4_at(sizeof(Head)),
      v6_at(v4_at + store::FlatTable<EntryV4>::memory(v4)),
      end(v6_at + store::FlatTable<EntryV6>::memory(v6)) {}

std::size_t AffinityTable::memory(const AffinityOptions& options) noexcept {
  return Plan(options).end;
}

std::string AffinityTable::layout(const AffinityOptions& options) {
  const auto words = [](const store::TableShape& shape, std::size_t slot) {
    return std::to_string(shape.shards) + " shards of " + std::to_string(shape.slots) + " slots of " +
           std::to_string(slot) + " bytes, " + std::to_string(shape.limit) + " taken";
  };
  const Plan plan(options);
  return "affinities 1: IPv4 " + words(plan.v4, EntryV4::kWords * 8) + "; IPv6 " + words(plan.v6, EntryV6::kWords * 8);
}

AffinityTable::AffinityTable(const AffinityOptions& options)
    : AffinityTable(options, Plan(options), std::make_unique<store::ZeroedMemory>(memory(options)), nullptr) {}

AffinityTable::AffinityTable(const AffinityOptions& options, std::span<std::byte> memory)
    : AffinityTable(options, Plan(options), nullptr, memory.data()) {}

AffinityTable::AffinityTable(const AffinityOptions& options, const Plan& plan, std::unique_ptr<store::ZeroedMemory> own,
                             std::byte* memory)
    : clock_(options.epoch),
      own_(std::move(own)),
      head_(*reinterpret_cast<Head*>(own_ ? own_->data() : memory)),
      v4_(plan.v4, options.key, {reinterpret_cast<std::byte*>(&head_) + plan.v4_at, plan.v6_at - plan.v4_at},
          policies_),
      v6_(plan.v6, options.key, {reinterpret_cast<std::byte*>(&head_) + plan.v6_at, plan.end - plan.v6_at}, policies_) {
}

RecoveryCounts AffinityTable::recover(Instant now) noexcept {
  RecoveryCounts counts = v4_.recover();
  counts += v6_.recover();
  catch_up(now);
  return counts;
}

/// Nobody has swept for weeks: ages are worked out in 64 bits from what they were when somebody last did.
void AffinityTable::catch_up(Instant now) noexcept {
  if (head_.last_sweep == 0) return;
  const auto then = static_cast<std::int64_t>(head_.last_sweep - 1);
  if (then < 0 || then > clock_.since_epoch(now)) return;  // damaged: nothing is known of when that was
  const std::int64_t gap = clock_.since_epoch(now) - then;
  if (gap < kLongGap) return;
  const std::uint32_t stamp_now = clock_.stamp(now);
  const auto restamp = [&](std::uint32_t stamp) {
    const std::int64_t age = gap + AgeClock::age(static_cast<std::uint32_t>(then), stamp);
    return stamp_now - static_cast<std::uint32_t>(std::min<std::int64_t>(age, kOldest));
  };
  for (std::uint64_t piece = 0; piece < pieces(); ++piece) {
    in_family(*this, piece, [&](auto& family, std::uint64_t number) { family.restamp(number, restamp); });
  }
  head_.last_sweep = static_cast<std::uint64_t>(clock_.since_epoch(now)) + 1;
}

std::optional<std::uint32_t> AffinityTable::find(const Key& key, Instant now) const noexcept {
  const std::uint32_t stamp = clock_.stamp(now);
  return key.client.is_v4() ? v4_.find(key, stamp) : v6_.find(key, stamp);
}

void AffinityTable::confirm(const Key& key, std::uint32_t endpoint, Instant now) noexcept {
  const std::uint32_t stamp = clock_.stamp(now);
  key.client.is_v4() ? v4_.confirm(key, endpoint, stamp) : v6_.confirm(key, endpoint, stamp);
}

void AffinityTable::refresh(const Key& key, std::uint32_t endpoint, Instant now) noexcept {
  const std::uint32_t stamp = clock_.stamp(now);
  key.client.is_v4() ? v4_.refresh(key, endpoint, stamp) : v6_.refresh(key, endpoint, stamp);
}

bool AffinityTable::put(const Key& key, std::uint32_t endpoint, Instant stamp, bool confirmed) noexcept {
  const std::uint32_t at = clock_.stamp(stamp);
  return key.client.is_v4() ? v4_.put(key, endpoint, at, confirmed) : v6_.put(key, endpoint, at, confirmed);
}

Put AffinityTable::put_if_absent(const Key& key, std::uint32_t endpoint, Instant stamp, bool confirmed,
                                 Instant now) noexcept {
  const std::uint32_t at = clock_.stamp(stamp);
  const std::uint32_t unless_in_time = clock_.stamp(now);
  return key.client.is_v4() ? v4_.put_if_absent(key, endpoint, at, confirmed, unless_in_time)
                            : v6_.put_if_absent(key, endpoint, at, confirmed, unless_in_time);
}

bool AffinityTable::erase(const Key& key) noexcept {
  return key.client.is_v4() ? v4_.erase(key) : v6_.erase(key);
}

std::size_t AffinityTable::erase_where(std::optional<std::uint32_t> scope) noexcept {
  std::size_t erased = 0;
  for (int lap = 0; lap < kEraseLaps; ++lap) {
    const std::size_t before = erased;
    for (std::uint64_t piece = 0; piece < pieces(); ++piece) {
      erased += in_family(*this, piece,
                          [&](auto& family, std::uint64_t number) { return family.erase_piece(number, scope); });
    }
    if (erased == before) break;
  }
  return erased;
}

std::size_t AffinityTable::sweep(std::size_t budget, Instant now) noexcept {
  const std::uint64_t end = pieces();
  const std::uint32_t stamp = clock_.stamp(now);
  std::size_t swept = 0;
  for (std::size_t looked_at = 0; looked_at < budget;) {
    const std::uint64_t piece = sweep_piece_.fetch_add(1, std::memory_order_relaxed) % end;
    in_family(*this, piece, [&](auto& family, std::uint64_t number) {
      looked_at += family.table().piece(number).size();
      swept += family.sweep(number, stamp, kOldest);
    });
  }
  std::atomic_ref<std::uint64_t>(head_.last_sweep)
      .store(static_cast<std::uint64_t>(clock_.since_epoch(now)) + 1, std::memory_order_relaxed);
  std::atomic_ref<std::uint64_t>(head_.swept).fetch_add(swept, std::memory_order_relaxed);
  return swept;
}

std::size_t AffinityTable::slots() const noexcept {
  const store::TableShape& v4 = v4_.table().shape();
  const store::TableShape& v6 = v6_.table().shape();
  return std::size_t{v4.shards} * v4.slots + std::size_t{v6.shards} * v6.slots;
}

AffinityCounts AffinityTable::counts() const noexcept {
  const store::TableCounts v4 = v4_.table().counts();
  const store::TableCounts v6 = v6_.table().counts();
  const auto evicted = [&](store::Standing standing) {
    const auto kind = static_cast<std::size_t>(standing);
    return v4.evicted[kind] + v6.evicted[kind];
  };
  return {.entries = v4.entries + v6.entries,
          .provisional = v4.provisional + v6.provisional,
          .capacity = std::uint64_t{v4_.table().shape().capacity} + v6_.table().shape().capacity,
          .evicted_expired = evicted(store::Standing::expired),
          .evicted_provisional = evicted(store::Standing::provisional),
          .evicted_confirmed = evicted(store::Standing::confirmed),
          .swept = std::atomic_ref<std::uint64_t>(head_.swept).load(std::memory_order_relaxed)};
}

}  // namespace limpet::affinity
