// Cascades and endpoints by their shape. Shares are hand calculations, written beside them.
#include "lb/rules/balance.h"

#include <fstream>
#include <iterator>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/rules/completion.h"
#include "lb/rules/target_text.h"
#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using testing::DoubleEq;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Found {
  Ruleset rules;
  Balance balance;

  explicit Found(const std::string& text) : rules(test::parsed(text)) {
    complete(rules);
    balance = find_balance(rules);
  }
  const Cascade& in(const std::string& chain) const {
    for (const Cascade& cascade : balance.cascades) {
      if (rules.find(Table::nat)->chains[cascade.chain].name == chain) return cascade;
    }
    throw std::runtime_error("no cascade in " + chain);
  }
  const Leaf& leaf(std::uint32_t number) const { return balance.leaves[number]; }
  std::string to(std::uint32_t number) const {
    return print(leaf(number).to).substr(std::string("-j DNAT --to-destination ").size());
  }
  std::vector<std::string> picks(const Cascade& cascade) const {
    std::vector<std::string> names;
    for (const Pick& pick : cascade.picks) names.push_back(to(pick.leaf));
    return names;
  }
  std::vector<std::string> asks(const Cascade& cascade) const {
    std::vector<std::string> names;
    for (const Ask& ask : cascade.asks) names.push_back(ask.list.recent.name + " " + to(ask.leaf));
    return names;
  }
  static std::vector<double> shares(const Cascade& cascade) {
    std::vector<double> shares;
    for (const Pick& pick : cascade.picks) shares.push_back(pick.share);
    return shares;
  }
};

std::string seed_text() {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Balance, OfTheSeed) {
  const Found found(seed_text());
  EXPECT_THAT(found.balance.leaves, SizeIs(4));
  EXPECT_THAT(found.balance.cascades, SizeIs(2));
  const Cascade& all = found.in("KUBE-SVC-TLHPL6Z5YI33DALW");
  EXPECT_EQ(all.first, 0U);
  EXPECT_EQ(all.end, 8U);
  EXPECT_TRUE(all.even);
  EXPECT_EQ(all.rest, 0);
  EXPECT_THAT(all.demands, IsEmpty());
  EXPECT_THAT(found.picks(all), ElementsAre("10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"));
  EXPECT_THAT(found.asks(all),
              ElementsAre("KUBE-SEP-L7T7MUF6AEBEWCCN 10.28.6.5:80", "KUBE-SEP-LRDQVXAG5PE7TSRT 10.28.7.6:80",
                          "KUBE-SEP-SGFKGWTTGOP4QXUH 10.28.8.5:80", "KUBE-SEP-IYELN4HVX6HRBXNW 10.28.8.6:80"));
  // 0.25; 0.75 * 0.33333 = 0.2499975; 0.75 * 0.66667 * 0.5 = 0.25000125, twice. Thresholds round by 2^-32.
  EXPECT_THAT(Found::shares(all), ElementsAre(DoubleNear(0.25, 1e-9), DoubleNear(0.2499975, 1e-9),
                                              DoubleNear(0.25000125, 1e-9), DoubleNear(0.25000125, 1e-9)));
  const Cascade& local = found.in("KUBE-XLB-TLHPL6Z5YI33DALW");
  EXPECT_THAT(found.picks(local), ElementsAre("10.28.8.5:80", "10.28.8.6:80"));
  EXPECT_THAT(Found::shares(local), ElementsAre(DoubleEq(0.5), DoubleEq(0.5)));
  EXPECT_TRUE(local.even);
  for (const Ask& ask : local.asks) {
    EXPECT_EQ(ask.list.recent.operation, affinity::RecentOperation::rcheck);
    EXPECT_EQ(ask.list.recent.seconds, 10800U);
    EXPECT_TRUE(ask.list.recent.reap);
    EXPECT_TRUE(ask.list.own);
  }
}

TEST(Balance, EndpointsOfTheSeedMarkHairpinsAndRemember) {
  const Found found(seed_text());
  for (const Leaf& leaf : found.balance.leaves) {
    const std::string address = std::get<Dnat>(leaf.to).to.addresses->first.to_string();
    ASSERT_THAT(leaf.marks, SizeIs(1));
    EXPECT_EQ(print(leaf.marks[0].when, net::Family::v4), "-s " + address + "/32");
    EXPECT_EQ(leaf.marks[0].mark, (SetMark{0x4000, 0x4000}));
    EXPECT_EQ(leaf.marks[0].at, (RuleAt{*leaf.chain, 0}));
    EXPECT_EQ(leaf.rule, (RuleAt{*leaf.chain, 1}));
    EXPECT_EQ(print(leaf.demands, net::Family::v4), "-p tcp");
    ASSERT_THAT(leaf.remembers, SizeIs(1));
    EXPECT_EQ(leaf.remembers[0].recent.operation, affinity::RecentOperation::set);
    EXPECT_EQ(leaf.remembers[0].recent.name, found.rules.find(Table::nat)->chains[*leaf.chain].name);
    EXPECT_EQ(leaf.remembers[0].match, 1U);  // behind the comment
    EXPECT_TRUE(leaf.remembers[0].own);
  }
}

