// rng.h: random numbers for the packet path.
//
//   Rng       xoshiro256** (Blackman and Vigna, 2018): 4 words of state, sub-nanosecond, one per worker; seeded by
//             splitmix64. Reproducible from its seed on every platform. Not for secrets
//   uniform   an unbiased number below n by Lemire's multiply and reject (2019): one multiplication, almost never a
//             division
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace limpet::pick {

class Rng {
 public:
  explicit constexpr Rng(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {  // splitmix64
      seed += 0x9e3779b97f4a7c15;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  /// Goes on from a state, at least one word of which is not 0.
  explicit constexpr Rng(const std::array<std::uint64_t, 4>& state) noexcept : state_(state) {}

  constexpr std::uint64_t operator()() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, n), n > 0. Exact: no modulo bias.
  constexpr std::uint64_t uniform(std::uint64_t n) noexcept {
    __extension__ using Wide = unsigned __int128;
    Wide product = static_cast<Wide>((*this)()) * n;
    if (static_cast<std::uint64_t>(product) < n) {
      const std::uint64_t threshold = -n % n;
      while (static_cast<std::uint64_t>(product) < threshold) product = static_cast<Wide>((*this)()) * n;
    }
    return static_cast<std::uint64_t>(product >> 64);
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace limpet::pick
