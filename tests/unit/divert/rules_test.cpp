// Golden texts, written by hand from the picture in rules.h and iptables-extensions(8).
#include "lb/divert/rules.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using net::Family;
using test::sample_plan;

struct Golden {
  const char* name;
  Table table;
  Family family;
  Options options;
  Abilities able;
  const char* expected;
  friend void PrintTo(const Golden& c, std::ostream* out) { *out << c.name; }
};

class Install : public testing::TestWithParam<Golden> {};

TEST_P(Install, Renders) {
  const Golden& c = GetParam();
  EXPECT_EQ(render_install(c.table, c.family, part_of(sample_plan(), c.family), c.options, c.able, {}), c.expected);
}

const Golden kGolden[] = {
    {"RawSets",
     Table::raw,
     Family::v4,
     {.short_list = 0, .first_queue = 4, .queue_count = 1},
     {.sets = true, .socket = true},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
-A LIMPET-PREROUTING -s 255.255.255.255/32 -m socket
-A LIMPET-PREROUTING -m set --match-set limpet4-services dst,dst -j NFQUEUE --queue-num 4
-A LIMPET-PREROUTING -m set --match-set limpet4-endpoints src,src -m set --match-set limpet4-locals dst -j NFQUEUE --queue-num 4
-A LIMPET-OUTPUT -m set --match-set limpet4-services dst,dst -j NFQUEUE --queue-num 4
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)"},
    {"MangleSetsBypass",
     Table::mangle,
     Family::v6,
     {.short_list = 0, .first_queue = 0, .queue_count = 4, .mark_mask = 0x1000, .on_death = OnDeath::bypass},
     {.sets = true},
     R"(*mangle
:LIMPET-POSTROUTING - [0:0]
:LIMPET-INPUT - [0:0]
-A LIMPET-POSTROUTING -m mark --mark 0x1000/0x1000 -j NFQUEUE --queue-balance 0:3
-A LIMPET-POSTROUTING -m set --match-set limpet6-endpoints src,src -j NFQUEUE --queue-balance 0:3 --queue-bypass
-A LIMPET-INPUT -m set --match-set limpet6-endpoints src,src -j NFQUEUE --queue-balance 0:3 --queue-bypass
-I POSTROUTING 1 -j LIMPET-POSTROUTING
-I INPUT 1 -j LIMPET-INPUT
COMMIT
)"},
    {"RawShortLists",
     Table::raw,
     Family::v4,
     {.short_list = 2, .first_queue = 4, .queue_count = 1},
     {.sets = true},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 4
-A LIMPET-PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NFQUEUE --queue-num 4
-A LIMPET-PREROUTING -s 10.2.0.2/32 -p tcp -m tcp --sport 8080 -m set --match-set limpet4-locals dst -j NFQUEUE --queue-num 4
-A LIMPET-PREROUTING -s 10.2.0.3/32 -p udp -m udp --sport 53 -m set --match-set limpet4-locals dst -j NFQUEUE --queue-num 4
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 4
-A LIMPET-OUTPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NFQUEUE --queue-num 4
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)"},
    {"RawPlainBypass",
     Table::raw,
     Family::v4,
     {.on_death = OnDeath::bypass},
     {},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
:LIMPET-REPLIES - [0:0]
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NFQUEUE --queue-num 0
-A LIMPET-REPLIES -d 10.1.0.1/32 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-PREROUTING -s 10.2.0.2/32 -p tcp -m tcp --sport 8080 -j LIMPET-REPLIES
-A LIMPET-PREROUTING -s 10.2.0.3/32 -p udp -m udp --sport 53 -j LIMPET-REPLIES
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -j NFQUEUE --queue-num 0
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)"},
    {"RawPlainV6",
     Table::raw,
     Family::v6,
     {},
     {.socket = true},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
:LIMPET-REPLIES - [0:0]
-A LIMPET-PREROUTING -s ff00::/128 -m socket
-A LIMPET-PREROUTING -d fd00:96::1/128 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-A LIMPET-REPLIES -d fd00:1::1/128 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -s fd00:2::2/128 -p tcp -m tcp --sport 8080 -j LIMPET-REPLIES
-A LIMPET-OUTPUT -d fd00:96::1/128 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)"},
    {"ManglePlain",
     Table::mangle,
     Family::v6,
     {.first_queue = 7, .queue_count = 2, .mark_mask = 0x80},
     {},
     R"(*mangle
:LIMPET-POSTROUTING - [0:0]
:LIMPET-INPUT - [0:0]
-A LIMPET-POSTROUTING -m mark --mark 0x80/0x80 -j NFQUEUE --queue-balance 7:8
-A LIMPET-POSTROUTING -s fd00:2::2/128 -p tcp -m tcp --sport 8080 -j NFQUEUE --queue-balance 7:8
-A LIMPET-INPUT -s fd00:2::2/128 -p tcp -m tcp --sport 8080 -j NFQUEUE --queue-balance 7:8
-I POSTROUTING 1 -j LIMPET-POSTROUTING
-I INPUT 1 -j LIMPET-INPUT
COMMIT
)"},
};
INSTANTIATE_TEST_SUITE_P(Rules, Install, testing::ValuesIn(kGolden),
                         [](const auto& test) { return std::string(test.param.name); });

