// How long a flow lives, when a client has proved itself, and what the endpoint's counters say in the end.
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using flow::Milliseconds;
using flow::Seconds;
using net::Family;
using net::Protocol;

const std::string kSyn = "PREROUTING client > vip S seq=100";
const std::string kSynAck = "POSTROUTING endpoint > client SA seq=500 ack=101";
const std::string kAck = "PREROUTING client > vip A seq=101 ack=501";
const std::string kClientFin = "PREROUTING client > vip FA seq=101 ack=501";
const std::string kAckOfFin = "POSTROUTING endpoint > client A seq=501 ack=102";
const std::string kEndpointFin = "POSTROUTING endpoint > client FA seq=501 ack=102";
const std::string kLastAck = "PREROUTING client > vip A seq=102 ack=502";
const std::string kReset = "PREROUTING client > vip R seq=101";
const std::string kRequest = "PREROUTING client > vip";
const std::string kReply = "POSTROUTING endpoint > client";

void play(Bench& bench, const std::vector<std::string>& packets) {
  for (const std::string& packet : packets) {
    const bool request = packet.find("PREROUTING") == 0;
    EXPECT_EQ(bench.play(packet), request ? "client > endpoint" : "vip > client") << packet;
  }
}

// Documentation/networking/nf_conntrack-sysctl.rst, the defaults.
struct Life {
  const char* state;
  Protocol protocol;
  std::vector<std::string> packets;
  Seconds timeout;
};
const Life kLives[] = {
    {"syn_sent", Protocol::tcp, {kSyn}, Seconds(120)},
    {"syn_recv", Protocol::tcp, {kSyn, kSynAck}, Seconds(60)},
    {"established", Protocol::tcp, {kSyn, kSynAck, kAck}, Seconds(432000)},
    {"fin_wait", Protocol::tcp, {kSyn, kSynAck, kAck, kClientFin}, Seconds(120)},
    {"close_wait", Protocol::tcp, {kSyn, kSynAck, kAck, kClientFin, kAckOfFin}, Seconds(60)},
    {"last_ack", Protocol::tcp, {kSyn, kSynAck, kAck, kClientFin, kAckOfFin, kEndpointFin}, Seconds(30)},
    {"time_wait", Protocol::tcp, {kSyn, kSynAck, kAck, kClientFin, kEndpointFin, kLastAck}, Seconds(120)},
    {"close", Protocol::tcp, {kSyn, kSynAck, kAck, kReset}, Seconds(10)},
    {"udp", Protocol::udp, {kRequest, kRequest}, Seconds(30)},
    {"udp_stream", Protocol::udp, {kRequest, kReply}, Seconds(120)},
};

class Lifetime : public testing::TestWithParam<Life> {
 protected:
  void SetUp() override {
    bench.decider.next(bench.dnat("endpoint"));
    play(bench, GetParam().packets);
  }
  Bench bench{Family::v4, GetParam().protocol};
};
INSTANTIATE_TEST_SUITE_P(States, Lifetime, testing::ValuesIn(kLives),
                         [](const auto& life) { return std::string(life.param.state); });

TEST_P(Lifetime, LastsUntilTheDeadline) {
  bench.pass(GetParam().timeout);
  EXPECT_EQ(bench.sweep(), 0u);
  EXPECT_EQ(bench.play("POSTROUTING endpoint > client A"), "vip > client");
  EXPECT_EQ(bench.counters[Counter::expired_flows], 0u);
}

// Without any sweep: a flow past its deadline is none.
TEST_P(Lifetime, EndsWithTheNextPacketAfterTheDeadline) {
  bench.pass(GetParam().timeout + Milliseconds(1));
  EXPECT_EQ(bench.play("POSTROUTING endpoint > client A"), "= accepted_miss");
  EXPECT_EQ(bench.flows(), 0u);
  EXPECT_EQ(bench.counters[Counter::expired_flows], 1u);
  EXPECT_EQ(bench.load_of(FlowEvent::closed), 1u);
}

