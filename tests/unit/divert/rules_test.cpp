// Golden texts, written by hand from the picture in rules.h and iptables-extensions(8).
#include "lb/divert/rules.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/divert/plan_parts.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using datapath::DiversionPlan;
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
-A LIMPET-PREROUTING ! -d 127.0.0.0/8 -m set --match-set limpet4-services dst,dst -j NFQUEUE --queue-num 4
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
     {.sets = true, .socket = true},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
-A LIMPET-PREROUTING -s 255.255.255.255/32 -m socket
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
     {.socket = true},
     R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
:LIMPET-REPLIES - [0:0]
-A LIMPET-PREROUTING -s 255.255.255.255/32 -m socket
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
     {.socket = true},
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

// Every protocol, each in its own spelling.
DiversionPlan all_protocols() {
  const auto at = [](net::Protocol protocol, const char* where) {
    return datapath::L4Address{protocol, *net::AddressPort::parse(where)};
  };
  return {.services = {at(net::Protocol::icmp, "10.96.0.1:2048"),  // type 8, code 0: echo request
                       at(net::Protocol::sctp, "10.96.0.1:36412"), at(net::Protocol::udplite, "10.96.0.1:9")},
          .endpoints = {at(net::Protocol::sctp, "10.2.0.2:36412"), at(net::Protocol::udplite, "10.2.0.3:9")},
          .locals = {*net::Address::parse("10.1.0.1")}};
}
constexpr Abilities kAll{
    .sets = true, .socket = true, .notrack = true, .icmp = true, .sctp = true, .multiport = true, .frag = true};

TEST(Rules, EveryProtocolHasItsMatch) {
  Options options{.short_list = 8, .direct = true, .reset_rejected_tcp = true};
  Abilities able = kAll;
  able.sets = false;
  EXPECT_EQ(render_install(Table::raw, Family::v4, all_protocols(), options, able, {}), R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
:LIMPET-ICMP - [0:0]
:LIMPET-REPLIES - [0:0]
-A LIMPET-PREROUTING -s 255.255.255.255/32 -m socket
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p icmp -m icmp --icmp-type 8/0 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p sctp -m sctp --dport 36412 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p udplite -m multiport --dports 9 -j NFQUEUE --queue-num 0
-A LIMPET-REPLIES -d 10.1.0.1/32 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -s 10.2.0.2/32 -p sctp -m sctp --sport 36412 -j LIMPET-REPLIES
-A LIMPET-PREROUTING -s 10.2.0.3/32 -p udplite -m multiport --sports 9 -j LIMPET-REPLIES
-A LIMPET-PREROUTING -d 10.2.0.2/32 -p sctp -m sctp --dport 36412 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-PREROUTING -d 10.2.0.3/32 -p udplite -m multiport --dports 9 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-PREROUTING -p icmp -j LIMPET-ICMP
-A LIMPET-OUTPUT -p icmp -m mark --mark 0x1000/0x1000 -j CT --notrack
-A LIMPET-OUTPUT -p tcp -m tcp --tcp-flags RST RST -m mark --mark 0x1000/0x1000 -j CT --notrack
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p icmp -m icmp --icmp-type 8/0 -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p sctp -m sctp --dport 36412 -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p udplite -m multiport --dports 9 -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.2.0.2/32 -p sctp -m sctp --dport 36412 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-OUTPUT -d 10.2.0.3/32 -p udplite -m multiport --dports 9 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-OUTPUT -p icmp -j LIMPET-ICMP
-A LIMPET-ICMP -m mark --mark 0x1000/0x1000 -j RETURN
-A LIMPET-ICMP -p icmp -m icmp --icmp-type 3 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p icmp -m icmp --icmp-type 4 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p icmp -m icmp --icmp-type 5 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p icmp -m icmp --icmp-type 11 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p icmp -m icmp --icmp-type 12 -j NFQUEUE --queue-num 0 --queue-bypass
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)");
}