const std::string kTwo = "-A A -j DNAT --to-destination 10.0.0.1\n-A B -j DNAT --to-destination 10.0.0.2\n";

TEST(Balance, SharesOfAnyCascade) {
  struct Case {
    const char* name;
    std::string rules;  // of chain C, "?" and what is drawn; each leads to A
    std::vector<double> shares;
    double rest;
    bool even;
  };
  const auto random = [](const std::string& p) { return "-m statistic --mode random --probability " + p; };
  const auto nth = [](int n, int p) {
    return "-m statistic --mode nth --every " + std::to_string(n) + " --packet " + std::to_string(p);
  };
  const auto chain = [](const std::vector<std::string>& draws) {
    std::string text;
    for (const std::string& draw : draws) text += "-A C " + draw + " -j A\n";
    return text;
  };
  const Case cases[] = {
      {"one", chain({""}), {1}, 0, true},
      {"thirds", chain({random("0.3333333333"), random("0.5"), ""}), {1. / 3, 1. / 3, 1. / 3}, 0, true},
      {"1/10, then half of the rest", chain({random("0.1"), random("0.5"), ""}), {.1, .45, .45}, 0, false},
      {"nothing certain", chain({random("0.5"), random("0.5")}), {.5, .25}, .25, false},
      {"never, always", chain({random("0"), random("1")}), {0, 1}, 0, false},
      {"inverted", chain({"-m statistic --mode random ! --probability 0.2", ""}), {.8, .2}, 0, false},
      {"round robin", chain({nth(3, 0), nth(2, 0), nth(1, 0)}), {1. / 3, 1. / 3, 1. / 3}, 0, true},
      {"round robin, the last without a match", chain({nth(3, 0), nth(2, 0), ""}), {1. / 3, 1. / 3, 1. / 3}, 0, true},
      {"every third", chain({nth(3, 1)}), {1. / 3}, 2. / 3, false},
      {"mixed", chain({nth(4, 0), random("0.5"), ""}), {.25, .375, .375}, 0, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Found found(kTwo + c.rules);
    const Cascade& cascade = found.in("C");
    ASSERT_EQ(cascade.picks.size(), c.shares.size());
    // Thresholds are multiples of 2^-31.
    for (std::size_t i = 0; i < c.shares.size(); ++i) EXPECT_NEAR(cascade.picks[i].share, c.shares[i], 1e-9);
    EXPECT_NEAR(cascade.rest, c.rest, 1e-9);
    EXPECT_EQ(cascade.even, c.even);
  }
}

TEST(Balance, InABuiltInChainEachRuleRepeatsTheDemands) {
  const Found found(
      "-A PREROUTING -d 10.9.9.9 -p tcp --dport 80 -m recent --rcheck --seconds 60 --name a -m recent --set --name a "
      "-j DNAT --to-destination 10.0.0.1:8080\n"
      "-A PREROUTING -d 10.9.9.9 -p tcp --dport 80 -m statistic --mode random --probability 0.25 "
      "-m recent --set --name a -j DNAT --to-destination 10.0.0.1:8080\n"
      "-A PREROUTING -p tcp --dport 80 -d 10.9.9.9 -j DNAT --to-destination 10.0.0.2:8080\n"
      "-A PREROUTING -d 10.9.9.9 -p tcp --dport 443 -j DNAT --to-destination 10.0.0.3\n");
  ASSERT_THAT(found.balance.cascades, SizeIs(2));
  const Cascade& first = found.balance.cascades[0];
  EXPECT_EQ(print(first.demands, net::Family::v4), "-d 10.9.9.9/32 -p tcp --dport 80");
  EXPECT_THAT(found.asks(first), ElementsAre("a 10.0.0.1:8080"));
  EXPECT_THAT(found.picks(first), ElementsAre("10.0.0.1:8080", "10.0.0.2:8080"));
  EXPECT_THAT(Found::shares(first), ElementsAre(DoubleEq(.25), DoubleEq(.75)));
  EXPECT_TRUE(first.asks[0].list.own);
  EXPECT_THAT(found.leaf(first.picks[0].leaf).remembers, SizeIs(1));
  EXPECT_EQ(found.leaf(first.picks[0].leaf).chain, std::nullopt);
  EXPECT_EQ(found.balance.beginning_at({first.chain, 3}), &found.balance.cascades[1]);
  EXPECT_EQ(found.balance.beginning_at({first.chain, 0}), &first);
  EXPECT_EQ(found.balance.beginning_at({first.chain, 1}), nullptr);
}

TEST(Balance, ARuleThatRemembersAndAnotherThatTranslatesAreOneEndpoint) {
  const Found found(
      "-A SEP -s 10.0.0.1 -j MARK --or-mark 0x4000\n-A SEP -m recent --set --name a\n"
      "-A SEP -p udp -j DNAT --to-destination 10.0.0.1:53\n-A C -j SEP\n");
  ASSERT_THAT(found.balance.leaves, SizeIs(1));
  EXPECT_THAT(found.leaf(0).remembers, SizeIs(1));
  EXPECT_EQ(found.leaf(0).remembers[0].at.rule, 1U);
  EXPECT_EQ(found.leaf(0).rule.rule, 2U);
  EXPECT_EQ(found.leaf(0).marks[0].mark, (SetMark{0x4000, 0x4000}));
}

TEST(Balance, WhatIsNoCascadeIsNone) {
  const std::pair<const char*, std::string> cases[] = {
      {"an inverted question", "-A C -m recent ! --rcheck --name a -j A\n"},
      {"a list that is emptied", "-A C -m recent --remove --name a -j A\n"},
      {"two draws",
       "-A C -m statistic --mode random --probability .5 -m statistic --mode random --probability .5 -j A\n"},
      {"remembers before it draws", "-A C -m recent --set --name a -m statistic --mode random --probability .5 -j A\n"},
      {"counts others' packets, too",
       "-A C -p tcp -m statistic --mode nth --every 2 --packet 0 -m tcp --dport 80 -j A\n"},
      {"leads to no endpoint", "-A D -j ACCEPT\n-A C -j D\n"},
      {"an endpoint that may let go on", "-A D -p tcp -j RETURN\n-A D -j DNAT --to-destination 10.0.0.9\n-A C -j D\n"},
      {"remembers whom it does not translate",
       "-A D -m recent --rcheck --name a\n-A D -j DNAT --to-destination 10.0.0.9\n-A C -j D\n"},
      {"a verdict", "-A C -j ACCEPT\n"},
  };
  for (const auto& [name, rules] : cases) {
    SCOPED_TRACE(name);
    const Found found(kTwo + rules);
    for (const Cascade& cascade : found.balance.cascades) {
      EXPECT_NE(found.rules.find(Table::nat)->chains[cascade.chain].name, "C");
    }
  }
}

TEST(Balance, ListsThatOthersTouchAreNotItsOwn) {
  const std::string ask = "-A C -m recent --rcheck --seconds 9 --name a -j A\n-A C -j B\n";
  const std::string set = "-A A -m recent --set --name a -j DNAT --to-destination 10.0.0.1\n";
  const std::string other = "-A B -j DNAT --to-destination 10.0.0.2\n";
  const std::pair<std::string, bool> cases[] = {
      {set + other + ask, true},
      {set + other + ask + "-A C2 -m recent --rcheck --seconds 9 --name a -j A\n-A C2 -j B\n", true},
      {set + other + ask + "-A OUTPUT -m recent --remove --name a -j RETURN\n", false},
      {set + other + ask + "*filter\n-A INPUT -m recent --rcheck --name a -j DROP\nCOMMIT\n", false},
      {set + other + ask + "-A C2 -m recent --rcheck --seconds 9 --name a -j B\n", false},
      {set + other + ask + "-A C2 -m recent --rcheck --name a --mask 255.255.0.0 -j A\n", false},
      {set + other + ask + "-A C2 -m recent --rcheck --name a --rdest -j A\n", false},
      {set + "-A B -m recent --set --name a -j DNAT --to-destination 10.0.0.2\n" + ask, false},
  };
  for (const auto& [rules, own] : cases) {
    SCOPED_TRACE(rules);
    const Found found(rules);
    EXPECT_EQ(found.in("C").asks[0].list.own, own);
  }
}

TEST(Balance, AnEndpointThatIsAskedForAfterAPickBeginsAnotherCascade) {
  const Found found(kTwo +
                    "-A C -m statistic --mode random --probability 0.5 -j A\n"
                    "-A C -m recent --rcheck --name b -j B\n-A C -j A\n-A C -j B\n");
  ASSERT_THAT(found.balance.cascades, SizeIs(3));
  EXPECT_EQ(found.balance.cascades[0].end, 1U);
  EXPECT_DOUBLE_EQ(found.balance.cascades[0].rest, .5);
  EXPECT_EQ(found.balance.cascades[1].end, 3U);
  EXPECT_THAT(found.asks(found.balance.cascades[1]), ElementsAre("b 10.0.0.2"));
  EXPECT_EQ(found.balance.cascades[2].first, 3U);  // never reached
}

}  // namespace
}  // namespace limpet::rules
