#include "lb/rules/statistic.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace limpet::rules {

std::optional<std::uint32_t> parse_probability(const std::string& text) {
  if (text.find('\0') != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double probability = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(probability >= 0 && probability <= 1)) return std::nullopt;
  return static_cast<std::uint32_t>(std::lround(RandomMatch::kAlways * probability));
}

std::string probability_text(std::uint32_t threshold) {
  char text[16];
  std::snprintf(text, sizeof text, "%.11f", static_cast<double>(threshold) / RandomMatch::kAlways);
  return text;
}

NthMatch::NthMatch(const NthRule& rule) : rule_(rule), counter_(std::make_shared<NthCounter>()) {
  counter_->value.store(rule.every - 1 - rule.packet, std::memory_order_relaxed);
}

NthMatch NthCounters::open(const std::string& key, const NthRule& rule) {
  if (on_reload_ == NthOnReload::reset) return NthMatch(rule);
  const std::lock_guard guard(lock_);
  std::erase_if(counters_, [](const auto& known) { return known.second.counter.expired(); });
  if (const auto known = counters_.find(key); known != counters_.end() && known->second.rule == rule) {
    if (auto counter = known->second.counter.lock()) return {rule, std::move(counter)};
  }
  NthMatch made(rule);
  counters_.insert_or_assign(key, Known{rule, made.counter()});
  return made;
}

}  // namespace limpet::rules
