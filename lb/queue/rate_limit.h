// rate_limit.h: so many a second, and so many at once: one token bucket for all workers, in one atomic word.
//
// The generic cell rate algorithm (ITU-T I.371, annex A): instead of a number of tokens and the time of their last change,
// keep the instant at which the bucket will be full again.
//
//   full_at   moves on by one interval (1 s / rate) with each that is let through; never before now
//   allow     as long as full_at stays within burst intervals from now
//
// Lock-free: one load, and a compare-exchange where it is let through. Time is a parameter, and may differ between
// threads by as much as their clocks were read apart.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "conntrack/flow/instant.h"

namespace limpet::queue {

class RateLimit {
 public:
  /// `per_second` 0: nothing is let through. `burst` at least 1.
  RateLimit(std::uint32_t per_second, std::uint32_t burst) noexcept
      : interval_(per_second == 0 ? 0 : kSecond / per_second), depth_(interval_ * std::max<std::int64_t>(burst, 1)) {}

  bool allow(flow::Instant now) noexcept {
    if (interval_ == 0) return false;
    const std::int64_t at = std::chrono::nanoseconds(now.time_since_epoch()).count();
    std::int64_t full_at = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      const std::int64_t next = std::max(full_at, at) + interval_;
      if (next - at > depth_) return false;
      if (full_at_.compare_exchange_weak(full_at, next, std::memory_order_relaxed)) return true;
    }
  }

 private:
  static constexpr std::int64_t kSecond = 1'000'000'000;  // in nanoseconds
  std::int64_t interval_;
  std::int64_t depth_;
  std::atomic<std::int64_t> full_at_{0};
};

}  // namespace limpet::queue
