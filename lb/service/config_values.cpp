#include "lb/service/config_values.h"

#include <algorithm>
#include <bit>
#include <charconv>

namespace limpet::service::format {
namespace {

std::optional<std::uint64_t> parse_digits(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  return text.starts_with("0x") ? parse_digits(text.substr(2), 16) : parse_digits(text, 10);
}

/// Seconds in the unit that ends `text`, which is cut off; 1 without a unit.
std::uint64_t cut_unit(std::string_view& text) {
  static constexpr std::pair<char, std::uint64_t> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
  for (const auto& [unit, seconds] : kUnits) {
    if (!text.ends_with(unit)) continue;
    text.remove_suffix(1);
    return seconds;
  }
  return 1;
}

bool is_name(std::string_view text) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
  return !text.empty() && text.find_first_not_of(kAllowed) == std::string_view::npos;
}

bool is_multicast(const net::Address& address) {
  const auto first = std::to_integer<unsigned>(address.bytes().front());
  return address.is_v4() ? first >= 224 : first == 0xff;  // 240/4 is reserved: not an endpoint either
}

}  // namespace

std::optional<std::uint64_t> Number::parse(std::string_view text) const {
  const auto value = parse_number(text);
  return value && low <= *value && *value <= high ? value : std::nullopt;
}

std::string Number::expected() const {
  return "a number from " + std::to_string(low) + " to " + std::to_string(high);
}

std::optional<std::uint64_t> Limit::parse(std::string_view text) const {
  return text == "unlimited" ? std::optional<std::uint64_t>(0) : Number{low, high}.parse(text);
}

std::string Limit::expected() const {
  return Number{low, high}.expected() + ", or unlimited";
}

std::optional<flow::Seconds> Seconds::parse(std::string_view text) const {
  const std::uint64_t unit = cut_unit(text);
  const auto value = parse_digits(text, 10);
  const auto most = static_cast<std::uint64_t>(high.count());
  if (!value || *value > most / unit) return std::nullopt;
  const flow::Seconds seconds{static_cast<flow::Seconds::rep>(*value * unit)};
  return seconds < low ? std::nullopt : std::optional(seconds);
}

std::string Seconds::expected() const {
  return "a time from " + std::to_string(low.count()) + "s to " + std::to_string(high.count()) +
         "s, as in 300, 300s, 5m, 1h or 5d";
}

std::optional<bool> Flag::parse(std::string_view text) const {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

std::string join_alternatives(const std::vector<std::string_view>& words) {
  std::string result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) result += i + 1 == words.size() ? " or " : ", ";
    result += words[i];
  }
  return result;
}

std::optional<std::string> Text::parse(std::string_view text) const {
  return text.empty() ? std::nullopt : std::optional(std::string(text));
}

std::optional<std::string> FileOr::parse(std::string_view text) const {
  const bool good = text == "auto" || text == "none" || (text.starts_with('/') && !text.ends_with('/'));
  return good ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> InstanceName::parse(std::string_view text) const {
  constexpr std::size_t kLongest = 63;  // what the state file's header holds
  constexpr std::string_view kGood = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  const bool good = !text.empty() && text.size() <= kLongest && text.front() != '.' &&
                    text.find_first_not_of(kGood) == std::string_view::npos;
  return good ? std::optional(std::string(text)) : std::nullopt;
}

std::optional<std::string> ServiceName::parse(std::string_view text) const {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view rest = text.substr(slash + 1);
  const std::size_t colon = rest.find(':');
  const bool port_good = colon == std::string_view::npos || is_name(rest.substr(colon + 1));
  if (!is_name(text.substr(0, slash)) || !is_name(rest.substr(0, colon)) || !port_good) return std::nullopt;
  return std::string(text);
}

std::optional<net::Address> UnicastAddress::parse(std::string_view text) const {
  const auto address = net::Address::parse(text);
  if (!address || address->is_unspecified() || address->is_loopback() || is_multicast(*address)) return std::nullopt;
  return address;
}

std::optional<net::AddressPort> AddressPort::parse(std::string_view text) const {
  const auto parsed = net::AddressPort::parse(text);
  return parsed && parsed->port != 0 ? parsed : std::nullopt;
}

std::optional<net::Prefix> Cidr::parse(std::string_view text) const {
  const auto prefix = net::Prefix::parse(text);
  if (!prefix) return std::nullopt;
  const auto written = net::Address::parse(text.substr(0, text.find('/')));
  return written == prefix->address() ? prefix : std::nullopt;
}

std::optional<PortRange> Ports::parse(std::string_view text) const {
  const std::size_t dash = text.find('-');
  const auto first = kPort.parse(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : kPort.parse(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::optional<std::uint32_t> Mark::parse(std::string_view text) const {
  const auto value = parse_number(text);
  if (!value || *value > 0xffffffff || std::popcount(*value) != 1) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

}  // namespace limpet::service::format
