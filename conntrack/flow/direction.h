// direction.h: which way a packet of a flow goes.
#pragma once

#include <cstdint>

namespace limpet::flow {

enum class Direction : std::uint8_t {
  original,  // from the client
  reply,     // from the endpoint
};

constexpr Direction other(Direction direction) noexcept {
  return direction == Direction::original ? Direction::reply : Direction::original;
}

/// A set of directions.
class Directions {
 public:
  constexpr bool has(Direction direction) const noexcept { return bits_ >> static_cast<unsigned>(direction) & 1; }
  constexpr void add(Direction direction) noexcept {
    bits_ = static_cast<std::uint8_t>(bits_ | 1u << static_cast<unsigned>(direction));
  }
  constexpr void remove(Direction direction) noexcept {
    bits_ = static_cast<std::uint8_t>(bits_ & ~(1u << static_cast<unsigned>(direction)));
  }

 private:
  std::uint8_t bits_ = 0;
};

}  // namespace limpet::flow
