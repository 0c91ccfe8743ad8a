#include "conntrack/net/address.h"

#include <algorithm>
#include <charconv>

#include <arpa/inet.h>

namespace limpet::net {

namespace {

struct ProtocolName {
  Protocol protocol;
  std::string_view name;
};
constexpr ProtocolName kProtocolNames[] = {
    {Protocol::icmp, "icmp"},   {Protocol::tcp, "tcp"},   {Protocol::udp, "udp"},
    {Protocol::icmp6, "icmp6"}, {Protocol::sctp, "sctp"}, {Protocol::udplite, "udplite"},
};

constexpr char ascii_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// All of `text` as a decimal number up to `max`; no sign, no leading zero (which some read as octal).
std::optional<unsigned> parse_decimal(std::string_view text, unsigned max) noexcept {
  unsigned value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value > max) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return value;
}

std::optional<Address> parse_v4(std::string_view text) noexcept {
  std::uint32_t value = 0;
  for (int octet = 0; octet < 4; ++octet) {
    const std::size_t end = octet < 3 ? text.find('.') : text.size();
    if (end == std::string_view::npos) return std::nullopt;
    const std::optional<unsigned> number = parse_decimal(text.substr(0, end), 255);
    if (!number) return std::nullopt;
    value = value << 8 | *number;
    text.remove_prefix(octet < 3 ? end + 1 : end);
  }
  return Address::from_v4(value);
}

std::optional<Address> parse_v6(std::string_view text) noexcept {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) return std::nullopt;
  std::copy(text.begin(), text.end(), terminated.begin());
  std::array<std::byte, 16> bytes;
  if (::inet_pton(AF_INET6, terminated.data(), bytes.data()) != 1) return std::nullopt;
  return Address::from_wire(Family::v6, bytes.data());
}

}  // namespace

std::string to_string(Protocol protocol) {
  for (const auto& [known, name] : kProtocolNames)
    if (known == protocol) return std::string(name);
  return "protocol " + std::to_string(static_cast<unsigned>(protocol));
}

std::optional<Protocol> parse_protocol(std::string_view text) noexcept {
  for (const auto& [protocol, name] : kProtocolNames) {
    const auto same = [](char a, char b) { return ascii_lower(a) == b; };
    if (std::equal(text.begin(), text.end(), name.begin(), name.end(), same)) return protocol;
  }
  return std::nullopt;
}

std::optional<Address> Address::parse(std::string_view text) noexcept {
  return text.find(':') == std::string_view::npos ? parse_v4(text) : parse_v6(text);
}

Address Address::masked(unsigned length) const noexcept {
  Address result = *this;
  for (unsigned i = 0; i < size(); ++i) {
    const unsigned kept = std::clamp(length, 8 * i, 8 * i + 8) - 8 * i;  // bits of this byte
    result.bytes_[i] = static_cast<std::uint8_t>(bytes_[i] & (0xff00U >> kept));
  }
  return result;
}

bool Address::is_loopback() const noexcept {
  if (is_v4()) return bytes_[0] == 127;
  return bytes_.back() == 1 && std::all_of(bytes_.begin(), bytes_.end() - 1, [](auto byte) { return byte == 0; });
}

std::string Address::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text.data(), text.size());
  return text.data();
}

std::optional<Prefix> Prefix::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  const std::optional<Address> address = Address::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos) return Prefix(*address, address->bits());
  const std::optional<unsigned> length = parse_decimal(text.substr(slash + 1), address->bits());
  if (!length) return std::nullopt;
  return Prefix(*address, *length);
}

std::string Prefix::to_string() const {
  return address_.to_string() + '/' + std::to_string(length_);
}

std::optional<AddressPort> AddressPort::parse(std::string_view text) noexcept {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const std::optional<Address> address = Address::parse(host);
  const std::optional<unsigned> port = parse_decimal(text.substr(colon + 1), 0xffff);
  if (!address || !port || bracketed == address->is_v4()) return std::nullopt;
  return AddressPort{*address, static_cast<std::uint16_t>(*port)};
}

std::string AddressPort::to_string() const {
  const std::string host = address.is_v4() ? address.to_string() : '[' + address.to_string() + ']';
  return host + ':' + std::to_string(port);
}

std::string Tuple::to_string() const {
  return net::to_string(protocol) + ' ' + source.to_string() + " -> " + destination.to_string();
}

}  // namespace limpet::net
