// statistic.h: the `-m statistic` match, bit for bit: xt_statistic.
//
//   random   (31 random bits) < threshold, threshold = lround(2^31 · probability): 2^31 matches always, 0 never
//   nth      of n packets, number p, counted from 0. A counter of its own for every match, shared by all workers:
//              next = counter == n-1 ? 0 : counter + 1;  matches iff next == 0;  begins at (n-1) - p
//            It counts only the packets that reach it: the matches before it in the rule come first
//   !        inverts both
//
// What a reload does to nth counters is the back-end's:
//   reset     every match begins again (iptables-legacy: any change makes the whole table anew)
//   persist   a match whose rule stays keeps its counter (iptables-nft)
// NthCounters keeps them for the rules that hold them, by a key that tells the rule: its chain, its text, which of the
// rules of that text it is, and which of its matches.
//
// Source: net/netfilter/xt_statistic.c, extensions/libxt_statistic.c. Random numbers are a parameter. Threads: match is
// for any, one compare-and-swap; NthCounters takes a lock, when programs are made.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "lb/pick/rng.h"

namespace limpet::rules {

struct RandomMatch {
  static constexpr std::uint32_t kAlways = 1U << 31;

  std::uint32_t threshold = 0;  // of 2^31
  bool inverted = false;

  bool match(pick::Rng& rng) const noexcept { return (rng() >> 33 < threshold) != inverted; }
  friend bool operator==(const RandomMatch&, const RandomMatch&) noexcept = default;
};

/// The threshold of a `--probability`, read as strtod does. nullopt: no number of [0, 1].
std::optional<std::uint32_t> parse_probability(const std::string& text);
/// As iptables-save prints it: eleven decimals.
std::string probability_text(std::uint32_t threshold);

/// On a cache line of its own: every worker writes to it.
struct alignas(64) NthCounter {
  std::atomic<std::uint32_t> value{0};
};

struct NthRule {
  std::uint32_t every = 1;   // n, at least 1
  std::uint32_t packet = 0;  // p, less than n
  bool inverted = false;
  friend bool operator==(const NthRule&, const NthRule&) noexcept = default;
};

class NthMatch {
 public:
  /// With a counter that begins now.
  explicit NthMatch(const NthRule& rule);
  /// Goes on counting with `counter`.
  NthMatch(const NthRule& rule, std::shared_ptr<NthCounter> counter) noexcept
      : rule_(rule), counter_(std::move(counter)) {}

  bool match() noexcept {
    const std::uint32_t last = rule_.every - 1;
    std::uint32_t value = counter_->value.load(std::memory_order_relaxed);
    std::uint32_t next = 0;
    do {
      next = value == last ? 0 : value + 1;
    } while (!counter_->value.compare_exchange_weak(value, next, std::memory_order_relaxed));
    return (next == 0) != rule_.inverted;
  }
  const NthRule& rule() const noexcept { return rule_; }
  const std::shared_ptr<NthCounter>& counter() const noexcept { return counter_; }

 private:
  NthRule rule_;
  std::shared_ptr<NthCounter> counter_;
};

enum class NthOnReload : std::uint8_t { reset, persist };

class NthCounters {
 public:
  explicit NthCounters(NthOnReload on_reload) noexcept : on_reload_(on_reload) {}
  NthOnReload on_reload() const noexcept { return on_reload_; }

  /// persist: goes on where a match of the same key and rule counts that is still held; else begins anew.
  NthMatch open(const std::string& key, const NthRule& rule);

 private:
  struct Known {
    NthRule rule;
    std::weak_ptr<NthCounter> counter;
  };
  const NthOnReload on_reload_;
  std::mutex lock_;
  std::map<std::string, Known> counters_;
};

}  // namespace limpet::rules
