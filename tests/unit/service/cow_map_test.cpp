// A copy keeps what it had when the other is changed, and a map does what std::unordered_map does.
#include "lb/service/cow_map.h"

#include <random>
#include <string>
#include <unordered_map>

#include <gtest/gtest.h>

namespace limpet::service {
namespace {

/// Tells keys apart, but spreads no bit: as an address's bytes would.
struct Plain {
  std::size_t operator()(std::uint32_t key) const noexcept { return key; }
};
using Map = CowMap<std::uint32_t, std::string, Plain>;

void expect_same(const Map& map, const std::unordered_map<std::uint32_t, std::string>& model) {
  ASSERT_EQ(map.size(), model.size());
  for (const auto& [key, value] : model) {
    const std::string* const found = map.find(key);
    ASSERT_NE(found, nullptr) << key;
    EXPECT_EQ(*found, value);
  }
  std::size_t visited = 0;
  map.for_each([&](std::uint32_t key, const std::string& value) {
    ++visited;
    EXPECT_EQ(model.at(key), value);
  });
  EXPECT_EQ(visited, model.size());
}

TEST(CowMap, is_empty_at_first) {
  const Map map;
  EXPECT_EQ(map.size(), 0u);
  EXPECT_EQ(map.find(7), nullptr);
}

TEST(CowMap, does_what_a_map_does_and_copies_stay_as_they_were) {
  std::mt19937 random(1);
  Map map;
  std::unordered_map<std::uint32_t, std::string> model;
  for (int round = 0; round < 20; ++round) {
    const Map copy = map;
    const auto copied = model;
    for (int i = 0; i < 2000; ++i) {
      const std::uint32_t key = static_cast<std::uint32_t>(random() % 3000) << 16;  // the low bits alike
      if (random() % 3 == 0) {
        EXPECT_EQ(map.erase(key), model.erase(key) == 1);
      } else {
        const std::string value = std::to_string(random());
        map.set(key, value);
        model[key] = value;
      }
    }
    expect_same(map, model);
    expect_same(copy, copied);
  }
}

TEST(CowMap, shares_what_a_change_leaves_alone) {
  Map map;
  for (std::uint32_t key = 0; key < 10'000; ++key) map.set(key, "a");
  Map changed = map;
  changed.set(5, "b");
  int shared = 0;
  for (std::uint32_t key = 0; key < 10'000; ++key) shared += map.find(key) == changed.find(key) ? 1 : 0;
  EXPECT_GT(shared, 9'900);
  EXPECT_EQ(*map.find(5), "a");
}

TEST(CowMap, erasing_nothing_copies_nothing) {
  Map map;
  map.set(1, "a");
  Map copy = map;
  EXPECT_FALSE(copy.erase(2));
  EXPECT_EQ(copy.find(1), map.find(1));
}

}  // namespace
}  // namespace limpet::service
