#include "lb/rules/nat_choice.h"

#include <array>
#include <bit>

namespace limpet::rules {
namespace {

using Words = std::array<std::uint32_t, 4>;  // as the address lies in memory

Words words_of(const net::Address& address) noexcept {
  return std::bit_cast<Words>(address.words());
}

constexpr std::uint32_t swapped(std::uint32_t word) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

/// jhash2 of four words: three are mixed in, and the fourth.
std::uint32_t jhash2(const Words& key, std::uint32_t initial) noexcept {
  using std::rotl;
  std::uint32_t a = 0xdeadbeef + sizeof key + initial;
  std::uint32_t b = a, c = a;
  a += key[0], b += key[1], c += key[2];
  a -= c, a ^= rotl(c, 4), c += b;
  b -= a, b ^= rotl(a, 6), a += c;
  c -= b, c ^= rotl(b, 8), b += a;
  a -= c, a ^= rotl(c, 16), c += b;
  b -= a, b ^= rotl(a, 19), a += c;
  c -= b, c ^= rotl(b, 4), b += a;
  a += key[3];
  c ^= b, c -= rotl(b, 14);
  a ^= c, a -= rotl(c, 11);
  b ^= a, b -= rotl(a, 25);
  c ^= b, c -= rotl(b, 16);
  a ^= c, a -= rotl(c, 4);
  b ^= a, b -= rotl(a, 14);
  c ^= b, c -= rotl(b, 24);
  return c;
}

constexpr std::uint32_t scaled(std::uint32_t value, std::uint32_t size) noexcept {
  return static_cast<std::uint32_t>((std::uint64_t{value} * size) >> 32);
}

}  // namespace

net::Address choose_address(const NatRange::Addresses& range, const net::Tuple& connection, bool persistent) noexcept {
  if (range.first == range.last) return range.first;
  const Words first = words_of(range.first), last = words_of(range.last);
  const std::size_t words = range.first.is_v4() ? 1 : 4;
  const Words service = words_of(connection.destination.address);
  std::uint32_t hash = jhash2(words_of(connection.source.address), persistent ? 0 : service[words - 1]);
  Words chosen{};
  bool anything = false;  // an earlier word is below the last address's: the rest is free
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint32_t low = anything ? 0 : swapped(first[i]);
    const std::uint32_t size = anything ? ~std::uint32_t{0} : swapped(last[i]) - low + 1;
    chosen[i] = swapped(low + scaled(hash, size));
    anything = anything || chosen[i] != last[i];
    if (!persistent) hash ^= chosen[i];
  }
  return net::Address::from_wire(range.first.family(), reinterpret_cast<const std::byte*>(chosen.data()));
}

std::uint16_t choose_port(const PortRange& range, std::uint16_t port, bool random, pick::Rng& rng) noexcept {
  if (range.contains(port) && (!random || range.first == range.last)) return port;
  const std::uint64_t size = std::uint64_t{range.last} - range.first + 1;
  return static_cast<std::uint16_t>(range.first + rng.uniform(size));
}

net::AddressPort choose_destination(const Dnat& nat, const net::Tuple& connection, pick::Rng& rng) noexcept {
  net::AddressPort to = connection.destination;
  if (nat.to.addresses) to.address = choose_address(*nat.to.addresses, connection, nat.persistent);
  if (!nat.to.ports) return to;
  if (!nat.to.base) {
    to.port = choose_port(*nat.to.ports, to.port, nat.random, rng);
    return to;
  }
  const unsigned size = nat.to.ports->last - nat.to.ports->first + 1U;
  const auto offset = static_cast<std::uint16_t>(to.port - *nat.to.base);
  to.port = static_cast<std::uint16_t>(nat.to.ports->first + offset % size);
  return to;
}

}  // namespace limpet::rules
