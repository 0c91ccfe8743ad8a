// Golden texts, written by hand from the picture in nft_rules.h and nft(8).
#include "lb/divert/nft_rules.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/divert/plan_parts.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using datapath::DiversionPlan;
using net::Family;
using net::Protocol;
using test::sample_plan;

datapath::L4Address at(Protocol protocol, const char* where) {
  return {protocol, *net::AddressPort::parse(where)};
}

TEST(NftRules, ATransactionReplacesContentsNotChains) {
  EXPECT_EQ(render_nft_install(Family::v4, part_of(sample_plan(), Family::v4), {.first_queue = 4, .queue_count = 1},
                               {.tproxy = true, .notrack = true}),
            R"(table ip limpet {
	set locals {
		type ipv4_addr
	}
	set hosts {
		type ipv4_addr
	}
	set endpoints {
		type ipv4_addr . inet_proto . inet_service
	}
	set vips {
		type ipv4_addr
	}
	set addresses {
		type ipv4_addr
	}
	set services {
		type ipv4_addr . inet_proto . inet_service
	}
	set echoes {
		type ipv4_addr . icmp_type . icmp_code
	}
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
	}
	chain output {
		type filter hook output priority -300; policy accept;
	}
	chain postrouting {
		type filter hook postrouting priority -150; policy accept;
	}
	chain input {
		type filter hook input priority -150; policy accept;
	}
}
flush set ip limpet locals
flush set ip limpet hosts
flush set ip limpet endpoints
flush set ip limpet vips
flush set ip limpet addresses
flush set ip limpet services
flush set ip limpet echoes
flush chain ip limpet prerouting
flush chain ip limpet output
flush chain ip limpet postrouting
flush chain ip limpet input
table ip limpet {
	set locals {
		type ipv4_addr
		elements = { 10.1.0.1 }
	}
	set hosts {
		type ipv4_addr
		elements = { 10.2.0.2, 10.2.0.3 }
	}
	set endpoints {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.2.0.2 . tcp . 8080, 10.2.0.3 . udp . 53 }
	}
	set vips {
		type ipv4_addr
		elements = { 10.96.0.1, 10.96.0.10 }
	}
	set addresses {
		type ipv4_addr
	}
	set services {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.96.0.1 . tcp . 80, 10.96.0.10 . udp . 53 }
	}
	set echoes {
		type ipv4_addr . icmp_type . icmp_code
	}
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		ip saddr 255.255.255.255 meta l4proto tcp tproxy to :1
		ip daddr != 127.0.0.0/8 ip daddr . meta l4proto . th dport @services queue num 4
		ip saddr . meta l4proto . th sport @endpoints ip daddr @locals queue num 4
		icmp type { 3, 4, 5, 11, 12 } queue num 4 bypass
	}
	chain output {
		type filter hook output priority -300; policy accept;
		meta mark & 0x1000 == 0x1000 meta l4proto icmp notrack
		ip daddr . meta l4proto . th dport @services queue num 4
		meta mark & 0x1000 == 0x0 icmp type { 3, 4, 5, 11, 12 } queue num 4 bypass
	}
	chain postrouting {
		type filter hook postrouting priority -150; policy accept;
		meta mark & 0x1000 == 0x1000 queue num 4
		ip saddr . meta l4proto . th sport @endpoints queue num 4
		icmp type { 3, 4, 5, 11, 12 } queue num 4 bypass
	}
	chain input {
		type filter hook input priority -150; policy accept;
		ip saddr . meta l4proto . th sport @endpoints queue num 4
		icmp type { 3, 4, 5, 11, 12 } queue num 4 bypass
	}
}
)");
}

