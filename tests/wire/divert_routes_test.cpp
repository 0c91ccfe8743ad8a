// The routes to VIPs, against the kernel: set once, corrected when the node is renumbered, never in the way of a start.
#include <string>

#include <gtest/gtest.h>

#include "lb/divert/diverter.h"
#include "lb/divert/plan_parts.h"
#include "lb/divert/vip_routes.h"
#include "lb/node/node_monitor.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using divert::RouteSources;
using divert::set_vip_routes;
using divert::Warnings;
using testing::Test;

net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

class VipRoutes : public Test {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    must("ip link add name ifa type veth peer name ifb");
    must("ip link set ifa up");
    must("ip link set ifb up");
    must("ip addr add 10.1.0.1/24 dev ifa");
    must("ip addr add fd00:1::1/64 dev ifa nodad");
  }

  /// The source that a local client of the VIP gets.
  static std::string source(const std::string& vip) {
    const std::string route = attempt("ip route get " + vip);
    const auto at = route.find(" src ");
    return at == route.npos ? "" : route.substr(at + 5, route.find(' ', at + 5) - at - 5);
  }
  static std::string ours() { return must("ip -4 route show proto 76") + must("ip -6 route show proto 76"); }

  const datapath::DiversionPlan plan_{
      .services = {{net::Protocol::tcp, {ip("10.96.0.1"), 80}}, {net::Protocol::tcp, {ip("fd00:96::1"), 80}}},
      .endpoints = {},
      .locals = {ip("10.1.0.1"), ip("fd00:1::1")}};
  const RouteSources sources_{.v4 = ip("10.1.0.1"), .v6 = ip("fd00:1::1")};
};

TEST_F(VipRoutes, WhatStandsIsNotAnnouncedAgain) {
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), sources_), Warnings());
  EXPECT_EQ(source("10.96.0.1"), "10.1.0.1");
  EXPECT_EQ(source("fd00:96::1"), "fd00:1::1");
  auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), sources_), Warnings());
  EXPECT_FALSE(monitor->drain()) << "a listener that sets routes at each news would never rest";
}

TEST_F(VipRoutes, WithoutASourceToo) {
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), {}), Warnings());
  auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), {}), Warnings());
  EXPECT_FALSE(monitor->drain());
}

TEST_F(VipRoutes, FollowTheNodesAddress) {
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), sources_), Warnings());
  must("ip addr add 10.1.0.9/16 dev ifa");
  must("ip addr add fd00:1::9/64 dev ifa nodad");
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), {.v4 = ip("10.1.0.9"), .v6 = ip("fd00:1::9")}), Warnings());
  EXPECT_EQ(source("10.96.0.1"), "10.1.0.9") << "corrected while the old one is still there";
  EXPECT_EQ(source("fd00:96::1"), "fd00:1::9");
  must("ip addr del 10.1.0.9/16 dev ifa");
  must("ip addr del fd00:1::9/64 dev ifa");
  EXPECT_EQ(set_vip_routes(divert::vips(plan_), sources_), Warnings());
  EXPECT_EQ(source("10.96.0.1"), "10.1.0.1") << "added anew after the old one went, with its route";
  EXPECT_EQ(source("fd00:96::1"), "fd00:1::1");
  EXPECT_TRUE(divert::remove_vip_routes());
  EXPECT_EQ(ours(), "");
}

TEST_F(VipRoutes, ASourceThatTheNodeDoesNotHaveIsAWarning) {
  auto diverter = divert::Diverter::open({});
  ASSERT_TRUE(diverter) << diverter.error().message;
  const auto applied = diverter->apply(plan_, {.v4 = ip("192.0.2.9"), .v6 = ip("fd00:1::1")});
  ASSERT_TRUE(applied) << applied.error().message;
  ASSERT_EQ(applied->size(), 1U);
  for (const char* word : {"VIP 10.96.0.1", "192.0.2.9", "node.nodeIP", "add a route"}) {
    EXPECT_NE(applied->front().find(word), std::string::npos) << applied->front();
  }
  EXPECT_EQ(source("fd00:96::1"), "fd00:1::1") << "the others are served";
  const auto updated = diverter->update(plan_, sources_);
  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ(*updated, Warnings());
  EXPECT_EQ(source("10.96.0.1"), "10.1.0.1");
}

TEST_F(VipRoutes, ANetworkThatIsDownIsAWarning) {
  must("ip link set lo down");
  must("ip link set ifa down");
  const Warnings warnings = set_vip_routes(divert::vips(plan_), {});
  ASSERT_FALSE(warnings.empty());
  EXPECT_NE(warnings.front().find("Network is down"), std::string::npos) << warnings.front();
}

}  // namespace
}  // namespace limpet::test
