#include "lb/datapath/counted_plan.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

L4Address entry(std::uint32_t n) {
  return {net::Protocol::tcp, {net::Address::from_v4(0x0a000000 + n), 80}};
}
DiversionPlan asks(std::vector<L4Address> services, std::vector<L4Address> endpoints = {}) {
  return {.services = std::move(services), .endpoints = std::move(endpoints), .locals = {}};
}

TEST(CountedPlan, diverts_as_long_as_one_part_asks) {
  CountedPlan plan;
  EXPECT_EQ(plan.change({}, asks({entry(2), entry(1)}, {entry(9)})),
            (PlanDelta{.added = asks({entry(1), entry(2)}, {entry(9)}), .removed = {}}));
  EXPECT_TRUE(plan.change({}, asks({entry(1)}, {entry(9)})).empty()) << "a second part";
  EXPECT_TRUE(plan.change(asks({entry(1)}, {entry(9)}), {}).empty()) << "the first is left";
  EXPECT_EQ(plan.change(asks({entry(1)}, {entry(9)}), {}),
            (PlanDelta{.added = {}, .removed = asks({entry(1)}, {entry(9)})}));
}

TEST(CountedPlan, a_part_in_place_of_another_changes_what_differs) {
  CountedPlan plan;
  plan.change({}, asks({entry(1), entry(2)}));
  EXPECT_EQ(plan.change(asks({entry(1), entry(2)}), asks({entry(2), entry(3)})),
            (PlanDelta{.added = asks({entry(3)}), .removed = asks({entry(1)})}));
}

TEST(CountedPlan, deltas_lead_from_one_whole_to_the_next) {
  std::mt19937 random(3);
  CountedPlan counted;
  DiversionPlan plan;
  std::map<int, DiversionPlan> parts;
  for (int round = 0; round < 500; ++round) {
    const int part = static_cast<int>(random() % 8);
    DiversionPlan next;
    for (std::size_t n = random() % 5; n > 0; --n)
      next.services.push_back(entry(static_cast<std::uint32_t>(random() % 10)));
    for (std::size_t n = random() % 5; n > 0; --n)
      next.endpoints.push_back(entry(static_cast<std::uint32_t>(random() % 10)));
    amend(plan, counted.change(parts[part], next));
    parts[part] = next;
    DiversionPlan whole;
    for (const auto& [number, each] : parts) whole = united(whole, each);
    ASSERT_EQ(plan, whole);
  }
}

}  // namespace
}  // namespace limpet::datapath