// IPv6, and every option: what waits and what does not, fragments by their addresses, several queues.
TEST(NftRules, EveryOption) {
  const Options options{.queue_count = 4,
                        .mark_mask = 0x80,
                        .on_death = OnDeath::bypass,
                        .defragment = Defragment::never,
                        .direct = true,
                        .reset_rejected_tcp = true};
  const DiversionPlan plan{.services = {at(Protocol::icmp6, "[fd00:96::1]:32768")}, .endpoints = {}, .locals = {}};
  EXPECT_EQ(render_nft_chains(Family::v6, plan, options, {.tproxy = true, .notrack = true}),
            R"(	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		ip6 daddr != ::1 ip6 daddr . meta l4proto . th dport @services queue num 0-3
		ip6 daddr . icmpv6 type . icmpv6 code @echoes queue num 0-3
		ip6 saddr . meta l4proto . th sport @endpoints ip6 daddr @locals queue num 0-3 bypass
		ip6 daddr . meta l4proto . th dport @endpoints queue num 0-3 bypass
		icmpv6 type { 1, 2, 3, 4 } queue num 0-3 bypass
		frag frag-off != 0 ip6 daddr @vips queue num 0-3
		frag frag-off != 0 ip6 daddr @locals queue num 0-3 bypass
	}
	chain output {
		type filter hook output priority -300; policy accept;
		meta mark & 0x80 == 0x80 meta l4proto icmpv6 notrack
		meta mark & 0x80 == 0x80 tcp flags & rst == rst notrack
		ip6 daddr . meta l4proto . th dport @services queue num 0-3
		ip6 daddr . icmpv6 type . icmpv6 code @echoes queue num 0-3
		ip6 daddr . meta l4proto . th dport @endpoints queue num 0-3 bypass
		meta mark & 0x80 == 0x0 icmpv6 type { 1, 2, 3, 4 } queue num 0-3 bypass
	}
	chain postrouting {
		type filter hook postrouting priority -150; policy accept;
		meta mark & 0x80 == 0x80 queue num 0-3
		ip6 saddr . meta l4proto . th sport @endpoints queue num 0-3 bypass
		icmpv6 type { 1, 2, 3, 4 } queue num 0-3 bypass
		frag frag-off != 0 ip6 saddr @hosts queue num 0-3 bypass
	}
	chain input {
		type filter hook input priority -150; policy accept;
		ip6 saddr . meta l4proto . th sport @endpoints queue num 0-3 bypass
		icmpv6 type { 1, 2, 3, 4 } queue num 0-3 bypass
		frag frag-off != 0 ip6 saddr @hosts queue num 0-3 bypass
	}
)");
}

TEST(NftRules, SamplesAreTheEndsAndTheMiddle) {
  DiversionPlan plan;
  for (const char* vip : {"10.96.0.1:80", "10.96.0.2:80", "10.96.0.3:80", "10.96.0.4:80", "10.96.0.5:80"}) {
    plan.services.push_back(test::tcp(vip));
  }
  plan.locals = {*net::Address::parse("10.1.0.1")};
  EXPECT_EQ(render_nft_samples(Family::v4, plan),
            (std::vector<std::string>{
                "ip limpet locals { 10.1.0.1 }",
                "ip limpet services { 10.96.0.1 . tcp . 80, 10.96.0.3 . tcp . 80, 10.96.0.5 . tcp . 80 }"}));
}

TEST(NftRules, WhatTheKernelLacksIsDoneWithout) {
  const std::string text = render_nft_chains(Family::v4, part_of(sample_plan(), Family::v4), {}, {});
  EXPECT_EQ(text.find("tproxy"), text.npos) << text;
  EXPECT_EQ(text.find("notrack"), text.npos) << text;
  EXPECT_NE(text.find("ip frag-off & 0x1fff != 0 ip daddr @vips queue num 0\n"), text.npos) << text;
}

TEST(NftRules, LoopbackServicesAreForOutputAlone) {
  const DiversionPlan plan{.services = {test::tcp("127.0.0.1:31332")}, .endpoints = {}, .locals = {}};
  const std::string text = render_nft_chains(Family::v4, plan, {}, {.tproxy = true});
  EXPECT_NE(text.find("\t\tip daddr != 127.0.0.0/8 ip daddr . meta l4proto . th dport @services queue num 0\n"),
            text.npos)
      << text;
  EXPECT_NE(text.find("\t\tip daddr . meta l4proto . th dport @services queue num 0\n"), text.npos) << text;
}

TEST(NftRules, ChangesGoElementByElement) {
  const auto from = part_of(sample_plan(), Family::v4);
  auto to = from;
  to.services = {at(Protocol::icmp, "10.96.0.1:2048"), test::tcp("10.96.0.1:80"), at(Protocol::sctp, "10.96.0.1:36412"),
                 at(Protocol::udplite, "10.96.0.2:9")};
  to.endpoints = {test::tcp("10.2.0.2:8080"), test::tcp("10.2.0.9:8080")};
  to.locals = {*net::Address::parse("10.1.0.2")};
  EXPECT_EQ(render_nft_changes(Family::v4, to, difference(from, to)),
            R"(add element ip limpet locals { 10.1.0.2 }
delete element ip limpet locals { 10.1.0.1 }
add element ip limpet hosts { 10.2.0.9 }
delete element ip limpet hosts { 10.2.0.3 }
add element ip limpet endpoints { 10.2.0.9 . tcp . 8080 }
delete element ip limpet endpoints { 10.2.0.3 . udp . 53 }
add element ip limpet vips { 10.96.0.2 }
delete element ip limpet vips { 10.96.0.10 }
add element ip limpet services { 10.96.0.1 . sctp . 36412, 10.96.0.2 . udplite . 9 }
delete element ip limpet services { 10.96.0.10 . udp . 53 }
add element ip limpet echoes { 10.96.0.1 . 8 . 0 }
)");
  EXPECT_EQ(render_nft_changes(Family::v4, from, {}), "");
}

}  // namespace
}  // namespace limpet::divert
