// fixture.h: clients, clocks and choices for the affinity tests.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include <gtest/gtest.h>

#include "lb/affinity/affinity.h"

namespace limpet::affinity {

inline constexpr store::HashKey kSecret{1, 2};
inline constexpr std::uint32_t kA = 11, kB = 22;  // endpoints
inline constexpr std::uint32_t kScope = 5;

/// Both families together: one entry more for IPv6 where a table keeps it apart.
inline AffinityOptions options(std::uint32_t capacity) {
  return {.capacity_v4 = capacity, .capacity_v6 = 0, .key = kSecret};
}
inline Key client(std::uint32_t n, std::uint32_t scope = kScope) {
  return {scope, net::Address::from_v4(0x0a000000 + n)};
}
inline Key client_v6(std::uint8_t n, std::uint32_t scope = kScope) {
  std::array<std::byte, 16> bytes{std::byte{0xfd}};
  bytes.back() = std::byte{n};
  return {scope, net::Address::from_wire(net::Family::v6, bytes.data())};
}
inline Instant ms(std::int64_t n) {
  return Instant{Milliseconds{n}};
}
inline constexpr auto always = [](std::uint32_t) { return true; };
inline constexpr auto never = [](std::uint32_t) { return false; };
inline auto choose(std::uint32_t endpoint) {
  return [endpoint] { return endpoint; };
}
inline std::uint32_t must_not_pick() {
  ADD_FAILURE() << "a remembered endpoint holds: nothing to pick";
  return 0;
}
inline std::string_view word(Outcome outcome) {
  constexpr std::string_view words[] = {"miss", "hit", "expired", "moved"};
  return words[static_cast<unsigned>(outcome)];
}
inline std::uint64_t evicted(const AffinityCounts& counts) {
  return counts.evicted_expired + counts.evicted_provisional + counts.evicted_confirmed;
}

}  // namespace limpet::affinity
