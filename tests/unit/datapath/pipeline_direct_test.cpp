// divert.direct: connections that clients make to endpoints themselves, watched so that no service's flow takes their
// pair of addresses and ports.
#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;

struct Kind {
  Family family;
  Protocol protocol;
};
std::string kind_name(const testing::TestParamInfo<Kind>& info) {
  return net::to_string(info.param.protocol) + (info.param.family == Family::v4 ? "_v4" : "_v6");
}

class Direct : public testing::TestWithParam<Kind> {
 protected:
  /// The client's first packet to the endpoint itself, its answer, and the client's answer to that.
  void connect_directly() {
    bench.decider.from_now_on({});
    bench.play({{"PREROUTING client > endpoint S seq=100", "= accepted_direct"},
                {"POSTROUTING endpoint > client SA seq=500 ack=101", "= accepted_direct"},
                {"PREROUTING client > endpoint A seq=101 ack=501", "= accepted_direct"}});
    bench.decider.from_now_on(bench.dnat("endpoint"));
  }
  Bench bench{GetParam().family, GetParam().protocol, {.track_direct = true}};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Direct,
                         testing::Values(Kind{Family::v4, Protocol::tcp}, Kind{Family::v6, Protocol::tcp},
                                         Kind{Family::v4, Protocol::udp}, Kind{Family::v6, Protocol::udp}),
                         kind_name);

TEST_P(Direct, OneThatWasThereFirstKeepsItsPair) {
  connect_directly();
  EXPECT_EQ(bench.counters[Counter::direct_flows], 1u);
  const std::string through = bench.play("PREROUTING client > vip S seq=900");
  EXPECT_TRUE(through.starts_with("client:") && through.ends_with(" > endpoint")) << through;
  EXPECT_EQ(bench.counters[Counter::tuple_clashes], 1u);
  const std::string near = through.substr(0, through.find(' '));
  bench.play({{"POSTROUTING endpoint > " + near + " SA seq=7000 ack=901", "vip > client"},
              {"POSTROUTING endpoint > client A seq=501 ack=101", "= accepted_direct"}});
}

TEST_P(Direct, ItIsNoOnesLoadAndEndsAfterItsTimeout) {
  connect_directly();
  bench.expire_all();
  for (const FlowEvent event : {FlowEvent::opened, FlowEvent::established, FlowEvent::closed, FlowEvent::timed_out}) {
    EXPECT_EQ(bench.load_of(event, {}), 0u);
    EXPECT_EQ(bench.load_of(event), 0u);
  }
}

TEST_P(Direct, WithoutTheOptionNothingIsKept) {
  Bench plain(GetParam().family, GetParam().protocol);
  EXPECT_EQ(plain.play("PREROUTING client > endpoint S"), "= accepted_not_a_service");
  EXPECT_EQ(plain.flows(), 0u);
}

/// A service may come, or come back, at an address that a client has been sending to: kube-proxy takes such a UDP flow's
/// conntrack entry away then. An established TCP connection is left alone.
TEST_P(Direct, IsAskedAboutAgainWhenServicesAreOthers) {
  connect_directly();
  bench.play({{"PREROUTING client > endpoint A seq=101 ack=501", "= accepted_direct"}});
  bench.decider.from_now_on({});
  bench.slots.renew_nobody();
  bench.play({{"PREROUTING client > endpoint A seq=101 ack=501", "= accepted_direct"}});
  EXPECT_EQ(bench.counters[Counter::direct_flows], 1u) << "still nobody's: the same flow";
  bench.decider.from_now_on(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > endpoint A seq=101 ack=501", "= accepted_direct"}});
  bench.slots.renew_nobody();
  const bool is_udp = GetParam().protocol == Protocol::udp;
  bench.play({{"PREROUTING client > endpoint A seq=101 ack=501", is_udp ? "client > endpoint2" : "= accepted_direct"}});
}

/// Of a service whose address is its endpoint's own: it stays there as long as that one serves, whoever else changes.
TEST(DirectUdp, StaysAtTheEndpointThatItGoesToByItself) {
  Bench bench(Family::v4, Protocol::udp, {.track_direct = true});
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > endpoint", "= accepted_direct"}});
  bench.decider.from_now_on(bench.dnat("endpoint2"));
  bench.slots.renew_nobody();
  bench.play({{"PREROUTING client > endpoint", "= accepted_direct"}});
  bench.slots.set(Bench::kEndpoint, 0);
  bench.play({{"PREROUTING client > endpoint", "client > endpoint2"}});
}

/// It passes, but the service may have endpoints by the next packet.
TEST_P(Direct, WhatAServiceDoesNotRefuseIsNone) {
  bench.decider.next(refusal(Action::none, Reason::unrefused)).next(bench.dnat("endpoint"));
  bench.play({{"OUTPUT client > vip S", "= accepted_not_a_service"}, {"OUTPUT client > vip S", "client > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::direct_flows], 0u);
}

TEST(DirectTcp, ASynAfterItsEndIsAConnectionOfItsOwn) {
  Bench bench(Family::v4, Protocol::tcp, {.track_direct = true});
  bench.play({{"PREROUTING client > endpoint S seq=100", "= accepted_direct"},
              {"POSTROUTING endpoint > client RA seq=0 ack=101", "= accepted_direct"},
              {"PREROUTING client > endpoint S seq=9000", "= accepted_direct"}});
  EXPECT_EQ(bench.counters[Counter::direct_flows], 2u);
  EXPECT_EQ(bench.flows(), 1u);
}

}  // namespace
}  // namespace limpet::datapath
