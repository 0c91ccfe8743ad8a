// Source ports: tuple clashes, masquerading, pools that run dry.
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;

class Ports : public testing::TestWithParam<Kind> {
 protected:
  Bench bench{GetParam().family, GetParam().protocol};

  /// Sends a packet that must be rewritten to come from another port of `who`'s address; names that end `as`.
  static void learn(Bench& on, const std::string& step, const std::string& who, const std::string& as, Hook hook,
                    const std::string& from, const std::string& to, std::uint32_t mark = 0) {
    const Sent sent = on.at(hook).mark(mark).send(on.packet(from, to).flags("S"));
    ASSERT_TRUE(sent.verdict.rewritten) << step;
    EXPECT_EQ(sent.ends().destination, on.at_name("endpoint")) << step;
    EXPECT_EQ(sent.ends().source.address, on.at_name(who).address) << step;
    EXPECT_NE(sent.ends().source.port, on.at_name(who).port) << step;
    EXPECT_GE(sent.ends().source.port, 1024) << step;
    on.name(as, sent.ends().source);
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, Ports, testing::ValuesIn(kKinds), kind_name);

TEST_P(Ports, AClashTakesAnotherSourcePortAndRestoresItInTheReply) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"}});
  learn(bench, "clash", "client", "near", Hook::prerouting, "client", "vip2");
  bench.play({{"PREROUTING client > vip2 S", "near > endpoint"},
              {"PREROUTING near > endpoint S", "= accepted_direct"},
              {"POSTROUTING near > endpoint S", "= accepted_direct"},
              {"POSTROUTING endpoint > near SA", "vip2 > client"},
              {"POSTROUTING endpoint > client SA", "vip > client"},
              {"PREROUTING client > vip2 A", "near > endpoint"},
              {"PREROUTING client > vip A", "client > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::tuple_clashes], 1u);
  EXPECT_EQ(bench.flows(), 2u);
}

TEST_P(Ports, AClashOfALocalClient) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"OUTPUT local > vip S", "local > endpoint"}});
  learn(bench, "clash", "local", "near", Hook::output, "local", "vip2");
  bench.play({{"INPUT endpoint > near SA", "vip2 > local"}, {"INPUT endpoint > local SA", "vip > local"}});
}

TEST_P(Ports, AClashOfMasqueradedConnections) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  learn(bench, "clash", "client", "near", Hook::prerouting, "client", "vip2");
  learn(bench, "its port", "egress", "egress2", Hook::postrouting, "near", "endpoint", kMark);
  bench.play({{"PREROUTING endpoint > egress2 SA", "endpoint > near"},
              {"POSTROUTING endpoint > near SA", "vip2 > client"},
              {"PREROUTING endpoint > egress SA", "endpoint > client"},
              {"POSTROUTING endpoint > client SA", "vip > client"}});
}

// The inner pair of a masqueraded flow is a middle pair of a process on the egress address.
TEST_P(Ports, ALocalClientClashesWithAMasqueradedOne) {
  bench.decider.next(bench.dnat("endpoint", true)).next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  learn(bench, "clash", "egress", "near", Hook::output, "egress", "vip2");
  bench.play({{"INPUT endpoint > near SA", "vip2 > egress"}, {"PREROUTING endpoint > egress SA", "endpoint > client"}});
}

TEST_P(Ports, AMasqueradedClientGivesWayToALocalOne) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint", true));
  bench.play(
      {{"OUTPUT egress > vip S", "egress > endpoint"}, {"PREROUTING client > vip S", "client > endpoint mark=0x1000"}});
  learn(bench, "its port", "egress", "egress2", Hook::postrouting, "client", "endpoint", kMark);
  bench.play(
      {{"INPUT endpoint > egress SA", "vip > egress"}, {"PREROUTING endpoint > egress2 SA", "endpoint > client"}});
}

