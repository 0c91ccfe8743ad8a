// Where chains could lead: every end that some chance and some memory lead to, and no other.
#include "lb/rules/reach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/rules/target_text.h"
#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// The targets, in order.
std::vector<std::string> reach(const std::string& text, const std::string& from = "10.0.0.1:1000",
                               const IpSets* sets = nullptr) {
  const Ruleset rules = test::parsed(text);
  const Facts facts{.tuple = test::tcp(from, "10.96.0.1:80"), .in_interface = "eth0", .ttl = 64};
  const Reach::Ends ends = Reach(*rules.find(Table::nat), sets).from("PREROUTING", facts);
  EXPECT_TRUE(ends.complete);
  std::vector<std::string> targets;
  for (const Rule* const rule : ends.rules) targets.push_back(print(rule->target));
  return targets;
}

std::string to(int pod) {
  return "-j DNAT --to-destination 10.2." + std::to_string(pod / 256) + "." + std::to_string(pod % 256);
}

TEST(Reach, ChanceAndMemoryGoBothWays) {
  EXPECT_THAT(reach("-A PREROUTING -m recent --rcheck --name A " + to(1) +
                    "\n"
                    "-A PREROUTING -m recent ! --update --name A " +
                    to(2) +
                    "\n"
                    "-A PREROUTING -m statistic --mode random --probability 0.5 " +
                    to(3) +
                    "\n"
                    "-A PREROUTING -m statistic --mode nth ! --every 3 --packet 1 " +
                    to(4) + "\n-A PREROUTING " + to(5) + "\n-A PREROUTING " + to(6) + "\n"),
              ElementsAre(to(1), to(2), to(3), to(4), to(5)));
}

TEST(Reach, WhatIsCertainIsOneWay) {
  struct Case {
    const char* match;
    bool matches;
  };
  const Case cases[] = {{"-m statistic --mode random --probability 1", true},
                        {"-m statistic --mode random --probability 0", false},
                        {"-m statistic --mode random ! --probability 0", true},
                        {"-m statistic --mode nth --every 1 --packet 0", true},
                        {"-m statistic --mode nth ! --every 1 --packet 0", false},
                        {"-m recent --set --name A", true},
                        {"-m recent ! --set --name A", false},
                        {"-d 10.96.0.1/32 -p tcp -m tcp --dport 80", true},
                        {"-d 10.96.0.1/32 -p tcp -m tcp --dport 81", false},
                        {"-m mark --mark 0x0/0xff", true},
                        {"-m comment --comment anything", true},
                        {"-m conntrack --ctstate NEW", true},
                        {"-i cbr0", false}};
  for (const Case& c : cases) {
    const auto ends = reach("-A PREROUTING " + std::string(c.match) + " " + to(1) + "\n-A PREROUTING " + to(2) + "\n");
    EXPECT_THAT(ends, ElementsAre(c.matches ? to(1) : to(2))) << c.match;
  }
}

TEST(Reach, OneNoAmongTheMatchesIsNo) {
  EXPECT_THAT(reach("-A PREROUTING -m statistic --mode random --probability 0.5 -m recent ! --set --name A " + to(1) +
                    "\n-A PREROUTING -m recent --rcheck --name A -m recent --set --name A " + to(2) + "\n"),
              ElementsAre(to(2)));
}

// The way on which every "maybe" holds comes first: it returns from A before A's second rule.
TEST(Reach, ChainsReturnToWhereTheyWereCalledFrom) {
  const std::string chains =
      "-A A -m statistic --mode random --probability 0.5 -j RETURN\n"
      "-A A -m recent --rcheck --name X " +
      to(1) + "\n";
  EXPECT_THAT(reach("-A PREROUTING -j A\n-A PREROUTING " + to(2) + "\n" + chains), ElementsAre(to(2), to(1)));
  EXPECT_THAT(reach("-A PREROUTING -g A\n-A PREROUTING " + to(2) + "\n" + chains), ElementsAre(to(1)))
      << "after a goto, the end of the chain is the policy";
  EXPECT_THAT(reach("-A PREROUTING -j B\n-A PREROUTING " + to(2) + "\n-A B -g A\n-A B " + to(3) + "\n" + chains),
              ElementsAre(to(2), to(1)));
}

TEST(Reach, MarksAreFollowed) {
  const std::string text =
      "-A PREROUTING -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0xffffffff\n"
      "-A PREROUTING -m mark --mark 0x1 " +
      to(1) + "\n-A PREROUTING -m mark --mark 0x2 " + to(2) + "\n-A PREROUTING -j MARK --set-xmark 0x2/0x2\n" +
      "-A PREROUTING -m mark --mark 0x2 " + to(3) + "\n-A PREROUTING " + to(4) + "\n";
  EXPECT_THAT(reach(text), ElementsAre(to(1), to(3)));
}

TEST(Reach, SetsAreLookedInto) {
  const IpSets sets = parse_ip_sets("create S hash:net family inet\nadd S 10.0.0.0/24\n", "sets");
  ASSERT_THAT(sets.errors, IsEmpty());
  const std::string text =
      "-A PREROUTING -m set --match-set S src " + to(1) + "\n-A PREROUTING -m set ! --match-set S src " + to(2) + "\n";
  EXPECT_THAT(reach(text, "10.0.0.1:1", &sets), ElementsAre(to(1)));
  EXPECT_THAT(reach(text, "10.0.1.1:1", &sets), ElementsAre(to(2)));
}

TEST(Reach, EveryKindOfEndEndsAWay) {
  for (const char* end : {"-j ACCEPT", "-j REDIRECT --to-ports 8080"}) {
    EXPECT_THAT(reach("-A PREROUTING -p tcp " + std::string(end) + "\n-A PREROUTING " + to(1) + "\n"),
                ElementsAre(end));
  }
  EXPECT_THAT(reach("-A PREROUTING -s 10.0.0.9/32 " + to(1) + "\n"), IsEmpty());
  const Ruleset rules = test::parsed("-A PREROUTING " + to(1) + "\n");
  EXPECT_THAT(Reach(*rules.find(Table::nat), nullptr).from("NONE", {}).rules, IsEmpty());
}

// A cascade, as kube-proxy writes it: a state for each rule. Were ways told apart by what they have met before, they
// would be 2^1000.
TEST(Reach, ACascadeIsLinear) {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    const std::string chain = "SEP" + std::to_string(i);
    text += "-A PREROUTING -m statistic --mode random --probability 0.5 -j " + chain + "\n-A " + chain +
            " -m recent --set --name " + chain + " " + to(i) + "\n";
  }
  EXPECT_EQ(reach(text).size(), 1000U);
}

}  // namespace
}  // namespace limpet::rules
