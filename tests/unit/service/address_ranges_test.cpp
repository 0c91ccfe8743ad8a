#include "lb/service/address_ranges.h"

#include <random>

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

TEST(AddressRanges, HoldNothingWhenTheyAreEmpty) {
  EXPECT_FALSE(AddressRanges({}).contain(ip("10.0.0.1")));
}

TEST(AddressRanges, TellFamiliesAndEdgesApart) {
  const AddressRanges ranges(std::vector{cidr("10.0.0.0/8"), cidr("203.0.113.7/32"), cidr("fd00::/16")});
  for (const char* const in : {"10.0.0.0", "10.255.255.255", "203.0.113.7", "fd00::", "fd00:ffff::1"}) {
    EXPECT_TRUE(ranges.contain(ip(in))) << in;
  }
  for (const char* const out : {"9.255.255.255", "11.0.0.0", "203.0.113.6", "203.0.113.8", "fcff::1", "fd01::", "::"}) {
    EXPECT_FALSE(ranges.contain(ip(out))) << out;
  }
}

TEST(AddressRanges, EverythingIsInThePrefixOfLengthZero) {
  const AddressRanges ranges(std::vector{cidr("0.0.0.0/0")});
  EXPECT_TRUE(ranges.contain(ip("0.0.0.0")));
  EXPECT_TRUE(ranges.contain(ip("255.255.255.255")));
  EXPECT_FALSE(ranges.contain(ip("::1")));
}

// Prefixes of a small space, nested, repeated and in any order, against asking each of them.
TEST(AddressRanges, AgreeWithAskingEachPrefix) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<net::Prefix> prefixes;
    for (unsigned i = random() % 8; i > 0; --i) {
      prefixes.emplace_back(net::Address::from_v4(0x0a000000 | random() % 256), 24 + random() % 9);
    }
    const AddressRanges ranges(prefixes);
    for (std::uint32_t low = 0; low < 256; ++low) {
      const net::Address address = net::Address::from_v4(0x0a000000 | low);
      const bool in = std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& p) { return p.contains(address); });
      ASSERT_EQ(ranges.contain(address), in) << address.to_string();
    }
  }
}

}  // namespace
}  // namespace limpet::service
