// Ages across the counter's wraps; what a booting kernel's counter begins with; /proc/timer_list as Linux 6.18 writes
// it.
#include "lb/rules/jiffies.h"

#include <cctype>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

namespace limpet::rules {
namespace {

using flow::Milliseconds;

constexpr std::uint64_t k32 = std::uint64_t{1} << 32;

struct AgeCase {
  const char* name;
  Jiffies jiffies;
  std::uint64_t stamp;
  std::int64_t age;  // ms
};
void PrintTo(const AgeCase& test, std::ostream* out) {
  *out << test.name;
}

class Ages : public testing::TestWithParam<AgeCase> {};

TEST_P(Ages, AreDifferencesModuloTheWidth) {
  const AgeCase& test = GetParam();
  EXPECT_EQ(test.jiffies.age(test.stamp), Milliseconds(test.age));
}

INSTANTIATE_TEST_SUITE_P(
    Jiffies, Ages,
    testing::Values(
        AgeCase{"the same tick", {.now = 5000, .per_second = 250}, 5000, 0},
        AgeCase{"one tick of 4 ms", {.now = 5000, .per_second = 250}, 4999, 4},
        AgeCase{"a tick of 3.33 ms, rounded down", {.now = 5001, .per_second = 300}, 5000, 3},
        AgeCase{"three hours", {.now = 20'000'000, .per_second = 1000}, 9'200'000, 10'800'000},
        AgeCase{"written after now was read", {.now = 5000, .per_second = 250}, 5001, 0},
        AgeCase{"64 bits: on across 2^32", {.now = k32 + 25, .per_second = 250}, k32 - 225, 1000},
        AgeCase{"32 bits: wrapped to 25", {.now = 25, .per_second = 250, .bits = 32}, k32 - 225, 1000},
        AgeCase{"32 bits: now calculated in 64", {.now = k32 + 25, .per_second = 250, .bits = 32}, k32 - 225, 1000},
        AgeCase{"32 bits: ahead across the wrap", {.now = k32 - 1, .per_second = 250, .bits = 32}, 1, 0},
        AgeCase{"64 bits: older than 2^32 ticks",
                {.now = 2 * k32, .per_second = 1000},
                1000,
                static_cast<std::int64_t>(2 * k32 - 1000)}),
    [](const auto& parameter) {
      std::string name;
      for (const char c : std::string(parameter.param.name))
        name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

// include/linux/jiffies.h: INITIAL_JIFFIES = (unsigned long)(unsigned int)(-300 * HZ): the lower 32 bits wrap after 300
// s.
TEST(Jiffies, BeginFiveMinutesBeforeTheWrap) {
  EXPECT_EQ(jiffies_after(0, 250), k32 - 75'000);
  EXPECT_EQ(jiffies_after(300'000'000'000, 250), k32);
  EXPECT_EQ(jiffies_after(1'003'999'999, 250), k32 - 75'000 + 250);
  EXPECT_EQ(jiffies_after(1'004'000'000, 250), k32 - 75'000 + 251);
  EXPECT_EQ(jiffies_after(300'000'000'000, 1000), k32);
}

TEST(Jiffies, AreFoundInTimerList) {
  const char* const kText =
      "Timer List Version: v0.10\nHRTIMER_MAX_CLOCK_BASES: 8\nnow at 3385394905401 nsecs\n\ncpu: 0\n"
      "  .last_jiffies   : 4295738615\n  .next_timer     : 3385396000000\njiffies: 4295738619\n\ncpu: 1\n"
      "jiffies: 4295738619\n";
  EXPECT_EQ(jiffies_in_timer_list(kText), 4295738619);
}

TEST(Jiffies, AreNotFoundInOtherTexts) {
  EXPECT_EQ(jiffies_in_timer_list(""), std::nullopt);
  EXPECT_EQ(jiffies_in_timer_list("\n  .last_jiffies   : 4295738615\n"), std::nullopt);
  EXPECT_EQ(jiffies_in_timer_list("\njiffies: many\n"), std::nullopt);
}

TEST(Jiffies, AreReadOnTheRunningKernel) {
  const auto first = read_jiffies();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_GE(first->per_second, 24U);  // the kernels' choices go from 24 (Alpha's emulators) to 1200
  EXPECT_LE(first->per_second, 1200U);
  const auto second = read_jiffies();
  ASSERT_TRUE(second);
  EXPECT_GE(second->now, first->now);
}

}  // namespace
}  // namespace limpet::rules
