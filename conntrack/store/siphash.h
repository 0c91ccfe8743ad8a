// siphash.h: SipHash-1-3, a keyed hash for tables whose keys an attacker chooses.
//
// Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with c = 1 compression and d = 3 finalisation
// rounds per 64-bit word: the variant that hash tables use. Without the key, collisions cannot be prepared; a new key
// is drawn at every start. Input here is a fixed number of 64-bit words, so no length padding is needed beyond the
// final length word.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace limpet::store {

struct HashKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
};

namespace detail {
struct SipState {
  std::uint64_t v0, v1, v2, v3;
  constexpr void round() noexcept {
    v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
    v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
  }
  constexpr void absorb(std::uint64_t word) noexcept {
    v3 ^= word;
    round();
    v0 ^= word;
  }
};
}  // namespace detail

/// SipHash-1-3 of words in native order (equal to the byte-wise definition on a little-endian machine).
constexpr std::uint64_t siphash13(const HashKey& key, std::span<const std::uint64_t> words) noexcept {
  detail::SipState s{key.k0 ^ 0x736f6d6570736575, key.k1 ^ 0x646f72616e646f6d, key.k0 ^ 0x6c7967656e657261,
                     key.k1 ^ 0x7465646279746573};
  for (const std::uint64_t word : words) s.absorb(word);
  s.absorb(static_cast<std::uint64_t>(words.size() * 8) << 56);
  s.v2 ^= 0xff;
  s.round(), s.round(), s.round();
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

}  // namespace limpet::store
