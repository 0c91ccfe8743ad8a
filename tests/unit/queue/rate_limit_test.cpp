// What a token bucket lets through, instant by instant.
#include "lb/queue/rate_limit.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::queue {
namespace {

flow::Instant at_ms(std::int64_t ms) {
  return flow::Instant{flow::Milliseconds{ms}};
}

struct Ask {
  std::int64_t ms;
  unsigned times, allowed;
};

TEST(RateLimit, LetsThrough) {
  struct Row {
    std::string name;
    std::uint32_t per_second, burst;
    std::vector<Ask> asks;
  };
  constexpr std::int64_t kDay = 86'400'000;
  for (const Row& row : std::vector<Row>{
           {"the burst at once, then one each interval", 10, 3, {{0, 5, 3}, {99, 5, 0}, {100, 5, 1}, {200, 5, 1}}},
           {"what has filled up meanwhile", 10, 3, {{0, 5, 3}, {250, 5, 2}, {299, 5, 0}, {300, 5, 1}}},
           {"never more than the burst", 10, 3, {{0, 5, 3}, {kDay, 5, 3}, {kDay + 50, 5, 0}}},
           {"half spent", 10, 4, {{0, 2, 2}, {100, 9, 3}, {200, 9, 1}}},
           {"several an interval of the clock", 4000, 2, {{0, 9, 2}, {1, 9, 2}, {2, 9, 2}}},
           {"long after the epoch", 10, 3, {{1000 * kDay, 5, 3}, {1000 * kDay + 100, 5, 1}}},
           {"a thread whose clock was read earlier", 10, 3, {{1000, 3, 3}, {900, 1, 0}, {1100, 5, 1}}},
           {"nothing at all", 0, 3, {{0, 5, 0}, {kDay, 5, 0}}},
           {"a burst of nothing is one", 10, 0, {{0, 5, 1}, {100, 5, 1}}}}) {
    SCOPED_TRACE(row.name);
    RateLimit limit(row.per_second, row.burst);
    for (const Ask& ask : row.asks) {
      unsigned allowed = 0;
      for (unsigned i = 0; i < ask.times; ++i) allowed += limit.allow(at_ms(ask.ms));
      EXPECT_EQ(allowed, ask.allowed) << "at " << ask.ms << " ms";
    }
  }
}

TEST(RateLimit, ThreadsShareOneBucket) {
  RateLimit limit(1000, 200);
  std::atomic<unsigned> allowed{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (std::int64_t ms = 0; ms <= 100; ++ms) {
        for (int n = 0; n < 100; ++n) allowed += limit.allow(at_ms(ms));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allowed, 300u) << "200 at once and one each millisecond of 100: in whatever order the threads come";
}

}  // namespace
}  // namespace limpet::queue