TEST(Rules, IcmpErrorsComeLastAndNeverWait) {
  EXPECT_EQ(render_install(Table::mangle, Family::v6, part_of(sample_plan(), Family::v6), {.short_list = 0}, kAll, {}),
            R"(*mangle
:LIMPET-POSTROUTING - [0:0]
:LIMPET-INPUT - [0:0]
:LIMPET-ICMP - [0:0]
-A LIMPET-POSTROUTING -m mark --mark 0x1000/0x1000 -j NFQUEUE --queue-num 0
-A LIMPET-POSTROUTING -m set --match-set limpet6-endpoints src,src -j NFQUEUE --queue-num 0
-A LIMPET-POSTROUTING -p ipv6-icmp -j LIMPET-ICMP
-A LIMPET-INPUT -m set --match-set limpet6-endpoints src,src -j NFQUEUE --queue-num 0
-A LIMPET-INPUT -p ipv6-icmp -j LIMPET-ICMP
-A LIMPET-ICMP -p ipv6-icmp -m icmp6 --icmpv6-type 1 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p ipv6-icmp -m icmp6 --icmpv6-type 2 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p ipv6-icmp -m icmp6 --icmpv6-type 3 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-ICMP -p ipv6-icmp -m icmp6 --icmpv6-type 4 -j NFQUEUE --queue-num 0 --queue-bypass
-I POSTROUTING 1 -j LIMPET-POSTROUTING
-I INPUT 1 -j LIMPET-INPUT
COMMIT
)");
}

// A list with a protocol that no rule can match is looked up in a set, however short it is.
TEST(Rules, ASetStandsInForAMissingMatch) {
  Abilities able = kAll;
  able.sctp = able.multiport = able.icmp = false;
  const std::string text = render_install(Table::raw, Family::v4, all_protocols(), {.short_list = 8}, able, {});
  EXPECT_NE(text.find("-A LIMPET-OUTPUT -m set --match-set limpet4-services dst,dst -j NFQUEUE"), text.npos) << text;
  EXPECT_EQ(unmatchable(all_protocols(), able), "");
  able.sets = false;
  EXPECT_EQ(unmatchable(all_protocols(), able), "SCTP (match sctp)");
  able.sctp = true;
  EXPECT_EQ(unmatchable(all_protocols(), able), "UDP-Lite (match multiport)");
  able.multiport = true;
  EXPECT_EQ(unmatchable(all_protocols(), able), "ICMP (matches icmp, icmp6)");
  EXPECT_EQ(unmatchable(sample_plan(), {}), "");
}

// The lines of a transaction that have to do with fragments.
std::string fragment_lines(const std::string& text) {
  std::string found;
  for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line.find("LIMPET-FRAGMENTS") != line.npos || line.find("-m socket") != line.npos) found += line + "\n";
  }
  return found;
}

