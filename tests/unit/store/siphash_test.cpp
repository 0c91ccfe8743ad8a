#include "conntrack/store/siphash.h"

#include <array>
#include <bit>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::store {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the vectors below assume words that are little-endian bytes");

/// The bytes 0, 1, 2, … as words.
std::vector<std::uint64_t> counting_words(std::size_t n) {
  std::vector<std::uint64_t> words(n);
  for (std::size_t i = 0; i < 8 * n; ++i) words[i / 8] |= std::uint64_t{i} << (8 * (i % 8));
  return words;
}

// The reference implementation's vectors for SipHash-1-3 (github.com/veorq/SipHash with cROUNDS 1 and dROUNDS 3; the
// same table is test_siphash_1_3 of the Rust core library): key bytes 00 … 0f, message i is the bytes 00 … i-1. Those
// whose length is a multiple of eight, the digest's bytes read as a little-endian word.
TEST(SipHash13, ReferenceVectors) {
  constexpr HashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  constexpr std::array<std::uint64_t, 8> kDigests = {
      0xabac0158050fc4dc,  //  0 bytes
      0x369095118d299a8e,  //  8
      0xcc4fdd1a7d908b66,  // 16
      0xf464aeb267349c8c,  // 24
      0x81157b6c16a7b60d,  // 32
      0xc1d2363299e41531,  // 40
      0x9f3143f8df074c46,  // 48
      0xb4bcc0db243c6d75,  // 56
  };
  for (std::size_t words = 0; words < kDigests.size(); ++words)
    EXPECT_EQ(siphash13(kKey, counting_words(words)), kDigests[words]) << words << " words";
}

// The same implementation with an all-zero key, as in the OCaml runtime's test of caml_hash_string_sip13.
TEST(SipHash13, ReferenceVectorOfTheZeroKey) {
  EXPECT_EQ(siphash13({}, {}), 0xd1fba762150c532cU);
}

}  // namespace
}  // namespace limpet::store
