// jiffies.h: the kernel's tick counter, and the ages of stamps that are counted in it.
//
//   HZ     from the resolution of CLOCK_MONOTONIC_COARSE, which is one tick (kernel/time/posix-timers.c): 4 ms → 250.
//          (sysconf(_SC_CLK_TCK) is USER_HZ, always 100: it tells nothing.)
//   now    from /proc/timer_list ("jiffies: N"), exact; only root may read it, and not in every container
//          else INITIAL_JIFFIES + CLOCK_MONOTONIC · HZ. Both stand still in suspend and keep step, but the tick begins
//          later in booting (0.1 s measured on a virtual machine): ages come out too long by that much
//
//   INITIAL_JIFFIES = (unsigned long)(unsigned int)(-300 · HZ): the lower 32 bits wrap five minutes after boot; on a
//   64-bit kernel the whole counter does not: stamps go on beyond 2^32
//
// An age is a difference modulo the counter's width, so it is right across a wrap. A stamp that is ahead of `now` by
// less than half the width is 0 ms old: it was written after `now` was read. Accuracy: one tick, as xt_recent's own.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "conntrack/flow/instant.h"
#include "conntrack/store/result.h"

namespace limpet::rules {

struct Jiffies {
  std::uint64_t now = 0;
  std::uint32_t per_second = 0;  // HZ
  unsigned bits = 64;            // of the counter
  bool exact = true;             // false: `now` is calculated

  flow::Milliseconds age(std::uint64_t stamp) const noexcept;
};

/// The "jiffies:" of /proc/timer_list. nullopt: not in this text.
std::optional<std::uint64_t> jiffies_in_timer_list(std::string_view text);
/// What the counter reads so long after boot, by CLOCK_MONOTONIC.
std::uint64_t jiffies_after(std::uint64_t nanoseconds, std::uint32_t per_second) noexcept;

/// The same for an instant of that clock.
std::uint64_t jiffies_at(flow::Instant now, std::uint32_t per_second) noexcept;

/// Of the running kernel. Errors: unavailable: it does not tell its tick.
store::Result<Jiffies> read_jiffies();

}  // namespace limpet::rules
