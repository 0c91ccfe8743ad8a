// counters.h: the two kernel counters that the generator measures by.
//
//   InterfaceCounter  packets that an interface of another network namespace has received, from /proc/<thread>/net/dev.
//   The
//                     driver counts them anyway, so a packet costs nothing more; a reading costs one pread of some 3
//                     us, and is made once per window. (A packet socket at the sink, even one that only counts, would
//                     cost every packet a filter run and a lock.)
//   CpuClock          time that the machine's CPUs were not idle, from /proc/stat: user, system, interrupt, every
//   process.
//                     busy = CPUs * elapsed - idle - iowait - steal. With NO_HZ the idle time is exact (not sampled by
//                     the tick); it is printed in units of 1/100 s
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/wire/unique_fd.h"

namespace limpet::bench {

class InterfaceCounter {
 public:
  /// `netns`: a file such as /run/netns/NAME. The calling thread is moved there and back. Throws std::system_error.
  InterfaceCounter(const std::string& netns, const std::string& interface);
  /// Packets received since the interface was made.
  std::uint64_t read() const;

 private:
  UniqueFd file_;
  std::string label_;  // "veth0:", as a line of the file begins
};

class CpuClock {
 public:
  CpuClock() : begin_(idle()), begin_time_(std::chrono::steady_clock::now()) {}
  /// Busy time of all CPUs together since construction.
  std::chrono::nanoseconds busy() const;

 private:
  static std::chrono::nanoseconds idle();
  std::chrono::nanoseconds begin_;
  std::chrono::steady_clock::time_point begin_time_;
};

}  // namespace limpet::bench
