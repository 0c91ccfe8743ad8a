// Walks: which rules a packet meets, and how it ends. Expected paths follow ipt_do_table by hand.
#include "lb/rules/chains.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using test::Bench;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Path {
  const char* name;
  const char* program;
  const char* hits;
  End end;
};

TEST(Chains, AreWalkedAsTheKernelDoes) {
  const Path cases[] = {
      {"nothing matches: the policy", "-A OUTPUT -p tcp -j DROP\n", "", End::policy},
      {"the policy DROP", ":OUTPUT DROP [0:0]\n-A OUTPUT -p udp\n", "OUTPUT:1", End::drop},
      {"ACCEPT ends the walk", ":OUTPUT DROP [0:0]\n-A OUTPUT -j ACCEPT\n-A OUTPUT\n", "OUTPUT:1", End::accept},
      {"DROP ends the walk", "-A OUTPUT\n-A OUTPUT -j DROP\n-A OUTPUT\n", "OUTPUT:1 OUTPUT:2", End::drop},
      {"a jump comes back behind itself", "-A OUTPUT -j X\n-A OUTPUT\n-A X\n", "OUTPUT:1 X:1 OUTPUT:2", End::policy},
      {"RETURN leaves the chain", "-A OUTPUT -j X\n-A OUTPUT\n-A X -j RETURN\n-A X\n", "OUTPUT:1 X:1 OUTPUT:2",
       End::policy},
      {"RETURN in a built-in chain: the policy", ":OUTPUT DROP [0:0]\n-A OUTPUT -j RETURN\n-A OUTPUT -j ACCEPT\n",
       "OUTPUT:1", End::drop},
      {"a goto comes back where its chain was called from", "-A OUTPUT -j X\n-A OUTPUT\n-A X -g Y\n-A X\n-A Y\n",
       "OUTPUT:1 X:1 Y:1 OUTPUT:2", End::policy},
      {"a goto from a built-in chain: its policy", ":OUTPUT DROP [0:0]\n-A OUTPUT -g X\n-A OUTPUT -j ACCEPT\n-A X\n",
       "OUTPUT:1 X:1", End::drop},
      {"a chain twice", "-A OUTPUT -j X\n-A OUTPUT -j X\n-A X\n", "OUTPUT:1 X:1 OUTPUT:2 X:1", End::policy},
      {"an empty chain", ":X - [0:0]\n-A OUTPUT -j X\n-A OUTPUT\n", "OUTPUT:1 OUTPUT:2", End::policy},
      {"matches behind one that fails are not asked",
       "-A OUTPUT -p udp -m mark --mark 1 -m recent --set --name L\n-A OUTPUT -m recent --rcheck --name L\n", "",
       End::policy},
      {"MARK goes on, and what follows sees it",
       "-A OUTPUT -j MARK --set-xmark 0x5/0xffffffff\n-A OUTPUT -j MARK --set-xmark 0x10/0x10\n"
       "-A OUTPUT -m mark --mark 0x15\n-A OUTPUT -m mark ! --mark 0x10/0x10\n",
       "OUTPUT:1 OUTPUT:2 OUTPUT:3", End::policy},
      {"a user's chain that is entered directly", "-A X\n-A X -j Y\n-A Y -j RETURN\n", "X:1 X:2 Y:1", End::policy},
  };
  for (const Path& c : cases) {
    SCOPED_TRACE(c.name);
    Bench bench(c.program);
    ASSERT_THAT(bench.program.errors, IsEmpty());
    const std::string chain = std::string(c.name).starts_with("a user's") ? "X" : "OUTPUT";
    EXPECT_EQ(bench.path(chain), c.hits);
    EXPECT_EQ(Bench(c.program).walk(chain).end, c.end);
  }
}

TEST(Chains, NthCountsWhatReachesIt) {
  Bench bench(
      "-A OUTPUT -m mark --mark 7 -m statistic --mode nth --every 2 --packet 0 -j X\n"
      "-A OUTPUT -m statistic --mode nth --every 3 --packet 1\n"
      "-A X -j ACCEPT\n");
  std::string marked, plain;
  for (int i = 0; i < 6; ++i) {
    bench.facts.mark = 0;
    plain += bench.path("OUTPUT").empty() ? "." : "2";
    bench.facts.mark = 7;
    marked += bench.path("OUTPUT").find("OUTPUT:1") == std::string::npos ? "." : "1";
  }
  EXPECT_EQ(marked, "1.1.1.");
  // The second rule sees the plain packets and every other marked one: packets 2, 5, 8 of p p m p p m p p m …
  EXPECT_EQ(plain, ".2.2.2");
}

