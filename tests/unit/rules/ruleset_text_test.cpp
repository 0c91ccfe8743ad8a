// A whole dump: tables, chains, policies, counters, and what stands around them.
#include "lb/rules/ruleset_text.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::rules {
namespace {

using net::Family;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kDump = R"(*raw
:PREROUTING ACCEPT [10:600]
:OUTPUT DROP [0:0]
:MINE - [0:0]
[3:180] -A PREROUTING -i eth0 -j MINE
[2:120] -A MINE -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [7:420]
-A POSTROUTING -j MASQUERADE
COMMIT
)";

TEST(RulesetText, DumpIsReadAndPrintedTheSame) {
  const ReadRuleset read = parse_ruleset(kDump);
  ASSERT_THAT(read.errors, IsEmpty());
  ASSERT_THAT(read.rules.tables, SizeIs(2));
  EXPECT_EQ(read.rules.family, Family::v4);
  const TableRules& raw = read.rules.tables[0];
  EXPECT_EQ(raw.table, Table::raw);
  ASSERT_THAT(raw.chains, SizeIs(3));
  EXPECT_EQ(raw.chains[0].policy, Policy::accept);
  EXPECT_EQ(raw.chains[0].counters, (Counters{10, 600}));
  EXPECT_EQ(raw.chains[1].policy, Policy::drop);
  EXPECT_EQ(raw.chains[2].policy, std::nullopt);
  ASSERT_THAT(raw.chains[2].rules, SizeIs(1));
  EXPECT_EQ(raw.chains[2].rules[0].counters, (Counters{2, 120}));
  EXPECT_EQ(raw.chains[2].rules[0].line, 6U);
  EXPECT_EQ(print(read.rules), kDump);
}

TEST(RulesetText, ListingOfIptablesSIsReadAsTheTableAskedFor) {
  const std::string listing =
      "-P PREROUTING ACCEPT -c 4 240\n"
      "-P OUTPUT DROP\n"
      "-N MINE\n"
      "-A PREROUTING -c 1 60 -j MINE\n";
  const ReadRuleset read = parse_ruleset(listing, {.bare_rules = Table::raw});
  ASSERT_THAT(read.errors, IsEmpty());
  EXPECT_EQ(print(read.rules),
            "*raw\n:PREROUTING ACCEPT [4:240]\n:OUTPUT DROP [0:0]\n:MINE - [0:0]\n"
            "[1:60] -A PREROUTING -j MINE\nCOMMIT\n");
}

TEST(RulesetText, AnythingElseIsProse) {
  const std::string document = R"(# How *nat* works

- a list of bullets
* another
-----
By looking at the table we see: it works. `-A` appends.

```sh
# iptables -t nat -S | grep web
    -A WEB -p tcp -j RETURN
```
[a link](somewhere) and [1:2] in a text
)";
  const ReadRuleset read = parse_ruleset(document);
  ASSERT_THAT(read.errors, IsEmpty());
  EXPECT_EQ(print(read.rules), "*nat\n:WEB - [0:0]\n-A WEB -p tcp -j RETURN\nCOMMIT\n");
  EXPECT_EQ(read.rules.tables[0].chains[0].rules[0].line, 10U);
}

TEST(RulesetText, FamilyIsThatOfTheFirstAddress) {
  const auto family = [](const std::string& text) { return parse_ruleset(text).rules.family; };
  EXPECT_EQ(family("-A X -j RETURN\n-A X -s fd00::/8 -j RETURN\n"), Family::v6);
  EXPECT_EQ(family("-A X -p tcp -j DNAT --to-destination [fd00::1]:80\n"), Family::v6);
  EXPECT_EQ(family("the address fd00::1 in a text\n-A X -d 10.0.0.1\n"), Family::v4);
  EXPECT_EQ(family("-A X -j RETURN\n"), Family::v4);
  EXPECT_EQ(parse_ruleset("-A X -j RETURN\n", {.family = Family::v6}).rules.family, Family::v6);
}

struct Faulty {
  const char* text;
  std::size_t line;
  const char* words;
};

TEST(RulesetText, FaultyLinesAreNamed) {
  const Faulty cases[] = {
      {"*security\n:INPUT ACCEPT [0:0]\n-A INPUT -j X\nCOMMIT\n", 1, "*security"},
      {"*nat\n:PREROUTING ACCEPT [0]\n", 2, "[0]"},
      {"*nat\n:PREROUTING MAYBE [0:0]\n", 2, "MAYBE"},
      {"*nat\n:PREROUTING - [0:0]\n", 2, "built in"},
      {"*nat\n:MINE ACCEPT [0:0]\n", 2, "no policy"},
      {"*nat\n:FORWARD ACCEPT [0:0]\n", 2, "no policy"},
      {"*nat\n:PREROUTING DROP [0:0]\n", 2, "nat"},
      {"*nat\n:PREROUTING\n", 2, "NAME POLICY"},
      {"\n-A X -m comment --comment \"open\n", 2, "quotation mark"},
      {"-I X 1 -j ACCEPT\n", 1, "-I"},
      {"-A\t\n-A X -j ACCEPT\n-D X 1\n", 3, "-D"},
      {"[1:x] -A X -j ACCEPT\n", 1, "[1:x]"},
      {"-A X -p tcp -m recent --seconds 5 -j ACCEPT\n", 1, "-m recent"},
      {"-P INPUT\n", 1, "-P"},
  };
  for (const Faulty& faulty : cases) {
    SCOPED_TRACE(faulty.text);
    const ReadRuleset read = parse_ruleset(faulty.text, {.file = "dump"});
    ASSERT_THAT(read.errors, SizeIs(1));
    EXPECT_EQ(read.errors[0].file, "dump");
    EXPECT_EQ(read.errors[0].line, faulty.line);
    EXPECT_THAT(read.errors[0].message, HasSubstr(faulty.words));
  }
}

TEST(RulesetText, LenientLeavesOutWhatItReports) {
  const std::string text =
      "*mangle\n-A X -j TPROXY --on-port 5\n-A X -p tcp -j RETURN\nCOMMIT\n*security\n-A X -j ACCEPT\nCOMMIT\n";
  const ReadRuleset read = parse_ruleset(text, {.lenient = true});
  EXPECT_THAT(read.errors, IsEmpty());
  ASSERT_THAT(read.skipped, SizeIs(2));
  EXPECT_EQ(read.skipped[0].line, 2U);
  EXPECT_THAT(read.skipped[0].message, HasSubstr("--on-port"));
  EXPECT_EQ(read.skipped[1].line, 5U);
  EXPECT_EQ(print(read.rules), "*mangle\n:X - [0:0]\n-A X -p tcp -j RETURN\nCOMMIT\n");
}

}  // namespace
}  // namespace limpet::rules
