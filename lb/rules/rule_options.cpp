#include "lb/rules/rule_options.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

namespace limpet::rules {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  const auto number = parse_number(text);
  if (!number || *number > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  return static_cast<std::uint16_t>(*number);
}

}  // namespace

std::optional<std::uint32_t> parse_number(std::string_view text) noexcept {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text.front() == '0') {
    base = 8;
    text.remove_prefix(1);
  }
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_counter(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<PortRange> parse_ports(std::string_view text, char separator) noexcept {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) {
    const auto port = parse_port(text);
    return port ? std::optional(PortRange{*port, *port}) : std::nullopt;
  }
  const std::string_view first = text.substr(0, at), last = text.substr(at + 1);
  const auto low = first.empty() ? std::optional<std::uint16_t>(0) : parse_port(first);
  const auto high = last.empty() ? std::optional<std::uint16_t>(65535) : parse_port(last);
  if (!low || !high || *low > *high) return std::nullopt;
  return PortRange{*low, *high};
}

std::string to_string(const PortRange& ports, char separator) {
  const std::string first = std::to_string(ports.first);
  return ports.first == ports.last ? first : first + separator + std::to_string(ports.last);
}

bool is_name(std::string_view text, std::size_t longest) noexcept {
  const auto fits = [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '"' && c != '\\' && c != '\x7f'; };
  return !text.empty() && text.size() <= longest && text.front() != '-' && text.front() != '!' &&
         std::all_of(text.begin(), text.end(), fits);
}

bool Options::next() {
  if (inverted_) fail("cannot be inverted; leave '!' out");
  if (failed() || at_ == words_.size()) return false;
  inverted_ = words_[at_] == "!";
  if (inverted_) ++at_;
  if (at_ == words_.size() || !words_[at_].starts_with('-')) {
    fail(at_ == words_.size() ? "!" : words_[at_], "is no option; options begin with '-'");
    return false;
  }
  name_ = words_[at_++];
  return true;
}

bool Options::inverted() noexcept {
  return std::exchange(inverted_, false);
}

std::string Options::value() {
  if (at_ < words_.size() && words_[at_] == "!") {
    inverted_ = true;
    ++at_;
  }
  if (at_ == words_.size()) {
    fail("lacks its value");
    return {};
  }
  return words_[at_++];
}

std::uint32_t Options::number(std::uint32_t low, std::uint32_t high) {
  const std::string text = value();
  const auto number = parse_number(text);
  if (!number || *number < low || *number > high) {
    fail("'" + text + "' is no number from " + std::to_string(low) + " to " + std::to_string(high));
    return low;
  }
  return *number;
}

std::pair<std::uint32_t, std::uint32_t> Options::mark(bool may_have_mask) {
  const std::string text = value();
  const std::size_t slash = may_have_mask ? text.find('/') : std::string::npos;
  const auto mark = parse_number(std::string_view(text).substr(0, slash));
  const auto mask = slash == std::string::npos ? std::optional(~std::uint32_t{0})
                                               : parse_number(std::string_view(text).substr(slash + 1));
  if (!mark || !mask) fail("'" + text + "' is no mark (0x4000" + (may_have_mask ? ", 0x4000/0x4000)" : ")"));
  return {mark.value_or(0), mask.value_or(0)};
}

void Options::fail(const std::string& option, const std::string& why) {
  if (!error_) error_ = option + ": " + why;
}

}  // namespace limpet::rules