TEST(Rules, LaterFragmentsComeByTheirAddresses) {
  const Options options{.on_death = OnDeath::bypass, .defragment = Defragment::never};
  const auto lines = [&](Table table, Family family, bool sets) {
    Abilities able = kAll;
    able.sets = sets;
    return fragment_lines(render_install(table, family, part_of(sample_plan(), family), options, able, {}));
  };
  EXPECT_EQ(lines(Table::raw, Family::v4, false), R"(:LIMPET-FRAGMENTS - [0:0]
-A LIMPET-PREROUTING -f -j LIMPET-FRAGMENTS
-A LIMPET-FRAGMENTS -d 10.96.0.1/32 -j NFQUEUE --queue-num 0
-A LIMPET-FRAGMENTS -d 10.96.0.10/32 -j NFQUEUE --queue-num 0
-A LIMPET-FRAGMENTS -d 10.1.0.1/32 -j NFQUEUE --queue-num 0 --queue-bypass
)");
  EXPECT_EQ(lines(Table::mangle, Family::v4, false), R"(:LIMPET-FRAGMENTS - [0:0]
-A LIMPET-POSTROUTING -f -j LIMPET-FRAGMENTS
-A LIMPET-FRAGMENTS -s 10.2.0.2/32 -j NFQUEUE --queue-num 0 --queue-bypass
-A LIMPET-FRAGMENTS -s 10.2.0.3/32 -j NFQUEUE --queue-num 0 --queue-bypass
)");
  EXPECT_EQ(lines(Table::raw, Family::v6, true), R"(:LIMPET-FRAGMENTS - [0:0]
-A LIMPET-PREROUTING -m frag -j LIMPET-FRAGMENTS
-A LIMPET-FRAGMENTS -m frag --fragfirst -j RETURN
-A LIMPET-FRAGMENTS -m set --match-set limpet6-vips dst -j NFQUEUE --queue-num 0
-A LIMPET-FRAGMENTS -m set --match-set limpet6-locals dst -j NFQUEUE --queue-num 0 --queue-bypass
)");
  EXPECT_EQ(lines(Table::mangle, Family::v6, true), R"(:LIMPET-FRAGMENTS - [0:0]
-A LIMPET-POSTROUTING -m frag -j LIMPET-FRAGMENTS
-A LIMPET-FRAGMENTS -m frag --fragfirst -j RETURN
-A LIMPET-INPUT -m frag -j LIMPET-FRAGMENTS
-A LIMPET-FRAGMENTS -m set --match-set limpet6-hosts src -j NFQUEUE --queue-num 0 --queue-bypass
)");
}

TEST(Rules, WhoPutsFragmentsTogether) {
  Abilities able = kAll;
  EXPECT_FALSE(queues_fragments(Family::v6, {}, able)) << "the kernel";
  able.socket = false;
  EXPECT_TRUE(queues_fragments(Family::v6, {}, able));
  able.frag = false;
  EXPECT_FALSE(queues_fragments(Family::v6, {}, able)) << "nobody: later ones cannot be told from others";
  EXPECT_TRUE(queues_fragments(Family::v4, {}, able)) << "IPv4's rules can";
}

// To a nodePort at 127.0.0.1 only local processes may speak. The rule of a set says so whatever is in it: one that comes
// or goes is an element of the set then, and no other rule.
TEST(Rules, LoopbackServicesAreForOutputAlone) {
  DiversionPlan plan{.services = {test::tcp("10.96.0.1:80"), test::tcp("127.0.0.1:31332")},
                     .endpoints = {test::tcp("10.2.0.2:8080")},
                     .locals = {}};
  const std::string rules = render_install(Table::raw, Family::v4, plan, {}, kAll, {});
  EXPECT_EQ(rules.find("-A LIMPET-PREROUTING -d 127.0.0.1/32"), rules.npos) << rules;
  EXPECT_NE(rules.find("-A LIMPET-OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 31332 -j NFQUEUE"), rules.npos) << rules;
  const std::string sets = render_install(Table::raw, Family::v4, plan, {.short_list = 0}, kAll, {});
  EXPECT_NE(sets.find("-A LIMPET-PREROUTING ! -d 127.0.0.0/8 -m set --match-set limpet4-services dst,dst -j NFQUEUE"),
            sets.npos)
      << sets;
  EXPECT_NE(sets.find("-A LIMPET-OUTPUT -m set --match-set limpet4-services dst,dst -j NFQUEUE"), sets.npos) << sets;
  const std::string six =
      render_install(Table::raw, Family::v6, part_of(sample_plan(), Family::v6), {.short_list = 0}, kAll, {});
  EXPECT_NE(six.find("-A LIMPET-PREROUTING ! -d ::1/128 -m set --match-set limpet6-services dst,dst -j NFQUEUE"),
            six.npos)
      << six;
}

}  // namespace
}  // namespace limpet::divert
