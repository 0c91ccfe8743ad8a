#include "lb/pick/rng.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::pick {
namespace {

// Outputs of the authors' xoshiro256starstar.c (prng.di.unimi.it) from the state {1, 2, 3, 4}; also the vector of the
// Rust crate rand_xoshiro. The first by hand: rotl(2 * 5, 7) * 9 = 1280 * 9 = 11520.
TEST(Rng, Xoshiro256StarStarReferenceVector) {
  Rng rng({1, 2, 3, 4});
  constexpr std::uint64_t kExpected[] = {
      11520U,
      0U,
      1509978240U,
      1215971899390074240U,
      1216172134540287360U,
      607988272756665600U,
      16172922978634559625U,
      8476171486693032832U,
      10595114339597558777U,
      2904607092377533576U,
  };
  for (const std::uint64_t expected : kExpected) EXPECT_EQ(rng(), expected);
}

// The state is four outputs of the author's splitmix64.c from the seed 1234567.
TEST(Rng, SeededBySplitmix64) {
  Rng seeded(1234567);
  Rng expected({6457827717110365317U, 3203168211198807973U, 9817491932198370423U, 4593380528125082431U});
  for (int i = 0; i < 8; ++i) EXPECT_EQ(seeded(), expected());
}

// On the words of the vector above.
TEST(Rng, UniformMultipliesAndRejects) {
  struct Case {
    const char* name;
    std::uint64_t n, expected;
  };
  // n = 1: everything is 0 and nothing is rejected. n = 2^63: the threshold is 2^64 mod 2^63 = 0, so nothing is
  // rejected: floor(11520 / 2) = 5760. n = 3 * 2^62: threshold 2^64 mod n = 2^62; low halves of word * n: 11520 * 3 *
  // 2^62 mod 2^64 = 34560 mod 4 = 0, rejected; 0, rejected; 1509978240 * 3 mod 4 = 0, rejected; and so on while the
  // word is a multiple of 4; the first that is not is the seventh, 16172922978634559625 = 1 mod 4: low half 3 * 2^62,
  // kept. The result is floor(16172922978634559625 * 3 / 4) = 12129692233975919718.
  constexpr Case kCases[] = {
      {"one", 1, 0},
      {"power of two", std::uint64_t{1} << 63, 5760},
      {"rejects", std::uint64_t{3} << 62, 12129692233975919718U},
  };
  for (const Case& c : kCases) {
    Rng rng({1, 2, 3, 4});
    EXPECT_EQ(rng.uniform(c.n), c.expected) << c.name;
  }
}

// A modulo of a 64-bit word by n = 3 * 2^62 would fall in the first third twice as often as in the others. Each count
// is binomial with p = 1/3; 5 sigma.
TEST(Rng, UniformHasNoBiasWhereModuloWouldHave) {
  constexpr std::uint64_t kSeed = 1, kDraws = 300'000, kThird = std::uint64_t{1} << 62;
  Rng rng(kSeed);
  std::vector<std::uint64_t> counts(3);
  for (std::uint64_t i = 0; i < kDraws; ++i) ++counts.at(rng.uniform(3 * kThird) / kThird);
  const double sigma = std::sqrt(kDraws * (1.0 / 3) * (2.0 / 3));
  for (const std::uint64_t count : counts)
    EXPECT_NEAR(static_cast<double>(count), kDraws / 3.0, 5 * sigma) << "seed " << kSeed;
}

}  // namespace
}  // namespace limpet::pick
