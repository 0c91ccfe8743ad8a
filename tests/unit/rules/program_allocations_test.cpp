// A decision by an iptables program allocates nothing, whatever rules it meets.
#include <array>
#include <chrono>

#include <gtest/gtest.h>

#include "lb/rules/program.h"
#include "lb/rules/ruleset_text.h"
#include "tests/support/allocations.h"
#include "tests/support/kube_rules.h"
#include "tests/unit/rules/program_bench.h"

namespace limpet::rules {
namespace {

/// Every kind of match and target, in every table; then what kube-proxy writes.
const std::string kEverything =
    R"(*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m set --match-set blocked src -j DROP
-A PREROUTING -m set ! --match-set web dst,dst -p tcp -m multiport --sports 1:5 -j DROP
COMMIT
*mangle
-A PREROUTING -p udp -m statistic --mode nth --every 3 --packet 0 -j MARK --set-mark 5
-A PREROUTING -p udp -m statistic --mode nth --every 3 --packet 1 -j MARK --set-mark 6
-A PREROUTING -m mark --mark 5 -m conntrack --ctstate NEW -j ACCEPT
-A FORWARD -i eth0 -m recent --update --seconds 60 --hitcount 200 --rttl --name SEEN -j DROP
-A FORWARD -m recent --set --name SEEN
-A FORWARD -m recent --remove --rdest --name GONE
COMMIT
*filter
-A FORWARD -s 203.0.113.0/28 -m addrtype --src-type UNICAST -j REJECT
COMMIT
)" + limpet::test::kube_rules(20, 5);

const std::string kSets =
    "create blocked hash:net family inet\nadd blocked 198.51.100.0/24\nadd blocked 198.51.0.0/16\n"
    "create web hash:ip,port family inet\nadd web 10.96.0.1,tcp:80\n";

TEST(ProgramAllocations, ADecisionMakesNone) {
  if (!limpet::test::kAllocationsAreCounted) GTEST_SKIP() << "a sanitizer stands before malloc";
  const IpSets sets = parse_ip_sets(kSets, "sets");
  ASSERT_TRUE(sets.errors.empty());
  for (const bool compiled : {false, true}) {
    SCOPED_TRACE(compiled ? "compiled" : "rule by rule");
    RuleMemory memory({.capacity = 50}, NthOnReload::reset);
    LinkedRuleset linked = link(test::parsed(kEverything), memory, {.sets = &sets, .compiled = compiled});
    for (const auto& error : linked.errors) ADD_FAILURE() << store::to_string(error);
    const datapath::EndpointSlots slots(16);
    Program program(slots, std::move(linked), memory);
    pick::Rng rng(5);
    std::array<std::uint64_t, 4> actions{};
    std::uint64_t hits = 0;
    (void)test::node_of_bench();  // made at the first call
    const limpet::test::AllocationCount before;
    for (std::uint32_t i = 0; i < 20'000; ++i) {
      const auto protocol = i % 3 == 0 ? net::Protocol::udp : net::Protocol::tcp;
      const auto client = static_cast<std::uint32_t>((i % 7 == 0 ? 0xc6330000 : 0xcb007100) + rng.uniform(500));
      const auto service = static_cast<std::uint32_t>(0x0a600001 + rng.uniform(20));
      const bool here = i % 11 == 0;
      const datapath::Decision decision = program.decide(
          {.tuple = {protocol,
                     {here ? net::Address::from_v4(0x0a800005) : net::Address::from_v4(client), 40000},
                     {net::Address::from_v4(service), 80}},
           .hook = here ? datapath::Hook::output : datapath::Hook::prerouting,
           .in_interface = here ? 0U : 2U,
           .ttl = 64,
           .known_clients_only = i % 13 == 0},
          test::node_of_bench(), flow::Instant(std::chrono::hours(24) + std::chrono::milliseconds(i)), rng);
      ++actions[static_cast<std::size_t>(decision.action)];
      hits += decision.affinity == datapath::AffinityOutcome::hit ? 1U : 0U;
    }
    EXPECT_EQ(before.since(), 0U);
    EXPECT_GT(hits, 500U);
    for (const auto action :
         {datapath::Action::dnat, datapath::Action::reject, datapath::Action::drop, datapath::Action::none}) {
      EXPECT_GT(actions[static_cast<std::size_t>(action)], 100U) << to_string(action);
    }
  }
}

}  // namespace
}  // namespace limpet::rules
