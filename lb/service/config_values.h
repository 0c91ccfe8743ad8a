// config_values.h: the formats of scalar values in limpet.yaml.
//
// A format turns a word into a value or says what it would have taken:
//
//   value_type                                  what it yields
//   std::optional<value_type> parse(text)       pure, strict: no surrounding space, no trailing words
//   std::string expected()                      completes "write …"
//
//   Number      8192, or 0x1000 in hexadecimal      low to high, inclusive
//   Limit       100, unlimited                      low to high, inclusive
//   Seconds     300, 300s, 5m, 12h, 7d              low to high
//   Flag        true, false
//   Choice      one of a few words, exactly as written
//   Text        anything that is not empty
//   Address     10.0.0.1, fd00::1
//   AddressPort 0.0.0.0:10256, [::]:10256            the port is not 0
//   Cidr        10.28.0.0/14, fd00::/64             host bits must be zero
//   Ports       1024-29999, 8080
//   Mark        a 32-bit mask of one bit            0x1000
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "lb/service/config.h"

namespace limpet::service::format {

struct Number {
  using value_type = std::uint64_t;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const;
};
inline constexpr Number kPort{1, 65535};

struct Limit {
  using value_type = std::uint64_t;  // 0: unlimited
  std::uint64_t low = 1;
  std::uint64_t high = 0;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const;
};

struct Seconds {
  using value_type = flow::Seconds;
  flow::Seconds low{1};
  flow::Seconds high{365 * 86400};
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const;
};

struct Flag {
  using value_type = bool;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "true or false"; }
};

/// "a", "a or b", "a, b or c".
std::string join_alternatives(const std::vector<std::string_view>& words);

/// `unavailable` names words that other versions know and this one cannot honour.
template <typename E>
class Choice {
 public:
  using value_type = E;
  Choice(std::initializer_list<std::pair<std::string_view, E>> words, std::string_view unavailable = {})
      : words_(words), unavailable_(unavailable) {}

  std::optional<E> parse(std::string_view text) const {
    for (const auto& [word, value] : words_) {
      if (word == text) return value;
    }
    return std::nullopt;
  }
  /// How `value`, one of the choices, is written.
  std::string_view word(E value) const {
    const auto found =
        std::find_if(words_.begin(), words_.end(), [&](const auto& entry) { return entry.second == value; });
    return found->first;
  }
  std::string expected() const {
    std::vector<std::string_view> names;
    for (const auto& entry : words_) names.push_back(entry.first);
    std::string result = join_alternatives(names);
    if (!unavailable_.empty()) result += " (not available in this version: " + std::string(unavailable_) + ")";
    return result;
  }

 private:
  std::vector<std::pair<std::string_view, E>> words_;
  std::string_view unavailable_;
};

struct Text {
  using value_type = std::string;
  std::string_view what;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return std::string(what); }
};

/// auto, none, or an absolute path.
struct FileOr {
  using value_type = std::string;
  std::string_view what;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return std::string(what); }
};

/// Part of a file's name: letters, digits, '-', '_' and '.', not first.
struct InstanceName {
  using value_type = std::string;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a name of letters, digits, '-', '_' and '.', as in blue-1"; }
};

/// "namespace/name" or "namespace/name:port".
struct ServiceName {
  using value_type = std::string;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "namespace/name:port, as in default/web:http"; }
};

struct Address {
  using value_type = net::Address;
  std::optional<value_type> parse(std::string_view text) const { return net::Address::parse(text); }
  std::string expected() const { return "an IP address, as in 10.0.0.1 or fd00::1"; }
};

/// An address that traffic can be sent to: neither unspecified, loopback nor multicast.
struct UnicastAddress {
  using value_type = net::Address;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a unicast IP address that is not loopback, as in 10.0.0.1 or fd00::1"; }
};

struct AddressPort {
  using value_type = net::AddressPort;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "an address and a port, as in 127.0.0.1:10256 or [::]:10256"; }
};

struct Cidr {
  using value_type = net::Prefix;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a CIDR without host bits, as in 10.28.0.0/14 or fd00::/64"; }
};

struct Ports {
  using value_type = PortRange;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a port range from low to high, as in 1024-29999"; }
};

struct Mark {
  using value_type = std::uint32_t;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a 32-bit mask of exactly one bit, as in 0x1000"; }
};

}  // namespace limpet::service::format
