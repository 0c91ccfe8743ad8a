// A connection's ends stay diverted as long as it lives, however often what is balanced changes meanwhile.
#include "lb/datapath/lingering.h"

#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

using flow::FlowTable;
using flow::Instant;
using flow::LockedFlow;
using flow::Seconds;
using net::Protocol;

constexpr std::size_t kWholeTable = 1'000'000;

L4Address tcp(std::string_view at) {
  return {Protocol::tcp, net::AddressPort::parse(at).value()};
}
Instant second(int n) {
  return Instant{Seconds{n}};
}

class LingeringTest : public testing::Test {
 protected:
  /// A connection of client port `port` that is idle until `deadline`.
  void connect(std::uint16_t port, const L4Address& service, const L4Address& endpoint, int deadline) {
    LockedFlow flow;
    const net::AddressPort client{net::Address::from_v4(0xcb007107), port};
    ASSERT_EQ(flows_.create({service.protocol, client, service.at}, flow), FlowTable::Create::created);
    flow->start(service.protocol);
    flow->endpoint = endpoint.at;
    flow->deadline = second(deadline);
    flows_.commit(*flow);
  }
  void disconnect(std::uint16_t port, const L4Address& service) {
    LockedFlow flow = flows_.find({service.protocol, {net::Address::from_v4(0xcb007107), port}, service.at});
    ASSERT_TRUE(flow);
    flows_.remove(std::move(flow));
  }
  /// The rounds that are needed to let something go: that in which it came, and two without it.
  PlanDelta settle(int now) {
    PlanDelta all;
    for (int round = 0; round < 3; ++round) {
      const PlanDelta delta = lingering_.step(flows_, kWholeTable, second(now));
      EXPECT_EQ(delta.added, DiversionPlan{});
      all.removed = united(std::move(all.removed), delta.removed);
    }
    return all;
  }
  static PlanDelta removal(const L4Address& endpoint) {
    PlanDelta delta;
    delta.removed.endpoints = {endpoint};
    return delta;
  }

  FlowTable flows_{{.capacity = 16, .key = {1, 2}, .timeouts = {}}};
  Lingering lingering_;
};

const L4Address kService = tcp("10.96.0.1:80");
const L4Address kA = tcp("10.2.0.1:8080");
const L4Address kB = tcp("10.2.0.2:8080");

TEST_F(LingeringTest, AnEndpointStaysUntilItsLastConnectionIsGone) {
  connect(1, kService, kA, 100);
  connect(2, kService, kA, 100);
  EXPECT_TRUE(lingering_.hold(removal(kA)).empty()) << "nothing is taken away";
  EXPECT_EQ(lingering_.with({}).endpoints, std::vector{kA});
  EXPECT_TRUE(settle(1).empty());
  disconnect(1, kService);
  EXPECT_TRUE(settle(2).empty());
  disconnect(2, kService);
  EXPECT_EQ(settle(3), removal(kA));
  EXPECT_TRUE(lingering_.empty());
  EXPECT_EQ(lingering_.with({}), DiversionPlan{});
}

TEST_F(LingeringTest, AnIdleOneGoesAfterTwoWholeRounds) {
  connect(1, kService, kB, 100);
  lingering_.hold(removal(kA));
  EXPECT_TRUE(lingering_.step(flows_, kWholeTable, second(1)).empty()) << "the round in which it came";
  EXPECT_TRUE(lingering_.step(flows_, kWholeTable, second(2)).empty()) << "a flow may have been held by a worker";
  EXPECT_EQ(lingering_.step(flows_, kWholeTable, second(3)), removal(kA));
}

TEST_F(LingeringTest, AConnectionWhoseTimeIsUpIsNone) {
  connect(1, kService, kA, 10);
  lingering_.hold(removal(kA));
  EXPECT_TRUE(settle(10).empty());
  EXPECT_EQ(settle(11), removal(kA));
}

TEST_F(LingeringTest, AServiceStaysAsItsEndpointsDo) {
  connect(1, kService, kA, 100);
  PlanDelta gone = removal(kA);
  gone.removed.services = {kService, tcp("10.96.0.2:80")};
  gone.removed.locals = {*net::Address::parse("10.1.0.1")};
  const PlanDelta now = lingering_.hold(gone);
  EXPECT_EQ(now.removed.locals, gone.removed.locals) << "only what connections are reached by is kept";
  EXPECT_TRUE(now.removed.services.empty() && now.removed.endpoints.empty());
  EXPECT_EQ(settle(1).removed.services, std::vector{tcp("10.96.0.2:80")});
  EXPECT_EQ(lingering_.with({}).services, std::vector{kService});
}

TEST_F(LingeringTest, WhatComesBackIsDivertedAlready) {
  connect(1, kService, kA, 100);
  lingering_.hold(removal(kA));
  PlanDelta back;
  back.added.endpoints = {kA, kB};
  EXPECT_EQ(lingering_.hold(back).added.endpoints, std::vector{kB});
  EXPECT_TRUE(lingering_.empty());
  disconnect(1, kService);
  EXPECT_TRUE(settle(1).empty()) << "it is balanced again";
}

// Sixteen flows in steps of three: a round is complete after the sixth step.
TEST_F(LingeringTest, ARoundIsDoneInPieces) {
  for (std::uint16_t port = 1; port <= 16; ++port) connect(port, kService, port == 16 ? kA : kB, 100);
  lingering_.hold(removal(kA));
  for (int step = 0; step < 60; ++step) ASSERT_TRUE(lingering_.step(flows_, 3, second(1)).empty());
  disconnect(16, kService);
  int steps = 0;
  while (steps < 60 && !lingering_.empty()) lingering_.step(flows_, 3, second(2)), ++steps;
  EXPECT_LE(steps, 18);
}

TEST_F(LingeringTest, WhatAFormerProcessLeftIsFound) {
  connect(1, kService, kA, 100);
  connect(2, kService, kB, 100);
  connect(3, kService, tcp("10.2.0.3:8080"), 10);  // its time is up
  DiversionPlan balanced;
  balanced.services = {kService};
  balanced.endpoints = {kB};
  PlanDelta expected;
  expected.added.endpoints = {kA};
  EXPECT_EQ(lingering_.adopt(flows_, balanced, second(11)), expected);
  EXPECT_EQ(lingering_.with(balanced).endpoints, (std::vector{kA, kB}));
  EXPECT_TRUE(settle(12).empty());
  disconnect(1, kService);
  EXPECT_EQ(settle(13), removal(kA));
}

}  // namespace
}  // namespace limpet::datapath
