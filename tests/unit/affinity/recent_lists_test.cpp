// What rules may say, and how lists come, stay and go with the rules that name them.
#include "lb/affinity/recent_lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/affinity/recent_fixture.h"

namespace limpet::affinity {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

RecentMatch named(RecentMatch match, const std::string& name) {
  match.name = name;
  return match;
}

// Which the kernel takes: recent_mt_check, and tried on Linux 6.18.
TEST(RecentMatch, OptionsOfRcheckAndUpdateAlone) {
  for (const RecentMatch& match : {kSet, kRemove}) {
    EXPECT_TRUE(check(match));
    EXPECT_TRUE(check(inverted(match)));
    for (const RecentMatch& bad :
         {with_seconds(match, 5), with_hitcount(match, 1), with_rttl(match), with_reap(match, 0)}) {
      const auto answer = check(bad);
      ASSERT_FALSE(answer);
      EXPECT_EQ(answer.error().kind, store::ErrorKind::configuration);
      EXPECT_THAT(answer.error().message, HasSubstr("list 'L': --set and --remove take no"));
    }
  }
  for (const RecentMatch& match : {kRcheck, kUpdate}) {
    EXPECT_TRUE(check(match));
    EXPECT_TRUE(check(with_rttl(inverted(with_hitcount(with_reap(match, 1), 65535)))));
    EXPECT_TRUE(check(with_hitcount(match, 0)));
    EXPECT_THAT(check(with_reap(match, 0)).error().message, HasSubstr("--reap needs --seconds"));
    EXPECT_THAT(check(with_hitcount(match, 65536)).error().message, HasSubstr("at most 65535"));
  }
}

TEST(RecentMatch, ANameMustDoAsAFileName) {
  for (const std::string& good : {std::string("a"), std::string("KUBE-SEP-CCUDMMO4MLTJPJZN"), std::string("..."),
                                  std::string("a b"), std::string(199, 'n')}) {
    EXPECT_TRUE(check(named(kSet, good))) << good;
  }
  for (const std::string& bad : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                 std::string(200, 'n'), std::string("a\0b", 3)}) {
    EXPECT_THAT(check(named(kSet, bad)).error().message, HasSubstr("--name must do as a file's name")) << bad;
  }
}

TEST(RecentOptions, AreChecked) {
  EXPECT_TRUE(check(RecentOptions{}));
  EXPECT_TRUE(check(RecentOptions{.capacity = RecentOptions::kUnlimited, .least_stamps = 65536}));
  EXPECT_THAT(check(RecentOptions{.least_stamps = 65537}).error().message, HasSubstr("at most 65536"));
  EXPECT_THAT(check(RecentOptions{.per_second = 0}).error().message, HasSubstr("0 ticks"));
}

TEST(RecentLists, ABadRuleChangesNothing) {
  RecentLists lists({});
  EXPECT_FALSE(lists.open(with_seconds(kSet, 1)));
  EXPECT_THAT(lists.names(), IsEmpty());
  const auto good = lists.open(kSet);
  (*good)->match(kSet, from("10.0.0.1"), 1);
  EXPECT_FALSE(lists.open(with_hitcount(kRcheck, 70'000)));
  EXPECT_THAT(order(**good), ElementsAre("10.0.0.1"));
}

TEST(RecentLists, ANameIsOneList) {
  RecentLists lists({});
  const auto set = lists.open(kSet);
  const auto other = lists.open(named(kSet, "M"));
  const auto rcheck = lists.open(kRcheck);
  EXPECT_EQ(*set, *rcheck);
  EXPECT_NE(*set, *other);
  EXPECT_EQ(lists.find("L"), *set);
  EXPECT_EQ(lists.find("N"), nullptr);
  EXPECT_THAT(lists.names(), ElementsAre("L", "M"));
}

TEST(RecentLists, LiveAsLongAsARuleNamesThem) {
  RecentLists lists({});
  auto first = *lists.open(masked(kSet, "255.255.255.0"));
  first->match(kSet, from("10.1.2.3"), 1);
  // A reload: the new program's rule first, with another mask, then the old one lets go.
  auto second = *lists.open(masked(kSet, "255.0.0.0"));
  first.reset();
  ASSERT_NE(lists.find("L"), nullptr);
  EXPECT_THAT(order(*second), ElementsAre("10.1.2.0"));
  second->match(kSet, from("10.9.9.9"), 2);
  EXPECT_THAT(order(*second), ElementsAre("10.1.2.0", "10.9.9.0")) << "the first rule's mask stays";
  second.reset();
  EXPECT_EQ(lists.find("L"), nullptr);
  EXPECT_THAT(lists.names(), IsEmpty());
  const auto third = *lists.open(masked(kSet, "255.0.0.0"));
  EXPECT_THAT(order(*third), IsEmpty());
  third->match(kSet, from("10.9.9.9"), 3);
  EXPECT_THAT(order(*third), ElementsAre("10.0.0.0"));
}

TEST(RecentLists, AGreaterHitcountFlushes) {
  RecentLists lists({});
  const auto set = *lists.open(kSet);
  set->match(kSet, from("10.0.0.1"), 1);
  const auto twenty = *lists.open(with_hitcount(kRcheck, 20));
  EXPECT_THAT(order(*set), ElementsAre("10.0.0.1"));
  const auto forty = *lists.open(with_hitcount(kRcheck, 40));
  EXPECT_THAT(order(*set), IsEmpty());
  EXPECT_EQ(set->ring(), 64U);
}

}  // namespace
}  // namespace limpet::affinity
