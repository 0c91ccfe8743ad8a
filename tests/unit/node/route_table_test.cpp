#include "lb/node/route_table.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::node {
namespace {

net::Address ip(const std::string& text) {
  return *net::Address::parse(text);
}

Route to(const std::string& prefix, std::uint32_t interface, std::uint32_t metric = 0) {
  return {.destination = *net::Prefix::parse(prefix), .interface = interface, .gateway = {}, .metric = metric};
}

TEST(RouteTable, LongestPrefixThenLowestMetricThenFirst) {
  const RouteTable table({to("0.0.0.0/0", 1), to("10.0.0.0/8", 2), to("10.1.0.0/16", 3, 20), to("10.1.0.0/16", 4, 10),
                          to("10.1.0.0/16", 5, 10), to("10.1.2.3/32", 6), to("fd00::/8", 7), to("fd00::/64", 8)});
  struct {
    const char* destination;
    std::uint32_t over;      // 0: any interface
    std::uint32_t expected;  // 0: no route
  } const cases[] = {{"192.0.2.1", 0, 1}, {"10.9.9.9", 0, 2}, {"10.1.9.9", 0, 4}, {"10.1.2.3", 0, 6},
                     {"10.1.2.3", 3, 3},  {"10.1.2.3", 5, 5}, {"10.1.2.3", 2, 2}, {"10.1.2.3", 7, 0},
                     {"fd00::1", 0, 8},   {"fd01::1", 0, 7},  {"fe00::1", 0, 0}};
  for (const auto& c : cases) {
    const Route* found = table.find(ip(c.destination), c.over);
    EXPECT_EQ(found != nullptr ? found->interface : 0, c.expected) << c.destination << " over " << c.over;
  }
}

TEST(RouteTable, AnEmptyTableFindsNothing) {
  EXPECT_EQ(RouteTable().find(ip("10.0.0.1")), nullptr);
  EXPECT_EQ(RouteTable().find(ip("fd00::1")), nullptr);
}

/// The definition, read literally: walk over all routes, keep the longest that contains the destination.
const Route* plain_search(const std::vector<Route>& routes, const net::Address& destination) {
  const Route* best = nullptr;
  for (const Route& route : routes) {
    if (!route.destination.contains(destination)) continue;
    if (best == nullptr || route.destination.length() > best->destination.length()) best = &route;
  }
  return best;
}

TEST(RouteTable, AgreesWithAPlainSearchOverThousandsOfRoutes) {
  constexpr std::uint32_t kSeed = 20240607;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::vector<Route> routes;
  for (std::uint32_t i = 1; i <= 5000; ++i) {
    // Few distinct leading bits, so that prefixes nest.
    const auto address = net::Address::from_v4(random() & 0x0f0f0fff);
    routes.push_back({.destination = {address, static_cast<unsigned>(random() % 33)}, .interface = i, .gateway = {}});
  }
  const RouteTable table(routes);
  int found_some = 0;
  for (int i = 0; i < 400; ++i) {
    const auto destination = net::Address::from_v4(random() & 0x0f0f0fff);
    const Route* expected = plain_search(routes, destination);
    const Route* found = table.find(destination);
    ASSERT_EQ(found == nullptr, expected == nullptr) << destination.to_string();
    if (found == nullptr) continue;
    ++found_some;
    EXPECT_EQ(found->interface, expected->interface) << destination.to_string();
  }
  EXPECT_GT(found_some, 200);
}

}  // namespace
}  // namespace limpet::node
