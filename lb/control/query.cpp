#include "lb/control/query.h"

#include <charconv>
#include <cstdio>
#include <utility>

namespace limpet::control {
namespace {

constexpr unsigned kBadRequest = 400;

std::optional<unsigned> hex_byte(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 2 || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// "%3A" and "+" (a blank) decoded; nullopt if a "%" has no two digits.
std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      const auto byte = hex_byte(text.substr(i + 1, 2));
      if (!byte) return std::nullopt;
      decoded += static_cast<char>(*byte);
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

bool is_unreserved(char c) {  // RFC 3986 section 2.3
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

}  // namespace

Response problem(unsigned status, std::string error, std::string remedy) {
  return {status, {{"error", std::move(error)}, {"remedy", std::move(remedy)}}};
}

std::string Query::path_of(std::string_view target) {
  return std::string(target.substr(0, target.find('?')));
}

Query::Query(std::string_view target) {
  const std::size_t mark = target.find('?');
  std::string_view rest = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  while (!rest.empty()) {
    const std::string_view parameter = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), parameter.size() + 1));
    if (parameter.empty()) continue;
    const std::size_t equals = parameter.find('=');
    const auto name = percent_decode(parameter.substr(0, equals));
    const auto value =
        percent_decode(equals == std::string_view::npos ? std::string_view() : parameter.substr(equals + 1));
    if (!name || !value) {
      error_ = problem(kBadRequest, "'" + std::string(parameter) + "' has a % without two hexadecimal digits",
                       "write % itself as %25");
    } else if (!given_.emplace(*name, *value).second) {
      error_ = problem(kBadRequest, "the parameter '" + *name + "' is given twice", "keep one");
    }
  }
}

void Query::reject(const std::string& name, const std::string& value, std::string_view wanted) {
  if (error_) return;
  error_ = problem(kBadRequest, "the parameter '" + name + "' is '" + value + "'", "write " + std::string(wanted));
}

std::optional<std::string> Query::text(const std::string& name) {
  known_.insert(name);
  const auto found = given_.find(name);
  if (found == given_.end()) return std::nullopt;
  if (!found->second.empty()) return found->second;
  reject(name, "", "a value, or leave it out");
  return std::nullopt;
}

std::optional<net::Prefix> Query::prefix(const std::string& name) {
  const auto value = text(name);
  if (!value) return std::nullopt;
  const auto prefix = net::Prefix::parse(*value);
  if (!prefix) reject(name, *value, "an IP address or a CIDR, as in 203.0.113.7, 10.0.0.0/8 or fd00::/64");
  return prefix;
}

std::optional<net::Address> Query::address(const std::string& name) {
  const auto value = text(name);
  if (!value) return std::nullopt;
  const auto address = net::Address::parse(*value);
  if (!address) reject(name, *value, "an IP address, as in 203.0.113.7 or fd00::1");
  return address;
}

std::optional<net::AddressPort> Query::address_port(const std::string& name) {
  const auto value = text(name);
  if (!value) return std::nullopt;
  const auto at = net::AddressPort::parse(*value);
  if (!at) reject(name, *value, "IP:PORT, as in 10.2.0.1:8080 or [fd00::1]:80");
  return at;
}

std::optional<net::Protocol> Query::protocol(const std::string& name) {
  const auto value = text(name);
  if (!value) return std::nullopt;
  const auto protocol = net::parse_protocol(*value);
  if (!protocol) reject(name, *value, "tcp, udp, sctp or udplite");
  return protocol;
}

std::uint64_t Query::number(const std::string& name, std::uint64_t least, std::uint64_t most, std::uint64_t otherwise) {
  const auto value = text(name);
  if (!value) return otherwise;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (error == std::errc() && end == value->data() + value->size() && number >= least && number <= most) return number;
  reject(name, *value, "a number from " + std::to_string(least) + " to " + std::to_string(most));
  return otherwise;
}

bool Query::flag(const std::string& name) {
  const auto value = text(name);
  if (!value) return false;
  if (*value != "true" && *value != "false") reject(name, *value, "true or false");
  return *value == "true";
}

std::optional<Response> Query::error() {
  for (const auto& [name, value] : given_) {
    if (error_ || known_.contains(name)) continue;
    std::string known;
    for (const std::string& one : known_) known += (known.empty() ? "" : ", ") + one;
    error_ = problem(kBadRequest, "there is no parameter '" + name + "' here",
                     known.empty() ? "leave it out" : "known are " + known);
  }
  return error_;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    char code[4] = {c};
    if (!is_unreserved(c)) std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
    encoded += code;
  }
  return encoded;
}

}  // namespace limpet::control
