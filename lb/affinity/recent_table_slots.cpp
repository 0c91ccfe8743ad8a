// The slots of a list: where their memory comes from, who gets one next, and how they are read and freed in pieces.
#include <algorithm>
#include <bit>
#include <mutex>
#include <new>
#include <utility>

#include "lb/affinity/recent_index.h"
#include "lb/affinity/recent_table.h"

namespace limpet::affinity {
namespace {

constexpr std::uint32_t kStampsOfAnyRule = 32;  // a ring's, where no hitcount asks for another
constexpr std::uint32_t kSlotsOfSweep = 128;    // freed under one lock

}  // namespace

RecentTable::Storage::Storage(std::uint32_t slots, std::uint32_t stamps_of_ring)
    : bound(slots),
      ring(stamps_of_ring),
      entries(slots),
      stamps(std::size_t{slots} * stamps_of_ring),
      buckets(slots, kNone) {}

RecentTable::RecentTable(const RecentOptions& options, const RecentMatch& first, std::shared_ptr<RecentMemory> memory)
    : name_(first.name),
      mask_(first.mask),
      options_(options),
      memory_(memory ? std::move(memory) : std::make_shared<RecentMemory>(options.memory)),
      storage_(bound_for(ring_for(first)), ring_for(first)),
      share_(first_share(storage_.ring)) {
  if (!memory_->take(share_.bytes)) throw std::bad_alloc();
}

RecentTable::~RecentTable() {
  memory_->give(share_.bytes);
}

std::uint32_t RecentTable::ring_for(const RecentMatch& rule) const noexcept {
  if (options_.least_stamps > rule.hitcount) return std::bit_ceil(options_.least_stamps);
  return rule.hitcount != 0 ? std::bit_ceil(rule.hitcount) : kStampsOfAnyRule;
}

std::uint32_t RecentTable::bound_for(std::uint32_t ring) const noexcept {
  if (options_.capacity != RecentOptions::kUnlimited) return options_.capacity;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(memory_->limit() / bytes_of_entry(ring), 1, kNone - 1));
}

RecentTable::Share RecentTable::first_share(std::uint32_t ring) const noexcept {
  const bool unlimited = options_.capacity == RecentOptions::kUnlimited;
  const std::uint32_t slots = unlimited ? std::min(slots_of_piece(ring), bound_for(ring)) : options_.capacity;
  return {slots, slots * bytes_of_entry(ring)};
}

/// The new ring's memory is there before the old one's goes: nobody waits for it.
void RecentTable::admit(const RecentMatch& rule) {
  const std::uint32_t ring = ring_for(rule);
  if (ring <= this->ring()) return;
  const Share share = first_share(ring);
  Storage grown(bound_for(ring), ring);
  std::uint64_t before = memory();  // packets take more, never less
  const std::uint64_t more = share.bytes > before ? share.bytes - before : 0;
  if (!memory_->take(more)) throw std::bad_alloc();
  flush();
  {
    const std::lock_guard guard(lock_);
    bury();  // who came meanwhile
    while (first_dead_ != kNone) release_dead();
    std::swap(storage_, grown);
    before = std::exchange(share_, share).bytes;
    used_ = 0;
    free_ = kNone;
  }
  memory_->give(before + more - share.bytes);
}

void RecentTable::flush() noexcept {
  {
    const std::lock_guard guard(lock_);
    bury();
  }
  while (sweep()) {
  }
}

/// Copied under the lock into room that is there before, and made into records after it.
RecentPage RecentTable::page(std::uint32_t from) const {
  RecentPage page;
  page.records.reserve(kSlotsOfPage);
  std::vector<std::uint32_t> sizes;
  sizes.reserve(kSlotsOfPage);
  std::vector<std::uint64_t> copy(std::max(kStampsOfPage, ring()));
  std::size_t filled = 0;
  {
    const std::lock_guard guard(lock_);
    Index at = from;
    for (std::uint32_t looked = 0; at < used_ && looked < kSlotsOfPage; ++at, ++looked) {
      if (!is_live(at)) continue;
      const std::uint32_t size = entry(at).stamps;
      if (size > copy.size() - filled) break;
      std::copy_n(stamps(at), size, &copy[filled]);
      filled += size;
      page.records.push_back(record(at));
      sizes.push_back(size);
    }
    if (at < used_) page.next = at;
  }
  const std::uint64_t* next = copy.data();
  for (std::size_t i = 0; i < sizes.size(); next += sizes[i++]) page.records[i].stamps.assign(next, next + sizes[i]);
  return page;
}