TEST_P(Lifetime, EndsWithTheSweepAfterTheDeadline) {
  bench.pass(GetParam().timeout + Milliseconds(1));
  EXPECT_EQ(bench.sweep(), 1u);
  EXPECT_EQ(bench.flows(), 0u);
  EXPECT_EQ(bench.counters[Counter::expired_flows], 1u);
}

TEST_P(Lifetime, AConnectionAfterTheDeadlineIsDecidedAgain) {
  bench.decider.from_now_on(bench.dnat("endpoint2"));
  bench.pass(GetParam().timeout + Milliseconds(1));
  EXPECT_EQ(bench.play("PREROUTING client > vip S"), "client > endpoint2");
  EXPECT_EQ(bench.decider.asked.size(), 2u);
}

TEST(LifetimeOfMasqueraded, TimeWaitHoldsItsPortForSixtySeconds) {
  for (const auto& [passed, found] : {std::pair(Milliseconds(60000), true), std::pair(Milliseconds(60001), false)}) {
    Bench bench(Family::v4, Protocol::tcp);
    bench.decider.next(bench.dnat("endpoint", true));
    const std::string marked = "client > endpoint mark=0x1000";
    bench.play({{kSyn, marked},
                {"POSTROUTING client > endpoint S seq=100 mark=0x1000", "egress > endpoint"},
                {kSynAck, "vip > client"},
                {kAck, marked},
                {kClientFin, marked},
                {kEndpointFin, "vip > client"},
                {kLastAck, marked}});
    bench.pass(passed);
    EXPECT_EQ(bench.sweep(), found ? 0u : 1u);
  }
}

// ---- the client proves itself

TEST(Confirmation, OfTcpIsTheAckOfTheEndpointsSequenceNumberPlusOneAndOnlyOnce) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  const struct {
    std::string packet;
    std::size_t confirmed;  // afterwards, in all
  } steps[] = {{kSyn, 0},
               {"PREROUTING client > vip A seq=101 ack=501", 0},  // before the SYN|ACK: guessed
               {kSynAck, 0},
               {"PREROUTING client > vip A seq=101 ack=500", 0},
               {"PREROUTING client > vip A seq=101 ack=502", 0},
               {"PREROUTING client > vip S seq=100", 0},
               {"POSTROUTING endpoint > client A seq=501 ack=501", 0},  // the endpoint's own
               {kAck, 1},
               {kAck, 1},
               {kClientFin, 1}};
  for (const auto& step : steps) {
    bench.play(step.packet);
    EXPECT_EQ(bench.decider.confirmed.size(), step.confirmed) << step.packet;
    EXPECT_EQ(bench.counters[Counter::confirmed], step.confirmed) << step.packet;
    EXPECT_EQ(bench.load_of(FlowEvent::established), step.confirmed) << step.packet;
  }
  const ScriptedDecider::Confirmed expected{bench.at_name("client").address, {7, 0, 101}};
  EXPECT_EQ(bench.decider.confirmed.at(0), expected);
}

TEST(Confirmation, TheSequenceNumberWrapsAround) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{kSyn, "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=0xffffffff ack=101", "vip > client"},
              {"PREROUTING client > vip A seq=101 ack=0", "client > endpoint"}});
  EXPECT_EQ(bench.decider.confirmed.size(), 1u);
}

TEST(Confirmation, OfUdpIsAPacketAfterAReplyAndOnlyOnce) {
  Bench bench(Family::v6, Protocol::udp);
  bench.decider.next(bench.dnat("endpoint"));
  const std::pair<std::string, std::size_t> steps[] = {{kRequest, 0}, {kRequest, 0}, {kReply, 0},
                                                       {kReply, 0},   {kRequest, 1}, {kRequest, 1}};
  for (const auto& [packet, confirmed] : steps) {
    bench.play(packet);
    EXPECT_EQ(bench.decider.confirmed.size(), confirmed) << packet;
  }
}

TEST(Confirmation, WithoutAffinityTheDeciderHearsNothing) {
  Bench bench(Family::v4, Protocol::tcp);
  Decision decision = bench.dnat("endpoint");
  decision.remembered = {};
  bench.decider.next(decision);
  play(bench, {kSyn, kSynAck, kAck});
  EXPECT_TRUE(bench.decider.confirmed.empty());
  EXPECT_EQ(bench.load_of(FlowEvent::established), 1u);
}