constexpr const char* kSaved = R"(# Generated by iptables-save v1.8.9 (nf_tables) on Mon Jan  1 00:00:00 2024
*raw
:PREROUTING ACCEPT [12:3456]
:OUTPUT ACCEPT [0:0]
:LIMPET-OUTPUT - [0:0]
:LIMPET-PREROUTING - [0:0]
:LIMPET-REPLIES - [0:0]
:LIMPET-ISLAND - [0:0]
-A PREROUTING -j LIMPET-PREROUTING
-A PREROUTING -i eth0 -p tcp -g LIMPET-REPLIES
-A PREROUTING -j LIMPET-ISLAND
-A PREROUTING -m comment --comment LIMPET-OUTPUT -j ACCEPT
-A PREROUTING -m comment --comment "was -j LIMPET-OUTPUT once" -j ACCEPT
-A PREROUTING -m comment --comment "a \" quoted -g LIMPET-OUTPUT \\ x" -j ACCEPT
-A OUTPUT -j LIMPET-OUTPUT
-A LIMPET-PREROUTING -s 10.2.0.2/32 -p tcp -m tcp --sport 8080 -j LIMPET-REPLIES
COMMIT
# Completed on Mon Jan  1 00:00:00 2024
)";

TEST(Rules, FindsItsOwnTracesOnly) {
  const Traces traces = find_traces(kSaved);
  EXPECT_EQ(traces.chains, (std::vector<std::string>{"LIMPET-OUTPUT", "LIMPET-PREROUTING", "LIMPET-REPLIES"}));
  EXPECT_EQ(traces.jumps,
            (std::vector<std::string>{"-A PREROUTING -j LIMPET-PREROUTING",
                                      "-A PREROUTING -i eth0 -p tcp -g LIMPET-REPLIES", "-A OUTPUT -j LIMPET-OUTPUT"}));
}

TEST(Rules, AnyBytesAreAccepted) {
  for (const char* text :
       {"", "\n", ":", "-A", "-A ", "-A X -j", "-A X -j ", ":\n:\n", "-A X -j LIMPET-OUTPUT X", "   "}) {
    const Traces traces = find_traces(text);
    EXPECT_TRUE(traces.chains.empty()) << '"' << text << '"';
    EXPECT_EQ(traces.jumps.size(), std::string(text).find("LIMPET") != std::string::npos ? 1U : 0U);
  }
}

TEST(Rules, ALineThatIptablesSaveWouldNotPrintIsNoJump) {
  for (const char* text : {" -A OUTPUT -j LIMPET-OUTPUT", "-A\tOUTPUT -j LIMPET-OUTPUT", "-AOUTPUT -j LIMPET-OUTPUT"})
    EXPECT_TRUE(find_traces(text).empty()) << '"' << text << '"';
}

TEST(Rules, RemovalTakesJumpsThenRulesThenChains) {
  EXPECT_EQ(render_removal(Table::raw, find_traces(kSaved)), R"(*raw
-D PREROUTING -j LIMPET-PREROUTING
-D PREROUTING -i eth0 -p tcp -g LIMPET-REPLIES
-D OUTPUT -j LIMPET-OUTPUT
-F LIMPET-OUTPUT
-F LIMPET-PREROUTING
-F LIMPET-REPLIES
-X LIMPET-OUTPUT
-X LIMPET-PREROUTING
-X LIMPET-REPLIES
COMMIT
)");
}

TEST(Rules, InstallingAgainMovesTheJumpsToTheTop) {
  const std::string text = render_install(Table::raw, Family::v4, part_of(sample_plan(), Family::v4), {},
                                          {.sets = true}, find_traces(kSaved));
  const std::string tail = R"(-D PREROUTING -j LIMPET-PREROUTING
-D PREROUTING -i eth0 -p tcp -g LIMPET-REPLIES
-D OUTPUT -j LIMPET-OUTPUT
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)";
  ASSERT_GE(text.size(), tail.size());
  EXPECT_EQ(text.substr(text.size() - tail.size()), tail);
  EXPECT_NE(text.find(":LIMPET-REPLIES - [0:0]\n"), text.npos) << "what a run without sets left is emptied";
}

}  // namespace
}  // namespace limpet::divert