/// From its bucket to the free slots.
void RecentTable::release(Index index) noexcept {
  Index* link = &storage_.buckets[entry(index).hash];
  while (*link != index) link = &entry(*link).next_in_bucket;
  *link = entry(index).next_in_bucket;
  for (const auto& [watcher, number] : watchers_) watcher->remove(number, index);
  entry(index).stamps = 0;
  entry(index).next_in_bucket = free_;
  free_ = index;
}

/// Nobody finds them any more. flush() does not return before they are free, so an epoch comes again only when none of
/// its entries is left.
void RecentTable::bury() noexcept {
  if (oldest_ == kNone) return;
  counts_.flushed += std::exchange(counts_.entries, 0);
  ++epoch_;
  (last_dead_ == kNone ? first_dead_ : entry(last_dead_).newer) = oldest_;
  last_dead_ = newest_;
  oldest_ = newest_ = kNone;
}

void RecentTable::release_dead() noexcept {
  const Index index = first_dead_;
  first_dead_ = entry(index).newer;
  if (first_dead_ == kNone) last_dead_ = kNone;
  release(index);
}

/// False: no more dead ones.
bool RecentTable::sweep() noexcept {
  const std::lock_guard guard(lock_);
  for (std::uint32_t i = 0; i < kSlotsOfSweep && first_dead_ != kNone; ++i) release_dead();
  return first_dead_ != kNone;
}

void RecentTable::watch(RecentIndex& index, std::uint32_t number) {
  {
    const std::lock_guard guard(lock_);
    watchers_.emplace_back(&index, number);
  }
  for (Index from = 0;;) {
    const std::lock_guard guard(lock_);
    const Index end = std::min(used_, from + kSlotsOfPage);
    for (; from < end; ++from) {
      if (is_live(from)) index.add(number, from, entry(from).address);
    }
    if (from >= used_) return;
  }
}

void RecentTable::unwatch(const RecentIndex& index) noexcept {
  const std::lock_guard guard(lock_);
  std::erase_if(watchers_, [&](const auto& watcher) { return watcher.first == &index; });
}

/// For somebody new. There is always one: a list that has none free has an entry.
RecentTable::Index RecentTable::take_slot() noexcept {
  if (options_.capacity != RecentOptions::kUnlimited && counts_.entries >= options_.capacity) {
    remove(oldest_);
    ++counts_.evicted;
  }
  if (free_ == kNone && first_dead_ != kNone) release_dead();
  if (free_ == kNone && (used_ < share_.slots || take_more())) return first_use();
  if (free_ == kNone) {
    remove(oldest_);
    ++counts_.starved;
  }
  const Index index = free_;
  free_ = entry(index).next_in_bucket;
  return index;
}

RecentTable::Index RecentTable::first_use() noexcept {
  if (used_ >= storage_.buckets.count()) {
    storage_.buckets.grow([this](Index& from, Index& to, std::size_t bit) { split(from, to, bit); });
  }
  return used_++;
}

bool RecentTable::take_more() noexcept {
  const std::uint32_t slots = std::min(slots_of_piece(storage_.ring), storage_.bound - share_.slots);
  const std::uint64_t bytes = slots * bytes_of_entry(storage_.ring);
  if (slots == 0 || !memory_->take(bytes)) return false;
  share_.slots += slots;
  share_.bytes += bytes;
  return true;
}

void RecentTable::split(Index& from, Index& to, std::size_t bit) noexcept {
  Index* keep = &from;
  Index* move = &to;
  for (Index i = from; i != kNone; i = entry(i).next_in_bucket) {
    Index*& last = (entry(i).hash & bit) != 0 ? move : keep;
    *last = i;
    last = &entry(i).next_in_bucket;
  }
  *keep = *move = kNone;
}

}  // namespace limpet::affinity
