// The index says of many lists what each of them says of itself.
#include "lb/affinity/recent_index.h"

#include <gtest/gtest.h>

#include "lb/pick/rng.h"
#include "tests/unit/affinity/recent_fixture.h"

namespace limpet::affinity {
namespace {

RecentMatch set_in(const std::string& list) {
  RecentMatch match = kSet;
  match.name = list;
  return match;
}

TEST(RecentIndex, FollowsItsLists) {
  const std::string names[] = {"A", "B", "C"};
  RecentLists lists({.capacity = 5});
  std::vector<std::shared_ptr<RecentTable>> tables;
  for (const std::string& name : names) tables.push_back(*lists.open(set_in(name)));
  tables.push_back(tables[0]);             // twice: number 3 is number 0
  tables[1]->add(address("10.0.0.1"), 1);  // before there is an index
  const RecentIndex index(tables, {});
  pick::Rng rng(1);
  for (std::uint64_t now = 2; now < 3000; ++now) {
    RecentTable& table = *tables[rng.uniform(3)];
    const std::string who = "10.0.0." + std::to_string(rng.uniform(9));
    switch (rng.uniform(8)) {
      case 0:
        table.erase(address(who));
        break;
      case 1:
        if (rng.uniform(20) == 0) table.flush();
        break;
      case 2:
        table.match(with_reap(kRcheck, 1), from(who), now * 20);
        break;
      default:
        table.match(kSet, from(who), now * 20);  // at capacity, another goes
    }
    for (int i = 0; i < 9; ++i) {
      const net::Address asked = address("10.0.0." + std::to_string(i));
      for (std::uint32_t start = 0; start <= tables.size(); ++start) {
        std::uint32_t expected = RecentIndex::kNone;
        for (std::uint32_t list = start; list < tables.size() && expected == RecentIndex::kNone; ++list) {
          for (const RecentRecord& record : tables[list]->records()) {
            if (record.address == asked) expected = list;
          }
        }
        ASSERT_EQ(index.first(asked, start), expected) << now << " " << i << " from " << start;
      }
    }
  }
}

// An index that goes leaves the lists as they are.
TEST(RecentIndex, ListsOutliveIt) {
  RecentLists lists({});
  const auto table = *lists.open(set_in("A"));
  { const RecentIndex index({table}, {}); }
  table->add(address("10.0.0.1"), 1);
  EXPECT_EQ(table->records().size(), 1U);
}

}  // namespace
}  // namespace limpet::affinity
