// naive_recent.h: xt_recent as its source reads, in the plainest containers: a std::list in LRU order, searched from the
// front. The oracle of RecentTable: slow, and so short that it can be compared with net/netfilter/xt_recent.c by eye.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "lb/affinity/recent_table.h"

namespace limpet::affinity {

class NaiveRecent {
 public:
  struct Entry {
    net::Address address;
    std::uint8_t ttl;
    std::uint16_t index;
    std::vector<std::uint64_t> stamps;
  };

  NaiveRecent(const RecentOptions& options, const RecentMatch& first) : options_(options), mask_(first.mask) {
    ring_ = need(first);
  }

  void admit(const RecentMatch& rule) {
    if (need(rule) <= ring_) return;
    lru_.clear();
    ring_ = need(rule);
  }

  bool match(const RecentMatch& rule, const RecentPacket& packet, std::uint64_t jiffies) {
    bool ret = rule.inverted;
    const net::Address address = mask_.apply(rule.by_destination ? packet.destination : packet.source);
    auto e = lookup(address, rule.rttl ? packet.ttl : 0);
    if (e == lru_.end()) {
      if (rule.operation != RecentOperation::set) return ret;
      init(address, packet.ttl, jiffies);
      return !ret;
    }
    if (rule.operation == RecentOperation::set) {
      ret = !ret;
    } else if (rule.operation == RecentOperation::remove) {
      lru_.erase(e);
      return !ret;
    } else {
      const std::uint32_t window = rule.seconds * options_.per_second;
      const std::uint64_t time = jiffies - window;
      std::uint32_t hits = 0;
      for (const std::uint64_t stamp : e->stamps) {
        if (rule.seconds != 0 && time_after(time, stamp)) continue;
        if (rule.hitcount == 0 || ++hits >= rule.hitcount) {
          ret = !ret;
          break;
        }
      }
      if (rule.reap) {
        const auto head = lru_.begin();
        const bool update = rule.operation == RecentOperation::update && ret;
        if (!(head == e && update) && time_after(time, head->stamps[head->index - 1U])) {
          if (head == e) {
            lru_.erase(head);
            return ret;
          }
          lru_.erase(head);
        }
      }
    }
    if (rule.operation == RecentOperation::set || (rule.operation == RecentOperation::update && ret)) {
      update(e, jiffies);
      e->ttl = packet.ttl;
    }
    return ret;
  }

  void add(const net::Address& address, std::uint64_t jiffies) {
    const auto e = lookup(address, 0);
    e == lru_.end() ? init(address, 0, jiffies) : update(e, jiffies);
  }
  void erase(const net::Address& address) {
    lru_.remove_if([&](const Entry& e) { return e.address == address; });
  }
  void flush() { lru_.clear(); }

  std::vector<RecentRecord> records() const {
    std::vector<RecentRecord> all;
    for (const Entry& e : lru_) all.push_back({e.address, e.ttl, e.index, e.stamps[e.index - 1U], e.stamps});
    return all;
  }

 private:
  using Position = std::list<Entry>::iterator;

  static bool time_after(std::uint64_t a, std::uint64_t b) { return static_cast<std::int64_t>(b - a) < 0; }
  std::uint32_t need(const RecentMatch& rule) const {
    std::uint32_t least = rule.hitcount != 0 ? rule.hitcount : 32;
    if (options_.least_stamps > rule.hitcount) least = options_.least_stamps;
    std::uint32_t power = 1;
    while (power < least) power *= 2;
    return power;
  }
  Position lookup(const net::Address& address, std::uint8_t ttl) {
    auto e = lru_.begin();
    while (e != lru_.end() && !(e->address == address && (ttl == e->ttl || ttl == 0 || e->ttl == 0))) ++e;
    return e;
  }
  void init(const net::Address& address, std::uint8_t ttl, std::uint64_t jiffies) {
    if (lru_.size() >= options_.capacity) lru_.pop_front();
    lru_.push_back({address, ttl, 1, {jiffies}});
  }
  void update(Position e, std::uint64_t jiffies) {
    e->index = static_cast<std::uint16_t>(e->index & (ring_ - 1));
    if (e->index == e->stamps.size()) e->stamps.push_back(0);
    e->stamps[e->index++] = jiffies;
    lru_.splice(lru_.end(), lru_, e);
  }

  const RecentOptions options_;
  const RecentMask mask_;
  std::uint32_t ring_;
  std::list<Entry> lru_;
};

}  // namespace limpet::affinity
