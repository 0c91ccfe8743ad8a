// A process is gone, the next one has its flows: every packet finds what it would have found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;

class Restart : public testing::TestWithParam<Kind> {
 protected:
  Bench bench{GetParam().family, GetParam().protocol};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Restart, testing::ValuesIn(kKinds), kind_name);

TEST_P(Restart, ConnectionsGoOn) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play(
      {{"PREROUTING client > vip S", "client > endpoint"}, {"POSTROUTING endpoint > client SA", "vip > client"}});
  EXPECT_EQ(bench.restart().kept, 1u);
  bench.play({{"PREROUTING client > vip A", "client > endpoint"}, {"POSTROUTING endpoint > client A", "vip > client"}});
  EXPECT_EQ(bench.counters[Counter::new_flows], 1u);
}

TEST_P(Restart, MasqueradedOnesKeepTheirPort) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  EXPECT_EQ(bench.restart().kept, 1u);
  bench.play({{"PREROUTING endpoint > egress SA", "endpoint > client"},
              {"POSTROUTING endpoint > client SA", "vip > client"},
              {"PREROUTING client > vip A", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint A mark=0x1000", "egress > endpoint"}});
}

TEST_P(Restart, APortInUseIsGivenToNobodyElse) {
  Bench one(GetParam().family, GetParam().protocol, {.ports = {{2000, 2000}}});
  one.decider.next(one.dnat("endpoint", true));
  one.play({{"PREROUTING client:40001 > vip S", "client:40001 > endpoint mark=0x1000"},
            {"POSTROUTING client:40001 > endpoint S mark=0x1000", "egress:2000 > endpoint"}});
  one.restart();
  one.play({{"PREROUTING client:40002 > vip S", "client:40002 > endpoint mark=0x1000"},
            {"POSTROUTING client:40002 > endpoint S mark=0x1000", "x dropped_no_port"}});
  one.expire_all();
  one.play({{"PREROUTING client:40002 > vip S", "client:40002 > endpoint mark=0x1000"},
            {"POSTROUTING client:40002 > endpoint S mark=0x1000", "egress:2000 > endpoint"}});
}

TEST_P(Restart, WhoIsNotWantedBeginsAnew) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"}});
  const flow::FlowRecovery found =
      bench.restart([](const flow::Flow& flow) { return flow.endpoint_id != Bench::kEndpoint; });
  EXPECT_EQ(found.refused, 1u);
  bench.play({{"PREROUTING client > vip S", "client > endpoint2"}});
}

TEST(RestartPorts, TheOldestTimeWaitIsStillTheFirstToGive) {
  Bench bench(Family::v4, Protocol::tcp, {.ports = {{2000, 2001}}});
  bench.decider.next(bench.dnat("endpoint", true));
  const auto begin = [&](const std::string& client) {
    bench.play({{"PREROUTING " + client + " > vip S seq=100", client + " > endpoint mark=0x1000"}});
    return bench.play("POSTROUTING " + client + " > endpoint S seq=100 mark=0x1000");
  };
  const auto finish = [&](const std::string& client) {
    const std::string marked = client + " > endpoint mark=0x1000";
    bench.play({{"POSTROUTING endpoint > " + client + " SA seq=500 ack=101", "vip > " + client},
                {"PREROUTING " + client + " > vip A seq=101 ack=501", marked},
                {"PREROUTING " + client + " > vip FA seq=101 ack=501", marked},
                {"POSTROUTING endpoint > " + client + " FA seq=501 ack=102", "vip > " + client},
                {"PREROUTING " + client + " > vip A seq=102 ack=502", marked}});
  };
  const std::string first = begin("client:40001"), second = begin("client:40002");
  finish("client:40002");
  bench.pass(flow::Seconds(1));
  finish("client:40001");

  EXPECT_EQ(bench.restart().kept, 2u);
  EXPECT_EQ(begin("client:40003"), second);
  EXPECT_EQ(begin("client:40004"), first);
  EXPECT_EQ(bench.counters[Counter::ports_reclaimed], 2u);
}

}  // namespace
}  // namespace limpet::datapath