TEST(Chains, WithoutConsequencesNothingIsCountedOrRemembered) {
  Bench bench(
      "-A OUTPUT -m statistic --mode nth --every 2 --packet 1\n"
      "-A OUTPUT -m recent --set --name L --mask 255.255.255.255\n");
  const auto peek = [&] {
    std::vector<Hit> hits;
    bench.program.find(Table::raw)->walk("OUTPUT", bench.facts, {bench.jiffies, bench.rng, true}, &hits);
    return hits.size();
  };
  EXPECT_EQ(peek(), 1U);  // --set matches, packet 0 of 2 does not
  EXPECT_EQ(peek(), 1U);
  EXPECT_THAT(bench.memory.lists.find("L")->records(), IsEmpty());
  EXPECT_EQ(bench.path("OUTPUT"), "OUTPUT:2");
  EXPECT_EQ(peek(), 2U);
  EXPECT_EQ(bench.path("OUTPUT"), "OUTPUT:1 OUTPUT:2");
  EXPECT_THAT(bench.memory.lists.find("L")->records(), SizeIs(1));
}

TEST(Chains, TellWhatRecentSaid) {
  const std::string program =
      "-A OUTPUT -m recent --rcheck --seconds 10 --name L -j X\n"
      "-A OUTPUT -j MARK --set-xmark 0x1/0xffffffff\n"
      "-A OUTPUT -j X\n"
      "-A X -m recent --set --name L -j ACCEPT\n";
  Bench bench(program);
  const auto said = [&] {
    const Walk walk = bench.walk("OUTPUT");
    return std::string(walk.asked ? "asked" : "") + (walk.known ? " known" : "") + (walk.expired ? " expired" : "");
  };
  EXPECT_EQ(said(), "asked");
  EXPECT_EQ(said(), "asked known");
  bench.jiffies += 2500;
  EXPECT_EQ(said(), "asked known");
  bench.jiffies += 2501;
  EXPECT_EQ(said(), "asked expired");
  EXPECT_EQ(said(), "asked known");
}

struct Faulty {
  const char* name;
  std::string program;
  std::size_t line;
  const char* words;
};

TEST(Chains, WhatCannotBeLinkedNamesItsLine) {
  std::string deep;
  for (int i = 0; i <= 64; ++i) deep += "-A C" + std::to_string(i) + " -j C" + std::to_string(i + 1) + "\n";
  const Faulty cases[] = {
      {"no such chain", "-A OUTPUT\n-A OUTPUT -j NOWHERE\n", 2, "NOWHERE"},
      {"no such target", "-A OUTPUT -j NOTRACK\n", 1, "NOTRACK"},
      {"a built-in chain", "-A OUTPUT -j PREROUTING\n-A PREROUTING\n", 1, "built-in"},
      {"a loop of one", "-A X -j X\n", 1, "loop"},
      {"a loop of two, by goto", "-A X -j Y\n-A Y -g X\n", 2, "loop"},
      {"too deep", deep + "-A C65\n", 1, "64 deep"},
      {"no sets", "-A OUTPUT -m set --match-set S src\n", 1, "'S'"},
  };
  for (const Faulty& c : cases) {
    SCOPED_TRACE(c.name);
    const Bench strict(c.program);
    ASSERT_THAT(strict.program.errors, testing::Not(IsEmpty()));
    EXPECT_THAT(strict.program.errors.back().message, HasSubstr(c.words));
    EXPECT_EQ(strict.program.errors.back().line, c.line);
    Bench lenient(c.program, {.lenient = true});
    EXPECT_THAT(lenient.program.errors, IsEmpty());
    EXPECT_EQ(lenient.program.skipped.size(), strict.program.errors.size());
  }
}

/// Chain 0 leads to chain 1, that to chain 2, and so on; the last one accepts.
Ruleset row_of_chains(std::size_t length, bool jumps) {
  Ruleset rules;
  TableRules& raw = rules.table(Table::raw);
  for (std::size_t i = 0; i < length; ++i) {
    const std::string next = "C" + std::to_string(i + 1);
    Rule rule;
    rule.line = i + 1;
    if (jumps) {
      rule.target = Jump{next};
    } else {
      rule.target = Goto{next};
    }
    if (i + 1 == length) rule.target = Accept{};
    raw.chains.push_back({"C" + std::to_string(i), {}, {}, {rule}});
  }
  return rules;
}