TEST_P(Ports, OfAClosedConnectionAreFreeAgain) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"}});
  bench.expire_all();
  bench.play({{"PREROUTING client > vip2 S", "client > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::tuple_clashes], 0u);
}

// Free, outside 32768-60999 (net.ipv4.ip_local_port_range) and no nodePort (31332): kept; else one of masqueradePorts.
TEST_P(Ports, AreKeptWhereTheyMayBe) {
  const struct {
    std::uint16_t port;
    bool kept;
  } rows[] = {{80, true},    {1024, true},   {30000, true},  {31331, true},  {31332, false}, {31333, true},
              {32767, true}, {32768, false}, {45000, false}, {60999, false}, {61000, true},  {65535, true}};
  for (const auto& row : rows) {
    Bench fresh(GetParam().family, GetParam().protocol);
    fresh.decider.next(fresh.dnat("endpoint", true));
    const net::AddressPort client{fresh.at_name("client").address, row.port};
    fresh.at(Hook::prerouting).send(fresh.packet(client, fresh.at_name("vip")).flags("S"));
    const Sent sent =
        fresh.at(Hook::postrouting).mark(kMark).send(fresh.packet(client, fresh.at_name("endpoint")).flags("S"));
    const std::uint16_t port = sent.ends().source.port;
    EXPECT_EQ(sent.ends().source.address, fresh.at_name("egress").address);
    EXPECT_EQ(port == row.port, row.kept) << row.port;
    EXPECT_TRUE(row.kept || (port >= 1024 && port <= 29999) || port >= 61000) << port;
  }
}

TEST_P(Ports, AnotherClientsPortIsNotFree) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.name("other",
             {net::Address::parse(GetParam().family == Family::v4 ? "198.51.100.8" : "2001:db8:7::8").value(), 4242});
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"PREROUTING other > vip S", "other > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  learn(bench, "its port", "egress", "egress2", Hook::postrouting, "other", "endpoint", kMark);
  bench.play({{"PREROUTING endpoint > egress2 SA", "endpoint > other"},
              {"PREROUTING endpoint > egress SA", "endpoint > client"}});
}

TEST_P(Ports, ToAnotherEndpointEveryPortIsFree) {
  bench.decider.next(bench.dnat("endpoint", true)).next(bench.dnat("endpoint2", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"PREROUTING client > vip2 S", "client > endpoint2 mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"},
              {"POSTROUTING client > endpoint2 S mark=0x1000", "egress > endpoint2"}});
}

// One port in the pool, and clients on ports that may not be kept.
BenchOptions one_port() {
  return {.ports = {{2000, 2000}}};
}
const Step kFirst[] = {{"PREROUTING client:40001 > vip S seq=100", "client:40001 > endpoint mark=0x1000"},
                       {"POSTROUTING client:40001 > endpoint S seq=100 mark=0x1000", "egress:2000 > endpoint"}};

TEST_P(Ports, NoneLeftIsDroppedAndTheNextFreeOneIsUsed) {
  Bench dry(GetParam().family, GetParam().protocol, one_port());
  dry.decider.next(dry.dnat("endpoint", true));
  for (const Step& step : kFirst) EXPECT_EQ(dry.play(step.packet), step.outcome);
  dry.play({{"PREROUTING client:40002 > vip S", "client:40002 > endpoint mark=0x1000"},
            {"POSTROUTING client:40002 > endpoint S mark=0x1000", "x dropped_no_port"},
            {"PREROUTING endpoint > egress:2000 SA", "endpoint > client:40001"}});
  EXPECT_EQ(dry.counters[Counter::ports_reclaimed], 0u);
  dry.expire_all();
  dry.play({{"PREROUTING client:40002 > vip S", "client:40002 > endpoint mark=0x1000"},
            {"POSTROUTING client:40002 > endpoint S mark=0x1000", "egress:2000 > endpoint"}});
}

// The only port is a local client's, whom the pool does not know: tried, given back, and found free later.
TEST_P(Ports, OneThatTurnsOutToBeTakenIsGivenBack) {
  Bench dry(GetParam().family, GetParam().protocol, one_port());
  dry.decider.next(dry.dnat("endpoint")).next(dry.dnat("endpoint", true));
  dry.play({{"OUTPUT egress:2000 > vip S", "egress:2000 > endpoint"},
            {"PREROUTING client:40001 > vip S", "client:40001 > endpoint mark=0x1000"},
            {"POSTROUTING client:40001 > endpoint S mark=0x1000", "x dropped_no_port"},
            {"POSTROUTING client:40001 > endpoint S mark=0x1000", "x dropped_no_port"}});
  dry.expire_all();
  for (const Step& step : kFirst) EXPECT_EQ(dry.play(step.packet), step.outcome);
}

