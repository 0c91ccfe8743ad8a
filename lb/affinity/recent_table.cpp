#include "lb/affinity/recent_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <new>

#include "lb/affinity/recent_index.h"

namespace limpet::affinity {
namespace {

constexpr std::uint32_t kStampsOfAnyRule = 32;  // a ring's, where no hitcount asks for another
constexpr std::uint32_t kStampsOfPiece = 2048;  // 16 KiB, unless one ring is larger
constexpr std::size_t kFewestBuckets = 128;

/// time_after(a, b) of include/linux/jiffies.h: right across a wrap.
constexpr bool after(std::uint64_t a, std::uint64_t b) noexcept {
  return static_cast<std::int64_t>(b - a) < 0;
}

}  // namespace

RecentTable::RecentTable(const RecentOptions& options, const RecentMatch& first)
    : name_(first.name), mask_(first.mask), options_(options), buckets_(kFewestBuckets, kNone) {
  set_ring(ring_for(first));
}

std::uint32_t RecentTable::ring_for(const RecentMatch& rule) const noexcept {
  if (options_.least_stamps > rule.hitcount) return std::bit_ceil(options_.least_stamps);
  return rule.hitcount != 0 ? std::bit_ceil(rule.hitcount) : kStampsOfAnyRule;
}

void RecentTable::set_ring(std::uint32_t ring) noexcept {
  ring_ = ring;
  piece_bits_ = static_cast<unsigned>(std::countr_zero(std::max(kStampsOfPiece / ring, 1U)));
}

void RecentTable::admit(const RecentMatch& rule) {
  const std::lock_guard guard(lock_);
  const std::uint32_t needed = ring_for(rule);
  if (needed <= ring_) return;
  forget_all();
  set_ring(needed);
}

RecentAnswer RecentTable::ask(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) {
  const net::Address address = mask_.apply(rule.by_destination ? packet.destination : packet.source);
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  const bool known = fits(rule, packet.ttl, found);
  if (rule.operation == RecentOperation::set) {
    if (known) {
      stamp(found, now);
      entry(found).ttl = packet.ttl;
    } else {
      create(address, hashed, packet.ttl, now);
    }
    return {!rule.inverted, known};
  }
  if (!known) return {rule.inverted, known};
  if (rule.operation == RecentOperation::remove) {
    remove(found);
    return {!rule.inverted, known};
  }
  const std::uint64_t limit = oldest(rule, now);
  const bool matches = recent_enough(rule, found, limit) != rule.inverted;
  const bool updates = rule.operation == RecentOperation::update && matches;
  if (rule.reap) reap(found, limit, updates);
  if (updates) {
    stamp(found, now);
    entry(found).ttl = packet.ttl;
  }
  return {matches, known};
}

RecentAnswer RecentTable::peek(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) const {
  const net::Address address = mask_.apply(rule.by_destination ? packet.destination : packet.source);
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  const bool known = fits(rule, packet.ttl, found);
  if (rule.operation == RecentOperation::set) return {!rule.inverted, known};
  if (!known) return {rule.inverted, known};
  const bool plain = rule.operation == RecentOperation::remove || recent_enough(rule, found, oldest(rule, now));
  return {plain != rule.inverted, known};
}

/// A wildcard on either side: TTL 0 of the packet counts as "any" too, as in the kernel.
bool RecentTable::fits(const RecentMatch& rule, std::uint8_t ttl, Index index) const noexcept {
  if (index == kNone) return false;
  return !rule.rttl || ttl == 0 || entry(index).ttl == 0 || entry(index).ttl == ttl;
}

std::uint64_t RecentTable::oldest(const RecentMatch& rule, std::uint64_t now) const noexcept {
  return now - rule.seconds * options_.per_second;  // the product in 32 bits
}

bool RecentTable::recent_enough(const RecentMatch& rule, Index index, std::uint64_t oldest) const noexcept {
  const std::uint64_t* const ring = stamps(index);
  std::uint32_t hits = 0;
  for (std::uint32_t slot = 0; slot < entry(index).stamps; ++slot) {
    if (rule.seconds != 0 && after(oldest, ring[slot])) continue;
    if (++hits >= rule.hitcount) return true;
  }
  return false;
}

void RecentTable::reap(Index found, std::uint64_t oldest, bool updates) {
  const Index head = oldest_;
  if (head == found && updates) return;
  if (!after(oldest, stamps(head)[entry(head).next_slot - 1])) return;
  remove(head);
  ++counts_.reaped;
}

void RecentTable::add(const net::Address& address, std::uint64_t now) {
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  if (found == kNone) {
    create(address, hashed, 0, now);
  } else {
    stamp(found, now);
  }
}

bool RecentTable::erase(const net::Address& address) {
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  if (found == kNone) return false;
  remove(found);
  return true;
}

void RecentTable::flush() {
  const std::lock_guard guard(lock_);
  forget_all();
}

std::vector<RecentRecord> RecentTable::records() const {
  const std::lock_guard guard(lock_);
  std::vector<RecentRecord> all;
  all.reserve(counts_.entries);
  for (Index i = oldest_; i != kNone; i = entry(i).newer) {
    const Entry& e = entry(i);
    const std::uint64_t* const ring = stamps(i);
    all.push_back({e.address, e.ttl, e.next_slot, ring[e.next_slot - 1], {ring, ring + e.stamps}});
  }
  return all;
}

RecentCounts RecentTable::counts() const {
  const std::lock_guard guard(lock_);
  return counts_;
}

std::uint32_t RecentTable::ring() const {
  const std::lock_guard guard(lock_);
  return ring_;
}

std::uint32_t RecentTable::hash(const net::Address& address) const noexcept {
  const auto words = address.words();
  return static_cast<std::uint32_t>(
      store::siphash13(options_.key, std::array{words[0], words[1], std::uint64_t(address.family())}));
}

RecentTable::Index RecentTable::find(const net::Address& address, std::uint32_t hashed) const noexcept {
  Index index = buckets_[hashed & (buckets_.size() - 1)];
  while (index != kNone && !(entry(index).hash == hashed && entry(index).address == address)) {
    index = entry(index).next_in_bucket;
  }
  return index;
}

void RecentTable::create(const net::Address& address, std::uint32_t hashed, std::uint8_t ttl, std::uint64_t now) {
  const Index index = take_free();
  Index& bucket = buckets_[hashed & (buckets_.size() - 1)];
  entry(index) = {.address = address,
                  .ttl = ttl,
                  .hash = hashed,
                  .next_slot = 1,
                  .stamps = 1,
                  .next_in_bucket = bucket,
                  .older = kNone,
                  .newer = kNone};
  stamps(index)[0] = now;
  bucket = index;
  link_newest(index);
  ++counts_.entries;
  tell(address, true);
}

void RecentTable::stamp(Index index, std::uint64_t now) noexcept {
  Entry& e = entry(index);
  e.next_slot &= ring_ - 1;
  stamps(index)[e.next_slot++] = now;
  e.stamps = std::max(e.stamps, e.next_slot);
  unlink(index);
  link_newest(index);
}

void RecentTable::remove(Index index) noexcept {
  Index* link = &buckets_[entry(index).hash & (buckets_.size() - 1)];
  while (*link != index) link = &entry(*link).next_in_bucket;
  *link = entry(index).next_in_bucket;
  unlink(index);
  tell(entry(index).address, false);
  entry(index).next_in_bucket = free_;
  free_ = index;
  --counts_.entries;
}

void RecentTable::forget_all() noexcept {
  for (Index i = oldest_; i != kNone && !watchers_.empty(); i = entry(i).newer) tell(entry(i).address, false);
  counts_.flushed += counts_.entries;
  counts_.entries = 0;
  pieces_.clear();
  std::fill(buckets_.begin(), buckets_.end(), kNone);
  used_ = 0;
  free_ = oldest_ = newest_ = kNone;
}

void RecentTable::watch(RecentIndex& index, std::uint32_t number) {
  const std::lock_guard guard(lock_);
  watchers_.emplace_back(&index, number);
  for (Index i = oldest_; i != kNone; i = entry(i).newer) index.add(entry(i).address, number);
}

void RecentTable::unwatch(const RecentIndex& index) {
  const std::lock_guard guard(lock_);
  std::erase_if(watchers_, [&](const auto& watcher) { return watcher.first == &index; });
}

void RecentTable::tell(const net::Address& address, bool there) const {
  for (const auto& [index, number] : watchers_) {
    there ? index->add(address, number) : index->remove(address, number);
  }
}

/// An entry for somebody new; at capacity, or where memory ends, that of the LRU head.
RecentTable::Index RecentTable::take_free() {
  const bool full = options_.capacity != RecentOptions::kUnlimited && counts_.entries >= options_.capacity;
  if (full || (free_ == kNone && !make_room())) {
    if (oldest_ == kNone) throw std::bad_alloc();
    remove(oldest_);
    ++counts_.evicted;
  }
  if (free_ == kNone) return used_++;
  const Index index = free_;
  free_ = entry(index).next_in_bucket;
  return index;
}

/// An entry beyond used_, and buckets for it. False: there is no memory.
bool RecentTable::make_room() noexcept {
  if (used_ == kNone) return false;
  try {
    if ((used_ >> piece_bits_) == pieces_.size()) {
      const std::size_t entries = std::size_t{1} << piece_bits_;
      pieces_.push_back({std::make_unique_for_overwrite<Entry[]>(entries),
                         std::make_unique_for_overwrite<std::uint64_t[]>(entries * ring_)});
    }
    if (used_ >= buckets_.size()) spread(buckets_.size() * 2);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

void RecentTable::spread(std::size_t buckets) {
  std::vector<Index> wider(buckets, kNone);
  for (Index i = oldest_; i != kNone; i = entry(i).newer) {
    Index& bucket = wider[entry(i).hash & (buckets - 1)];
    entry(i).next_in_bucket = bucket;
    bucket = i;
  }
  buckets_ = std::move(wider);
}

void RecentTable::link_newest(Index index) noexcept {
  entry(index).older = newest_;
  entry(index).newer = kNone;
  (newest_ == kNone ? oldest_ : entry(newest_).newer) = index;
  newest_ = index;
}

void RecentTable::unlink(Index index) noexcept {
  const Entry& e = entry(index);
  (e.older == kNone ? oldest_ : entry(e.older).newer) = e.newer;
  (e.newer == kNone ? newest_ : entry(e.newer).older) = e.older;
}

}  // namespace limpet::affinity
