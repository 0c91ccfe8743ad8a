#include "lb/rules/protocol_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "lb/rules/rule_options.h"

namespace limpet::rules {
namespace {

// The first name of a number is the one that is printed.
constexpr std::array<std::pair<std::string_view, std::uint8_t>, 14> kNames{{{"all", 0},
                                                                            {"icmp", 1},
                                                                            {"tcp", 6},
                                                                            {"udp", 17},
                                                                            {"gre", 47},
                                                                            {"esp", 50},
                                                                            {"ah", 51},
                                                                            {"ipv6-icmp", 58},
                                                                            {"icmpv6", 58},
                                                                            {"icmp6", 58},
                                                                            {"sctp", 132},
                                                                            {"ipv6-mh", 135},
                                                                            {"mh", 135},
                                                                            {"udplite", 136}}};

}  // namespace

std::optional<std::uint8_t> protocol_number(std::string_view name) noexcept {
  if (const auto number = parse_number(name)) {
    return *number <= 255 ? std::optional(static_cast<std::uint8_t>(*number)) : std::nullopt;
  }
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (const auto& [known, number] : kNames) {
    if (std::equal(name.begin(), name.end(), known.begin(), known.end(), same)) return number;
  }
  return std::nullopt;
}

std::string protocol_name(std::uint8_t number) {
  for (const auto& [name, known] : kNames) {
    if (known == number) return std::string(name);
  }
  return std::to_string(number);
}

}  // namespace limpet::rules