TEST_P(Ports, WithoutAnEgressAddressItIsDropped) {
  Bench bare(GetParam().family, GetParam().protocol, {.with_addresses = false});
  bare.decider.next(bare.dnat("endpoint", true));
  bare.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
             {"POSTROUTING client > endpoint S mark=0x1000", "x dropped_no_egress"},
             {"POSTROUTING client > endpoint S mark=0x1000", "x dropped_no_egress"}});
}

// Replies to a lost address never arrive: a UDP client is given a new flow, a TCP connection is past help.
TEST_P(Ports, WhenTheEgressAddressIsLostTheFlowIsNotKeptAlive) {
  Bench moved(GetParam().family, GetParam().protocol);
  moved.decider.next(moved.dnat("endpoint", true)).next(moved.dnat("endpoint", false));
  moved.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  moved.lose_addresses();
  moved.play({{"POSTROUTING client > endpoint S mark=0x1000", "x dropped_no_egress"}});
  moved.play({{"PREROUTING client > vip S", "client > endpoint"}});
}

// ---- TIME_WAIT ports are given away, the oldest first

/// From the SYN|ACK to TIME_WAIT, of the client on `port`.
void finish(Bench& bench, const std::string& client) {
  const std::string marked = client + " > endpoint mark=0x1000";
  bench.play({{"POSTROUTING endpoint > " + client + " SA seq=500 ack=101", "vip > " + client},
              {"PREROUTING " + client + " > vip A seq=101 ack=501", marked},
              {"PREROUTING " + client + " > vip FA seq=101 ack=501", marked},
              {"POSTROUTING endpoint > " + client + " FA seq=501 ack=102", "vip > " + client},
              {"PREROUTING " + client + " > vip A seq=102 ack=502", marked}});
}
void begin(Bench& bench, const std::string& client) {
  bench.play({{"PREROUTING " + client + " > vip S seq=100", client + " > endpoint mark=0x1000"}});
}
std::string masquerade(Bench& bench, const std::string& client) {
  return bench.play("POSTROUTING " + client + " > endpoint S seq=100 mark=0x1000");
}

TEST(ReclaimedPorts, TheOldestTimeWaitGivesItsPort) {
  Bench bench(Family::v4, Protocol::tcp, {.ports = {{2000, 2001}}});
  bench.decider.next(bench.dnat("endpoint", true));
  std::map<std::string, std::string> port_of;
  for (const std::string client : {"client:40001", "client:40002"}) {
    begin(bench, client);
    port_of[client] = masquerade(bench, client);
  }
  EXPECT_NE(port_of["client:40001"], port_of["client:40002"]);
  finish(bench, "client:40002");  // first to end, though second to begin
  bench.pass(flow::Seconds(1));
  finish(bench, "client:40001");

  begin(bench, "client:40003");
  EXPECT_EQ(masquerade(bench, "client:40003"), port_of["client:40002"]);
  EXPECT_EQ(bench.counters[Counter::ports_reclaimed], 1u);
  EXPECT_EQ(bench.flows(), 2u) << "the flow that had it is gone";
  bench.play({{"POSTROUTING endpoint > client:40002 FA seq=501 ack=102", "= accepted_miss"}});

  begin(bench, "client:40004");
  EXPECT_EQ(masquerade(bench, "client:40004"), port_of["client:40001"]);
  begin(bench, "client:40005");
  EXPECT_EQ(masquerade(bench, "client:40005"), "x dropped_no_port") << "what is left is in use";
  EXPECT_EQ(bench.counters[Counter::ports_reclaimed], 2u);
  bench.expire_all();
  EXPECT_EQ(bench.load_of(FlowEvent::opened), bench.load_of(FlowEvent::closed));
}

TEST(ReclaimedPorts, AConnectionThatBeginsAgainIsNotTimeWait) {
  Bench bench(Family::v4, Protocol::tcp, one_port());
  bench.decider.next(bench.dnat("endpoint", true));
  begin(bench, "client:40001");
  EXPECT_EQ(masquerade(bench, "client:40001"), "egress:2000 > endpoint");
  finish(bench, "client:40001");
  begin(bench, "client:40001");  // the same port again
  EXPECT_EQ(masquerade(bench, "client:40001"), "egress:2000 > endpoint");
  begin(bench, "client:40002");
  EXPECT_EQ(masquerade(bench, "client:40002"), "x dropped_no_port");
  EXPECT_EQ(bench.counters[Counter::ports_reclaimed], 0u);
}

}  // namespace
}  // namespace limpet::datapath
