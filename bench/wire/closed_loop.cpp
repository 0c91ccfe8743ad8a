#include "bench/wire/closed_loop.h"

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace limpet::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Long enough to be cheap, short enough that a window (some milliseconds of work) never drains meanwhile.
constexpr auto kNap = std::chrono::microseconds(200);

class Loop {
 public:
  Loop(FrameSender& sender, const InterfaceCounter& sink, const Limits& limits)
      : sender_(sender),
        sink_(sink),
        limits_(limits),
        base_(sink.read()),
        begin_(Clock::now()),
        last_arrival_(begin_) {}

  Outcome run() {
    while (true) {
      observe();
      if (in_flight_ == 0 && finished()) break;
      const std::uint64_t room = limits_.window - std::min(in_flight_, limits_.window);
      if (finished() || room < limits_.window / 4) {
        std::this_thread::sleep_for(kNap);
      } else {
        fill(room);
      }
    }
    return {sent_, arrived_, last_arrival_ - begin_, cpu_.busy()};
  }

 private:
  bool finished() const { return sent_ >= limits_.packets || Clock::now() - begin_ >= limits_.duration; }

  void fill(std::uint64_t room) {
    for (std::uint64_t left = std::min(room, limits_.packets - sent_); left > 0 && !finished();) {
      const std::uint64_t taken = sender_.send(left);
      sent_ += taken;
      left -= taken;
    }
  }

  void observe() {
    const std::uint64_t arrived = sink_.read() - base_;
    const auto now = Clock::now();
    if (arrived > sent_) throw std::runtime_error("more packets arrived than were sent");
    if (arrived != arrived_) {
      arrived_ = arrived;
      last_arrival_ = now;
    } else if (now - std::max(last_arrival_, last_give_up_) > limits_.patience) {
      given_up_ = sent_ - arrived_;
      last_give_up_ = now;
    }
    const std::uint64_t settled = arrived_ + given_up_;  // may exceed sent_: a packet given up can arrive after all
    in_flight_ = sent_ - std::min(settled, sent_);
  }

  FrameSender& sender_;
  const InterfaceCounter& sink_;
  const Limits limits_;
  const CpuClock cpu_;
  const std::uint64_t base_;
  const Clock::time_point begin_;
  Clock::time_point last_arrival_;
  Clock::time_point last_give_up_{};
  std::uint64_t sent_ = 0;
  std::uint64_t arrived_ = 0;
  std::uint64_t given_up_ = 0;
  std::uint64_t in_flight_ = 0;
};

}  // namespace

Outcome run_closed_loop(FrameSender& sender, const InterfaceCounter& sink, const Limits& limits) {
  return Loop(sender, sink, limits).run();
}

}  // namespace limpet::bench
