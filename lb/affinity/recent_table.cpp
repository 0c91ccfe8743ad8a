#include "lb/affinity/recent_table.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "lb/affinity/recent_index.h"

namespace limpet::affinity {
namespace {

/// time_after(a, b) of include/linux/jiffies.h: right across a wrap.
constexpr bool after(std::uint64_t a, std::uint64_t b) noexcept {
  return static_cast<std::int64_t>(b - a) < 0;
}

}  // namespace

RecentAnswer RecentTable::ask(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) noexcept {
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

RecentAnswer RecentTable::peek(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t now) const noexcept {
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

void RecentTable::reap(Index found, std::uint64_t oldest, bool updates) noexcept {
  const Index head = oldest_;
  if (head == found && updates) return;
  if (!after(oldest, stamps(head)[entry(head).next_slot - 1])) return;
  remove(head);
  ++counts_.reaped;
}

void RecentTable::add(const net::Address& address, std::uint64_t now) noexcept {
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  if (found == kNone) {
    create(address, hashed, 0, now);
  } else {
    stamp(found, now);
  }
}

bool RecentTable::erase(const net::Address& address) noexcept {
  const std::uint32_t hashed = hash(address);
  const std::lock_guard guard(lock_);
  const Index found = find(address, hashed);
  if (found == kNone) return false;
  remove(found);
  return true;
}

RecentRecord RecentTable::record(Index index) const {
  const Entry& e = entry(index);
  return {e.address, e.ttl, e.next_slot, stamps(index)[e.next_slot - 1], {}};
}

std::vector<RecentRecord> RecentTable::records() const {
  const std::lock_guard guard(lock_);
  std::vector<RecentRecord> all;
  all.reserve(counts_.entries);
  for (Index i = oldest_; i != kNone; i = entry(i).newer) {
    all.push_back(record(i));
    all.back().stamps.assign(stamps(i), stamps(i) + entry(i).stamps);
  }
  return all;
}

RecentCounts RecentTable::counts() const noexcept {
  const std::lock_guard guard(lock_);
  return counts_;
}

std::uint32_t RecentTable::ring() const noexcept {
  const std::lock_guard guard(lock_);
  return storage_.ring;
}

std::uint32_t RecentTable::bound() const noexcept {
  const std::lock_guard guard(lock_);
  return storage_.bound;
}

std::uint64_t RecentTable::memory() const noexcept {
  const std::lock_guard guard(lock_);
  return share_.bytes;
}

std::uint32_t RecentTable::hash(const net::Address& address) const noexcept {
  const auto words = address.words();
  return static_cast<std::uint32_t>(
      store::siphash13(options_.key, std::array{words[0], words[1], std::uint64_t(address.family())}));
}

RecentTable::Index RecentTable::find(const net::Address& address, std::uint32_t hashed) const noexcept {
  Index index = storage_.buckets[hashed];
  while (index != kNone) {
    const Entry& e = entry(index);
    if (e.hash == hashed && e.epoch == epoch_ && e.address == address) break;
    index = e.next_in_bucket;
  }
  return index;
}

void RecentTable::create(const net::Address& address, std::uint32_t hashed, std::uint8_t ttl,
                         std::uint64_t now) noexcept {
  const Index index = take_slot();
  Index& bucket = storage_.buckets[hashed];
  entry(index) = {.address = address,
                  .ttl = ttl,
                  .epoch = epoch_,
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
  for (const auto& [watcher, number] : watchers_) watcher->add(number, index, address);
}

void RecentTable::stamp(Index index, std::uint64_t now) noexcept {
  Entry& e = entry(index);
  e.next_slot &= storage_.ring - 1;
  stamps(index)[e.next_slot++] = now;
  e.stamps = std::max(e.stamps, e.next_slot);
  unlink(index);
  link_newest(index);
}

void RecentTable::remove(Index index) noexcept {
  unlink(index);
  release(index);
  --counts_.entries;
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