// A crafted dump must not grow the stack.
TEST(Chains, RowsOfAnyLengthAreLinked) {
  constexpr std::size_t kLength = 200'000;
  RuleMemory memory({}, NthOnReload::reset);
  pick::Rng rng(1);
  LinkedRuleset gone = link(row_of_chains(kLength, false), memory, {.compiled = true});
  EXPECT_THAT(gone.errors, IsEmpty());
  std::vector<Hit> hits;
  Facts facts;
  EXPECT_EQ(gone.find(Table::raw)->walk("C0", facts, {1, rng}, &hits)->end, End::accept);
  EXPECT_THAT(hits, SizeIs(kLength));

  // Every 65th jump, counted from the end, is the first that goes too deep.
  const LinkedRuleset deep = link(row_of_chains(kLength, true), memory, {.compiled = true});
  EXPECT_THAT(deep.errors, SizeIs((kLength - 1) / 65));
  EXPECT_THAT(deep.errors.front().message, HasSubstr("64 deep"));
  EXPECT_EQ(deep.errors.front().line, kLength - 65);
}

TEST(Chains, LeftOutRulesKeepTheNumbersOfTheOthers) {
  Bench bench("-A OUTPUT -j NOTRACK\n-A OUTPUT -j ACCEPT\n", {.lenient = true});
  EXPECT_EQ(bench.path("OUTPUT"), "OUTPUT:2");
}

// Packets 1, 2, 3 meet the first match; the third is taken, so two meet the second. Compiled, the run is one.
TEST(Chains, TurnsAreCounted) {
  for (const bool compiled : {false, true}) {
    Bench bench(
        "-A OUTPUT -m statistic --mode nth --every 3 --packet 2 -j ACCEPT\n"
        "-A OUTPUT -m statistic --mode nth --every 2 --packet 0 -j ACCEPT\n-A OUTPUT -j ACCEPT\n",
        {.compiled = compiled});
    for (int packet = 0; packet < 3; ++packet) bench.walk("OUTPUT");
    EXPECT_EQ(bench.program.find(Table::raw)->nth_turns(), compiled ? 3U : 5U);
    pick::Rng rng(1);
    bench.program.find(Table::raw)->walk("OUTPUT", bench.facts, {1, rng, true});
    EXPECT_EQ(bench.program.find(Table::raw)->nth_turns(), compiled ? 3U : 5U) << "without consequences";
  }
}

// nft keeps a counter whose rule stays, legacy does not; a list lives while a rule names it in both.
TEST(Chains, ReloadKeepsWhatIsStillNamed) {
  for (const NthOnReload on_reload : {NthOnReload::reset, NthOnReload::persist}) {
    RuleMemory memory({}, on_reload);
    pick::Rng rng(1);
    const std::string first =
        "-A OUTPUT -m statistic --mode nth --every 3 --packet 0\n-A OUTPUT -m recent --set --name L\n";
    const std::string second = "-A OUTPUT -p udp\n" + first;
    const std::string third = "-A OUTPUT -p udp\n";
    Facts facts{.tuple = test::udp("10.0.0.1:1", "10.0.0.2:2"), .ttl = 9};
    const auto hits = [&](LinkedRuleset& program) {
      std::vector<Hit> found;
      program.find(Table::raw)->walk("OUTPUT", facts, {1, rng}, &found);
      return found.size();
    };
    const auto load = [&](const std::string& text) {
      return link(test::parsed(text, {.bare_rules = Table::raw}), memory);
    };
    LinkedRuleset program = load(first);
    EXPECT_EQ(hits(program), 2U);
    program = load(second);
    EXPECT_THAT(memory.lists.find("L")->records(), SizeIs(1));
    // Packet 1 of 3 where the counter goes on, packet 0 where it begins again.
    EXPECT_EQ(hits(program), on_reload == NthOnReload::persist ? 2U : 3U);
    program = load(third);
    EXPECT_EQ(memory.lists.find("L"), nullptr);
  }
}

}  // namespace
}  // namespace limpet::rules
