// address.h: IP addresses, prefixes, and the tuple that names a connection.
//
//   Address      one IPv4 or IPv6 address; 16 bytes in network order and its family. An IPv4 address and the
//                IPv6 address that maps it (::ffff:a.b.c.d) are different values: a spoofed one never aliases the other
//   Prefix       address/length; the host bits are zero
//   AddressPort  address and transport port; ports are in host order everywhere but on the wire
//   Tuple        protocol, source, destination: one direction of a connection
//
// Plain values: no allocation, no I/O; any thread.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace limpet::net {

enum class Family : std::uint8_t { v4 = 4, v6 = 6 };

/// IANA protocol numbers that limpet names.
enum class Protocol : std::uint8_t { icmp = 1, tcp = 6, udp = 17, icmp6 = 58, sctp = 132, udplite = 136 };

/// Does the transport open and close connections? UDP and UDP-Lite flows only begin and fall silent.
constexpr bool is_connection_oriented(Protocol protocol) noexcept {
  return protocol == Protocol::tcp || protocol == Protocol::sctp;
}

/// "tcp", "udp", …; "protocol N" for a number without a name here.
std::string to_string(Protocol protocol);
/// Accepts the names above in any case. nullopt if it is none of them.
std::optional<Protocol> parse_protocol(std::string_view text) noexcept;

class Address {
 public:
  /// 0.0.0.0
  constexpr Address() noexcept = default;

  /// From 4 (IPv4) or 16 (IPv6) bytes in network order.
  static Address from_wire(Family family, const std::byte* bytes) noexcept {
    Address address;
    address.family_ = family;
    if (family == Family::v4) {
      // All 16 bytes in one store: a 16-byte load cannot be forwarded from narrower ones and would stall.
      using Lanes [[gnu::vector_size(16)]] = std::uint32_t;
      std::uint32_t word;
      std::memcpy(&word, bytes, sizeof word);
      address.bytes_ = std::bit_cast<std::array<std::uint8_t, 16>>(Lanes{word});
    } else {
      std::memcpy(address.bytes_.data(), bytes, 16);
    }
    return address;
  }
  /// From a number in host order: 0x0a000001 is 10.0.0.1.
  static constexpr Address from_v4(std::uint32_t host_order) noexcept {
    Address address;
    for (unsigned i = 0; i < 4; ++i) address.bytes_[i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
    return address;
  }
  /// Dotted quad (four decimal numbers, no leading zeros) or RFC 4291 text; no zone, no surrounding space.
  static std::optional<Address> parse(std::string_view text) noexcept;

  Family family() const noexcept { return family_; }
  bool is_v4() const noexcept { return family_ == Family::v4; }
  /// 4 or 16.
  std::size_t size() const noexcept { return is_v4() ? 4 : 16; }
  /// 32 or 128.
  unsigned bits() const noexcept { return is_v4() ? 32 : 128; }
  /// Network order, size() long.
  std::span<const std::byte> bytes() const noexcept {
    return {reinterpret_cast<const std::byte*>(bytes_.data()), size()};
  }
  /// The 16 bytes of storage as two words (native order; for hashing and comparing, not for arithmetic).
  std::array<std::uint64_t, 2> words() const noexcept {
    std::array<std::uint64_t, 2> words;
    std::memcpy(words.data(), bytes_.data(), sizeof words);
    return words;
  }

  /// The address with all but the first `length` bits cleared. length <= bits().
  Address masked(unsigned length) const noexcept;
  /// 0.0.0.0 or ::
  bool is_unspecified() const noexcept { return words() == std::array<std::uint64_t, 2>{}; }
  /// 127.0.0.0/8 or ::1
  bool is_loopback() const noexcept;

  std::string to_string() const;

  /// IPv4 before IPv6, then by value.
  friend std::strong_ordering operator<=>(const Address& a, const Address& b) noexcept {
    if (a.family_ != b.family_) return a.family_ <=> b.family_;
    return std::memcmp(a.bytes_.data(), b.bytes_.data(), a.bytes_.size()) <=> 0;
  }
  friend bool operator==(const Address& a, const Address& b) noexcept {
    return a.family_ == b.family_ && a.words() == b.words();
  }

 private:
  std::array<std::uint8_t, 16> bytes_{};
  Family family_ = Family::v4;
};

class Prefix {
 public:
  Prefix(const Address& address, unsigned length) noexcept
      : address_(address.masked(length)), length_(static_cast<std::uint8_t>(length)) {}
  /// "10.0.0.0/8", "fd00::/64"; a bare address is a prefix of full length. Host bits are cleared.
  static std::optional<Prefix> parse(std::string_view text) noexcept;

  const Address& address() const noexcept { return address_; }
  unsigned length() const noexcept { return length_; }
  bool contains(const Address& address) const noexcept {
    return address.family() == address_.family() && address.masked(length_) == address_;
  }
  std::string to_string() const;
  friend auto operator<=>(const Prefix&, const Prefix&) noexcept = default;

 private:
  Address address_;
  std::uint8_t length_ = 0;
};

struct AddressPort {
  Address address;
  std::uint16_t port = 0;

  /// "10.0.0.1:80" or "[fd00::1]:80".
  static std::optional<AddressPort> parse(std::string_view text) noexcept;
  std::string to_string() const;
  friend auto operator<=>(const AddressPort&, const AddressPort&) noexcept = default;
};

struct Tuple {
  Protocol protocol{};
  AddressPort source;
  AddressPort destination;

  Tuple reversed() const noexcept { return {protocol, destination, source}; }
  /// "tcp 10.0.0.1:4242 -> 10.96.0.1:80"
  std::string to_string() const;
  friend auto operator<=>(const Tuple&, const Tuple&) noexcept = default;
};

}  // namespace limpet::net
