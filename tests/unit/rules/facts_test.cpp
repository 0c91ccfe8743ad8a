// What a match sees of a packet: one table for all matches that remember nothing.
#include "lb/rules/facts.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

struct Seen {
  const char* rule;
  bool matches;
};

const node::NodeView& node() {
  static const node::NodeView view({{.interface = 2, .address = *net::Address::parse("192.0.2.1"), .prefix_length = 24},
                                    {.interface = 2, .address = *net::Address::parse("fd00::1"), .prefix_length = 64},
                                    {.interface = 3, .address = *net::Address::parse("10.1.1.1"), .prefix_length = 31}},
                                   {}, {{2, "eth0"}, {3, "eth1"}});
  return view;
}

void expect(const std::vector<Seen>& cases, const Facts& facts, net::Family family) {
  for (const Seen& c : cases) {
    SCOPED_TRACE(c.rule);
    RuleMemory memory({}, NthOnReload::reset);
    pick::Rng rng(1);
    const std::string rule = "-A X " + std::string(c.rule) + "\n";
    auto program = link(test::parsed(rule, {.bare_rules = Table::raw, .family = family}), memory);
    ASSERT_TRUE(program.errors.empty());
    std::vector<Hit> hits;
    Facts own = facts;
    program.find(Table::raw)->walk("X", own, {1, rng}, &hits);
    EXPECT_EQ(hits.size() == 1, c.matches);
  }
}

TEST(Facts, OfIPv4) {
  const Facts facts{.tuple = test::tcp("10.0.5.9:1024", "192.0.2.1:80"),
                    .in_interface = "eth0",
                    .mark = 0x4001,
                    .ttl = 64,
                    .states = kNew | kDnat,
                    .node = &node()};
  expect({{"-s 10.0.5.9", true},
          {"-s 10.0.5.8", false},
          {"! -s 10.0.0.0/16", false},
          {"-s 10.0.6.9/255.0.0.255", true},
          {"-d 192.0.2.0/24 -s 10.0.0.0/8", true},
          {"-i eth0", true},
          {"-i eth", false},
          {"-i eth+", true},
          {"! -i eth+", false},
          {"! -o lo", true},
          {"-o eth0", false},
          {"-p tcp", true},
          {"-p udp", false},
          {"! -p udp", true},
          {"-p tcp -m tcp --dport 80", true},
          {"-p tcp -m tcp --dport 79", false},
          {"-p tcp -m tcp --sport 1024:1030 ! --dport 81", true},
          {"-p tcp -m tcp --sport 1025:1030", false},
          {"-p tcp -m multiport --dports 22,80", true},
          {"-p tcp -m multiport ! --dports 22,80", false},
          {"-p tcp -m multiport --sports 80", false},
          {"-p tcp -m multiport --ports 1000:1024", true},
          {"-m mark --mark 0x4001", true},
          {"-m mark --mark 0x4000/0x4000", true},
          {"-m mark ! --mark 0x4000/0x4000", false},
          {"-m mark --mark 0x1", false},
          {"-m mark --mark 0x4001/0x4000", false},  // a value outside of its mask: never
          {"-m addrtype --dst-type LOCAL", true},
          {"-m addrtype --src-type LOCAL", false},
          {"-m addrtype --src-type UNICAST --dst-type LOCAL", true},
          {"-m addrtype ! --dst-type UNICAST", true},
          {"-m addrtype --dst-type UNICAST,LOCAL", true},
          {"-m conntrack --ctstate NEW", true},
          {"-m conntrack --ctstate RELATED,ESTABLISHED", false},
          {"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", false},
          {"-m conntrack --ctstate DNAT", true},
          {"-m state --state NEW", true}},
         facts, net::Family::v4);
}

TEST(Facts, KindsOfIPv4Addresses) {
  const std::pair<const char*, AddressKind> cases[] = {
      {"192.0.2.1", kLocal},       {"127.5.5.5", kLocal},     {"192.0.2.2", kUnicast},
      {"192.0.2.255", kBroadcast}, {"10.1.1.1", kLocal},      {"10.1.1.0", kUnicast},
      {"224.0.0.1", kMulticast},   {"239.1.2.3", kMulticast}, {"255.255.255.255", kBroadcast},
      {"0.0.0.0", kBroadcast},     {"240.0.0.1", kUnicast}};
  for (const auto& [address, kind] : cases) {
    EXPECT_EQ(kind_of_v4(*net::Address::parse(address), &node()), kind) << address;
  }
}

TEST(Facts, OfIPv6) {
  const Facts facts{.tuple = test::udp("[fd00:0:0:1::9]:5000", "[fd00::1]:53"), .ttl = 64, .node = &node()};
  expect({{"-s fd00:0:0:1::/64", true},
          {"-s fd00::/64", false},
          {"-d fd00::1", true},
          {"-p udp -m udp --dport 53", true},
          {"-m addrtype --dst-type LOCAL", true},
          {"-m addrtype --src-type LOCAL", false},
          {"-m addrtype --dst-type UNICAST", true},
          {"-m addrtype --dst-type MULTICAST", false},
          {"-m addrtype --dst-type LOCAL,MULTICAST", false}},  // both must hold
         facts, net::Family::v6);
}

}  // namespace
}  // namespace limpet::rules
