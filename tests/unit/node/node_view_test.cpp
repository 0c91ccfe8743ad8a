// Egress addresses by hand from the rules in node_view.h; tests/wire/divert_egress_test.cpp compares with the kernel
// itself.
#include "lb/node/node_view.h"

#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::node {
namespace {

net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

InterfaceAddress on(std::uint32_t interface, const char* prefix) {
  const std::string text = prefix;
  const auto slash = text.find('/');
  return {.interface = interface,
          .address = ip(text.substr(0, slash).c_str()),
          .prefix_length = static_cast<unsigned>(std::stoul(text.substr(slash + 1)))};
}
InterfaceAddress secondary(InterfaceAddress entry) {
  return entry.secondary = true, entry;
}
InterfaceAddress narrow(InterfaceAddress entry) {
  return entry.global_scope = false, entry;
}
InterfaceAddress deprecated(InterfaceAddress entry) {
  return entry.deprecated = true, entry;
}
InterfaceAddress temporary(InterfaceAddress entry) {
  return entry.temporary = true, entry;
}
InterfaceAddress tentative(InterfaceAddress entry) {
  return entry.usable = false, entry;
}
InterfaceAddress with_peer(InterfaceAddress entry, const char* peer) {
  return entry.peer = ip(peer), entry;
}

Route via(const char* prefix, std::uint32_t interface, const char* gateway = nullptr, std::uint32_t metric = 0) {
  Route route{.destination = *net::Prefix::parse(prefix), .interface = interface, .gateway = {}, .metric = metric};
  if (gateway != nullptr) route.gateway = ip(gateway);
  return route;
}

struct EgressCase {
  const char* name;
  std::vector<InterfaceAddress> addresses;
  std::vector<Route> routes;
  const char* destination;  // out-interface: always 2
  const char* expected;     // nullptr: none
  friend void PrintTo(const EgressCase& c, std::ostream* out) { *out << c.name; }
};

class Egress : public testing::TestWithParam<EgressCase> {};

TEST_P(Egress, IsMasquerades) {
  const EgressCase& c = GetParam();
  const NodeView node(c.addresses, c.routes, {});
  const auto chosen = node.egress(2, ip(c.destination));
  EXPECT_EQ(chosen ? chosen->to_string() : "none", c.expected != nullptr ? c.expected : "none");
}

const EgressCase kEgressCases[] = {
    {"OnlyAddress", {on(2, "10.1.0.1/24")}, {}, "10.1.0.9", "10.1.0.1"},
    {"SecondSubnetHoldsTheDestination", {on(2, "10.1.0.1/24"), on(2, "10.2.0.1/24")}, {}, "10.2.0.9", "10.2.0.1"},
    {"SecondSubnetHoldsTheGateway",
     {on(2, "10.1.0.1/24"), on(2, "10.2.0.1/24")},
     {via("0.0.0.0/0", 2, "10.2.0.254")},
     "203.0.113.9",
     "10.2.0.1"},
    {"LongerRouteDecidesTheGateway",
     {on(2, "10.1.0.1/24"), on(2, "10.2.0.1/24")},
     {via("0.0.0.0/0", 2, "10.1.0.254"), via("203.0.113.0/24", 2, "10.2.0.254")},
     "203.0.113.9",
     "10.2.0.1"},
    {"RouteOfAnotherInterfaceDoesNotCount",
     {on(2, "10.1.0.1/24"), on(2, "10.2.0.1/24"), on(3, "10.3.0.1/24")},
     {via("0.0.0.0/0", 2, "10.2.0.254"), via("203.0.113.0/24", 3, "10.3.0.254")},
     "203.0.113.9",
     "10.2.0.1"},
    {"NoSubnetFitsTheFirst", {on(2, "10.1.0.1/24"), on(2, "10.2.0.1/24")}, {}, "203.0.113.9", "10.1.0.1"},
    {"SecondariesArePassedOver", {secondary(on(2, "10.1.0.2/24")), on(2, "10.2.0.1/24")}, {}, "10.1.0.9", "10.2.0.1"},
    {"NarrowScopesArePassedOver", {narrow(on(2, "10.1.0.1/24")), on(2, "10.2.0.1/24")}, {}, "10.1.0.9", "10.2.0.1"},
    {"AnotherInterfacesLowestIndexFirst",
     {on(4, "10.4.0.1/24"), on(3, "10.3.0.1/24"), narrow(on(1, "127.0.0.1/8"))},
     {},
     "10.9.0.9",
     "10.3.0.1"},
    {"PeersSubnetCounts",
     {on(2, "10.1.0.1/24"), with_peer(on(2, "192.0.2.1/32"), "198.51.100.1")},
     {},
     "198.51.100.1",
     "192.0.2.1"},
    {"PointToPointsOwnSubnetDoesNot",
     {on(2, "10.1.0.1/24"), with_peer(on(2, "192.0.2.1/24"), "198.51.100.1")},
     {},
     "192.0.2.9",
     "10.1.0.1"},
    {"OtherFamilyOnly", {on(2, "fd00::1/64")}, {}, "10.1.0.9", nullptr},
    // IPv6. With fd00:2::9, fd00:2::1 has 124 bits in common, of which its /64 counts; fd00:1::1 has 30.
    {"V6LongestCommonPrefix", {on(2, "fd00:1::1/64"), on(2, "fd00:2::1/64")}, {}, "fd00:2::9", "fd00:2::1"},
    // With 2001:db8::9, 2001:db8::1 has 124 bits in common, of which its /16 counts; 2001:db8:1::1 has 47.
    {"V6NoLongerThanItsOwnPrefix",
     {on(2, "2001:db8::1/16"), on(2, "2001:db8:1::1/64")},
     {},
     "2001:db8::9",
     "2001:db8:1::1"},
    {"V6FirstOfEquals", {on(2, "fd00:1::7/64"), on(2, "fd00:1::8/64")}, {}, "fd00:9::1", "fd00:1::7"},
    {"V6TentativeIsUnusable", {tentative(on(2, "fd00:1::1/64")), on(2, "fd00:2::1/64")}, {}, "fd00:1::9", "fd00:2::1"},
    {"V6DeprecatedLosesToAnotherInterface",
     {deprecated(on(2, "fd00:1::1/64")), on(3, "fd00:3::1/64")},
     {},
     "fd00:1::9",
     "fd00:3::1"},
    {"V6DeprecatedIfNothingElse", {deprecated(on(2, "fd00:1::1/64"))}, {}, "fd00:1::9", "fd00:1::1"},
    {"V6OutInterfaceBeforePrefix", {on(2, "fd00:1::1/64"), on(3, "fd00:3::1/64")}, {}, "fd00:3::9", "fd00:1::1"},
    // 2002::/16 has label 2, the rest of 2000::/3 label 1; with 2000::9, 2002::1 has 14 bits in common, 2400::1 has 5.
    {"V6LabelBeforePrefix", {on(2, "2002::1/64"), on(2, "2400::1/64")}, {}, "2000::9", "2400::1"},
    {"V6TemporaryIsPassedOver",
     {temporary(on(2, "fd00:1::1/64")), on(2, "fd00:2::1/64")},
     {},
     "fd00:1::9",
     "fd00:2::1"},
    {"V6DestinationIsTheNodes", {on(2, "fd00:1::1/64"), on(3, "fd00:3::1/64")}, {}, "fd00:3::1", "fd00:3::1"},
    {"V6LinkLocalNever", {narrow(on(2, "fe80::1/64"))}, {}, "2001:db8::9", nullptr},
};
INSTANTIATE_TEST_SUITE_P(NodeView, Egress, testing::ValuesIn(kEgressCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(NodeView, KnowsItsOwnAddresses) {
  const NodeView node({on(2, "10.1.0.1/24"), secondary(on(2, "10.1.0.2/24")), on(2, "fd00::1/64")}, {}, {{2, "eth0"}});
  struct {
    const char* address;
    bool local;
  } const cases[] = {{"10.1.0.1", true},   {"10.1.0.2", true},        {"10.1.0.3", false}, {"127.0.0.1", true},
                     {"127.9.9.9", true},  {"fd00::1", true},         {"fd00::2", false},  {"::1", false},
                     {"128.0.0.1", false}, {"::ffff:10.1.0.1", false}};
  for (const auto& c : cases) EXPECT_EQ(node.is_local(ip(c.address)), c.local) << c.address;
  EXPECT_EQ(node.interface_name(2), "eth0");
  EXPECT_EQ(node.interface_name(3), "");
}

TEST(NodeView, PrimaryIsTheDefaultRoutesSource) {
  const std::vector<InterfaceAddress> addresses{on(2, "10.1.0.1/24"), on(3, "10.2.0.1/24"), on(3, "fd00:3::1/64")};
  const auto primary = [&](std::vector<Route> routes, net::Family family) {
    const auto found = NodeView(addresses, std::move(routes), {}).primary(family);
    return found ? found->to_string() : "none";
  };
  Route hinted = via("0.0.0.0/0", 3, "10.2.0.254");
  hinted.preferred_source = ip("10.1.0.1");

  EXPECT_EQ(primary({via("0.0.0.0/0", 3, "10.2.0.254")}, net::Family::v4), "10.2.0.1");
  EXPECT_EQ(primary({hinted}, net::Family::v4), "10.1.0.1");
  EXPECT_EQ(primary({via("0.0.0.0/0", 3, "10.2.0.254", 20), via("0.0.0.0/0", 2, "10.1.0.254", 10)}, net::Family::v4),
            "10.1.0.1");
  EXPECT_EQ(primary({via("0.0.0.0/1", 2, "10.1.0.254"), via("0.0.0.0/0", 3)}, net::Family::v4), "10.2.0.1")
      << "half a default route is not one";
  EXPECT_EQ(primary({via("10.0.0.0/8", 2)}, net::Family::v4), "none");
  EXPECT_EQ(primary({via("::/0", 3, "fe80::1")}, net::Family::v6), "fd00:3::1");
}

}  // namespace
}  // namespace limpet::node
