#include "lb/rules/jiffies.h"

#include <charconv>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string>

#include <time.h>

namespace limpet::rules {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::uint32_t kBootSeconds = 300;  // include/linux/jiffies.h: INITIAL_JIFFIES

/// HZ of which one tick lasts so long. Ticks are whole nanoseconds: 300 Hz is 3333333 ns.
std::uint32_t ticks_per_second(std::uint64_t tick) noexcept {
  return static_cast<std::uint32_t>((kNanosecondsPerSecond + tick / 2) / tick);
}

std::uint64_t nanoseconds(const timespec& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * kNanosecondsPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

flow::Milliseconds Jiffies::age(std::uint64_t stamp) const noexcept {
  const std::uint64_t mask = bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  const std::uint64_t ticks = (now - stamp) & mask;
  if (ticks > mask / 2) return flow::Milliseconds(0);
  const std::uint64_t whole = ticks / per_second;
  return flow::Milliseconds(static_cast<std::int64_t>(whole * 1000 + ticks % per_second * 1000 / per_second));
}

std::optional<std::uint64_t> jiffies_in_timer_list(std::string_view text) {
  constexpr std::string_view kWord = "\njiffies: ";
  const std::size_t at = text.find(kWord);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view digits = text.substr(at + kWord.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::uint64_t jiffies_after(std::uint64_t nanoseconds, std::uint32_t per_second) noexcept {
  const std::uint32_t initial = 0U - kBootSeconds * per_second;
  const std::uint64_t seconds = nanoseconds / kNanosecondsPerSecond;
  const std::uint64_t rest = nanoseconds % kNanosecondsPerSecond;
  return initial + seconds * per_second + rest * per_second / kNanosecondsPerSecond;
}

/// In two parts: a timeline may be longer than the 292 years that nanoseconds count.
std::uint64_t jiffies_at(flow::Instant now, std::uint32_t per_second) noexcept {
  const auto since_boot = now.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_boot);
  const auto rest = std::chrono::nanoseconds(since_boot - seconds).count();
  return jiffies_after(static_cast<std::uint64_t>(rest), per_second) +
         static_cast<std::uint64_t>(seconds.count()) * per_second;
}

store::Result<Jiffies> read_jiffies() {
  timespec tick{};
  if (::clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || nanoseconds(tick) == 0) {
    return store::Error{store::ErrorKind::unavailable,
                        "the kernel does not tell how long its tick is (CLOCK_MONOTONIC_COARSE), so the ages of its "
                        "`recent` lists are unknown"};
  }
  // A program that runs with 64-bit words runs on a kernel that has them.
  Jiffies jiffies{.per_second = ticks_per_second(nanoseconds(tick)), .bits = sizeof(long) * 8};
  std::ifstream file("/proc/timer_list");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (const auto exact = jiffies_in_timer_list(text)) {
    jiffies.now = *exact;
  } else {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    jiffies.now = jiffies_after(nanoseconds(now), jiffies.per_second);
    jiffies.exact = false;
  }
  return jiffies;
}

}  // namespace limpet::rules
