// compat: nftables brings whole addresses and networks of services, to be refused: behind the rules of what is a service's
// and of what is a reply, and never ICMP.
#include <string>

#include <gtest/gtest.h>

#include "lb/divert/nft_rules.h"
#include "lb/divert/plan_parts.h"
#include "lb/divert/rules.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using datapath::DiversionPlan;
using net::Family;
using test::sample_plan;

TEST(Refused, ByIptables) {
  DiversionPlan plan;
  plan.services = {test::tcp("10.96.0.1:80")};
  plan.addresses = {*net::Address::parse("10.97.0.1"), *net::Address::parse("10.97.0.2")};
  plan.prefixes = {*net::Prefix::parse("10.96.0.0/12")};
  const auto rules = [&](std::size_t short_list) {
    return render_install(Table::raw, Family::v4, plan, {.short_list = short_list}, {.sets = true, .socket = true}, {});
  };
  EXPECT_EQ(rules(2), R"(*raw
:LIMPET-PREROUTING - [0:0]
:LIMPET-OUTPUT - [0:0]
-A LIMPET-PREROUTING -s 255.255.255.255/32 -m socket
-A LIMPET-PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.96.0.0/12 ! -p icmp -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.97.0.1/32 ! -p icmp -j NFQUEUE --queue-num 0
-A LIMPET-PREROUTING -d 10.97.0.2/32 ! -p icmp -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.96.0.0/12 ! -p icmp -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.97.0.1/32 ! -p icmp -j NFQUEUE --queue-num 0
-A LIMPET-OUTPUT -d 10.97.0.2/32 ! -p icmp -j NFQUEUE --queue-num 0
-I PREROUTING 1 -j LIMPET-PREROUTING
-I OUTPUT 1 -j LIMPET-OUTPUT
COMMIT
)");
  for (const char* chain : {"LIMPET-PREROUTING", "LIMPET-OUTPUT"}) {
    const std::string one =
        std::string("-A ") + chain + " ! -p icmp -m set --match-set limpet4-addresses dst -j NFQUEUE";
    EXPECT_NE(rules(1).find(one), std::string::npos) << rules(1);
  }
  EXPECT_EQ(rules(1).find("10.97.0.1"), std::string::npos);
}

TEST(Refused, ByNft) {
  DiversionPlan plan = part_of(sample_plan(), Family::v6);
  plan.addresses = {*net::Address::parse("fd00:97::1")};
  plan.prefixes = {*net::Prefix::parse("fd00:96::/112")};
  const std::string text = render_nft_chains(Family::v6, plan, {}, {.tproxy = true});
  const std::string rules = R"(		ip6 daddr fd00:96::/112 meta l4proto != icmpv6 queue num 0
		ip6 daddr @addresses meta l4proto != icmpv6 queue num 0
)";
  const std::string request = "\t\tip6 daddr . meta l4proto . th dport @services queue num 0\n";
  EXPECT_NE(text.find(request + rules), text.npos) << "at output: " << text;
  EXPECT_NE(text.find("daddr @locals queue num 0\n" + rules), text.npos) << "at prerouting: " << text;
}

}  // namespace
}  // namespace limpet::divert