TEST(Refreshing, ByPacketsIsAskedForOfEachPacketOfTheClient) {
  Bench bench(Family::v4, Protocol::tcp);
  Decision decision = bench.dnat("endpoint");
  decision.refreshed_by_packets = true;
  bench.decider.next(decision);
  const std::pair<std::string, std::size_t> steps[] = {{kSyn, 1}, {kSynAck, 1}, {kAck, 2}, {kAck, 3}};
  for (const auto& [packet, refreshed] : steps) {
    bench.play(packet);
    EXPECT_EQ(bench.decider.refreshed.size(), refreshed) << packet;
  }
  const ScriptedDecider::Confirmed expected{bench.at_name("client").address, {7, 0, 101}};
  EXPECT_EQ(bench.decider.refreshed.at(2), expected);
}

TEST(Refreshing, ByConnectionsIsTheDecidersBusinessAlone) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  play(bench, {kSyn, kSynAck, kAck, kAck});
  EXPECT_TRUE(bench.decider.refreshed.empty());
}

// ---- the endpoint's counters

struct Account {
  const char* name;
  Protocol protocol;
  std::vector<std::string> packets;
  std::uint64_t opened, established, refused, timed_out;
};
const Account kAccounts[] = {
    {"tcp_unanswered", Protocol::tcp, {kSyn, kSyn}, 1, 0, 0, 1},
    {"tcp_refused", Protocol::tcp, {kSyn, "POSTROUTING endpoint > client RA ack=101"}, 1, 0, 1, 0},
    {"tcp_reset_without_ack", Protocol::tcp, {kSyn, "POSTROUTING endpoint > client R"}, 1, 0, 0, 0},
    {"tcp_never_confirmed", Protocol::tcp, {kSyn, kSynAck}, 1, 0, 0, 0},
    {"tcp_whole", Protocol::tcp, {kSyn, kSynAck, kAck, kClientFin, kEndpointFin, kLastAck}, 1, 1, 0, 0},
    {"tcp_reset_later", Protocol::tcp, {kSyn, kSynAck, kAck, "POSTROUTING endpoint > client R seq=501"}, 1, 1, 0, 0},
    {"tcp_port_used_again",
     Protocol::tcp,
     {kSyn, kSynAck, kAck, kClientFin, kEndpointFin, kLastAck, kSyn, kSynAck, kAck},
     2,
     2,
     0,
     0},
    {"udp_unanswered", Protocol::udp, {kRequest, kRequest}, 1, 0, 0, 1},
    {"udp_answered", Protocol::udp, {kRequest, kReply}, 1, 0, 0, 0},
    {"udp_conversation", Protocol::udp, {kRequest, kReply, kRequest}, 1, 1, 0, 0},
};

class Load : public testing::TestWithParam<Account> {};
INSTANTIATE_TEST_SUITE_P(Accounts, Load, testing::ValuesIn(kAccounts),
                         [](const auto& account) { return std::string(account.param.name); });

TEST_P(Load, BalancesOut) {
  const Account& account = GetParam();
  Bench bench(Family::v4, account.protocol);
  bench.decider.next(bench.dnat("endpoint"));
  play(bench, account.packets);
  EXPECT_EQ(bench.load_of(FlowEvent::closed), account.opened - 1) << "the last is still there";
  bench.expire_all();
  EXPECT_EQ(bench.load_of(FlowEvent::opened), account.opened);
  EXPECT_EQ(bench.load_of(FlowEvent::established), account.established);
  EXPECT_EQ(bench.load_of(FlowEvent::refused), account.refused);
  EXPECT_EQ(bench.load_of(FlowEvent::timed_out), account.timed_out);
  EXPECT_EQ(bench.load_of(FlowEvent::closed), account.opened);
  EXPECT_EQ(bench.load_of(FlowEvent::opened, Bench::kEndpoint2), 0u);
}

}  // namespace
}  // namespace limpet::datapath
