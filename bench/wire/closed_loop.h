// closed_loop.h: offers packets exactly as fast as they are served.
//
//            sent                         arrived
//   sender ────────▶ [ at most `window` ] ────────▶ sink
//
// Only while fewer than `window` packets are on their way are more sent; when the window is full, the loop sleeps until
// a quarter of it is free. So the queue before the bottleneck is never empty and never overflows, and the rate of
// arrivals is the service rate, not the behaviour under overload. When nothing arrives for `patience`, what is on its
// way is given up as lost: a lost packet shrinks the window for that long at most, and the loop always ends.
#pragma once

#include <chrono>
#include <cstdint>

#include "bench/wire/counters.h"
#include "bench/wire/frame_sender.h"

namespace limpet::bench {

struct Limits {
  std::uint64_t packets = 0;            // whichever comes first …
  std::chrono::nanoseconds duration{};  // … of these two
  std::uint64_t window = 2048;          // packets on their way at once
  std::chrono::nanoseconds patience = std::chrono::milliseconds(500);
};

struct Outcome {
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
  std::chrono::nanoseconds elapsed{};  // from the first packet sent to the last seen at the sink
  std::chrono::nanoseconds busy{};     // CPU time of the whole machine meanwhile
  std::uint64_t lost() const noexcept { return sent - arrived; }
};

/// Throws std::runtime_error if more arrives than was sent: then something else talks to the sink, and the result is
/// void.
Outcome run_closed_loop(FrameSender& sender, const InterfaceCounter& sink, const Limits& limits);

}  // namespace limpet::bench
