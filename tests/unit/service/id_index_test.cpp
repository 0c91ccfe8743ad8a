#include "lb/service/id_index.h"

#include <random>
#include <unordered_map>

#include <gtest/gtest.h>

namespace limpet::service {
namespace {

TEST(IdIndex, is_empty_at_first) {
  EXPECT_FALSE(IdIndex().find(1));
  EXPECT_FALSE(IdIndex(std::vector<IdIndex::Entry>{{0, 3}}).find(0)) << "0 is no id";
}

TEST(IdIndex, finds_what_a_map_finds) {
  std::mt19937 random(1);
  for (std::size_t size = 1; size < 200; size += 7) {
    std::vector<IdIndex::Entry> entries;
    for (std::uint32_t i = 0; i < size; ++i) {
      const bool far = random() % 2 == 0;
      entries.emplace_back(static_cast<std::uint32_t>(far ? random() : random() % 64), i);
    }
    std::unordered_map<std::uint32_t, std::uint32_t> model;
    for (const auto& [id, index] : entries) {
      if (id != 0) model.emplace(id, index);
    }
    const IdIndex index(entries);
    for (std::uint32_t id = 0; id < 100; ++id) {
      const auto known = model.find(id);
      EXPECT_EQ(index.find(id), known == model.end() ? std::nullopt : std::optional(known->second)) << id;
    }
    for (const auto& [id, place] : model) EXPECT_EQ(index.find(id), std::optional(place));
  }
}

}  // namespace
}  // namespace limpet::service
