// instant.h: the clock that flows and affinities are dated by.
//
// Milliseconds of CLOCK_MONOTONIC. Nothing below lb/queue reads a clock: the instant is a parameter, read once a batch.
#pragma once

#include <chrono>

namespace limpet::flow {

using Milliseconds = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;
using Instant = std::chrono::time_point<std::chrono::steady_clock, Milliseconds>;

inline Instant now() noexcept {
  return std::chrono::time_point_cast<Milliseconds>(std::chrono::steady_clock::now());
}

}  // namespace limpet::flow
