// Who is asked, when, and what becomes of the answer: new connections, refusals, the middle of connections, ports used
// again, endpoints that no longer serve.
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;

class Decided : public testing::TestWithParam<Kind> {
 protected:
  Bench bench{GetParam().family, GetParam().protocol};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Decided, testing::ValuesIn(kKinds), kind_name);

TEST_P(Decided, WithoutAnEndpointNothingIsKept) {
  const struct {
    Action action;
    Reason reason;
    const char* outcome;
  } rows[] = {
      {Action::none, Reason::not_a_service, "= accepted_not_a_service"},
      {Action::reject, Reason::no_endpoints, "x dropped_rejected"},
      {Action::reject, Reason::no_such_port, "x dropped_rejected"},
      {Action::reject, Reason::ruled, "x dropped_rejected"},
      {Action::drop, Reason::no_local, "x dropped_no_local"},
      {Action::drop, Reason::source_range, "x dropped_source_range"},
      {Action::drop, Reason::unallocated, "x dropped_unallocated"},
      {Action::drop, Reason::ruled, "x dropped_by_rule"},
      {Action::drop, Reason::midstream, "x dropped_midstream"},
  };
  std::size_t asked = 0;
  for (const auto& row : rows) {
    bench.decider.from_now_on(refusal(row.action, row.reason));
    for (const std::string hook : {"PREROUTING", "OUTPUT"}) {
      EXPECT_EQ(bench.play(hook + " client > vip S"), row.outcome) << hook;
      EXPECT_EQ(bench.decider.asked.size(), ++asked) << "each packet is asked about: " << row.outcome;
    }
  }
  EXPECT_EQ(bench.flows(), 0u);
  EXPECT_EQ(bench.counters[Counter::new_flows], 0u);
  EXPECT_EQ(bench.load_of(FlowEvent::opened), 0u);
}

TEST_P(Decided, ConnectionsByRulesAreCountedApart) {
  Decision ruled = bench.dnat("endpoint");
  ruled.by_rules = true;
  bench.decider.next(ruled).next(bench.dnat("endpoint"));
  bench.play("PREROUTING client > vip S");
  bench.play("PREROUTING pod > vip S");
  EXPECT_EQ(bench.counters[Counter::new_flows], 2u);
  EXPECT_EQ(bench.counters[Counter::ruled_flows], 1u);
}

// A VIP that is its own endpoint: there is nothing to translate.
TEST_P(Decided, AnEndpointThatIsTheDestinationIsLeftAlone) {
  bench.decider.next(bench.dnat("vip"));
  bench.play({{"PREROUTING client > vip S", "= accepted_not_a_service"}});
  EXPECT_EQ(bench.flows(), 0u);
}

TEST_P(Decided, AffinityIsCountedByWhatTheTableSaid) {
  const struct {
    AffinityOutcome outcome;
    std::optional<Counter> counter;
    Move move = Move::none;
  } rows[] = {{AffinityOutcome::none, std::nullopt},
              {AffinityOutcome::miss, Counter::affinity_miss},
              {AffinityOutcome::hit, Counter::affinity_hit},
              {AffinityOutcome::expired, Counter::affinity_expired},
              {AffinityOutcome::moved, Counter::affinity_moved_gone, Move::gone},
              {AffinityOutcome::moved, Counter::affinity_moved_drained, Move::drained},
              {AffinityOutcome::moved, Counter::affinity_moved_not_ready, Move::not_ready}};
  for (const auto& row : rows) {
    Bench fresh(GetParam().family, GetParam().protocol);
    Decision decision = fresh.dnat("endpoint");
    decision.affinity = row.outcome;
    decision.move = row.move;
    fresh.decider.next(decision);
    fresh.play(
        {{"PREROUTING client > vip S", "client > endpoint"}, {"PREROUTING client > vip A", "client > endpoint"}});
    for (const Counter counter :
         {Counter::affinity_miss, Counter::affinity_hit, Counter::affinity_expired, Counter::affinity_moved_gone,
          Counter::affinity_moved_drained, Counter::affinity_moved_not_ready}) {
      EXPECT_EQ(fresh.counters[counter], row.counter == counter ? 1u : 0u) << to_string(counter);
    }
  }
}

// ---- TCP: the middle of a connection

TEST(Midstream, FollowsThePolicy) {
  const struct {
    const char* name;
    MidstreamPolicy policy;
    bool known;  // the decider knows the client
    const char* outcome;
  } rows[] = {
      {"affinity, known", MidstreamPolicy::affinity, true, "client > endpoint"},
      {"affinity, unknown", MidstreamPolicy::affinity, false, "x dropped_midstream"},
      {"pick", MidstreamPolicy::pick, true, "client > endpoint"},
      {"drop, known", MidstreamPolicy::drop, true, "x dropped_midstream"},
      {"drop, unknown", MidstreamPolicy::drop, false, "x dropped_midstream"},
  };
  for (const Family family : {Family::v4, Family::v6}) {
    for (const std::string flags : {"A", "PA", "FA", "R", "SA"}) {
      for (const auto& row : rows) {
        SCOPED_TRACE(row.name + (" " + flags));
        Bench bench(family, Protocol::tcp, {.midstream = row.policy});
        const Decision unknown = refusal(Action::drop, Reason::midstream);
        bench.decider.next(row.known ? bench.dnat("endpoint") : unknown);
        EXPECT_EQ(bench.play("PREROUTING client > vip " + flags), row.outcome);
        ASSERT_EQ(bench.decider.asked.size(), 1u);
        EXPECT_EQ(bench.decider.asked[0].known_clients_only, row.policy != MidstreamPolicy::pick);
        EXPECT_TRUE(bench.decider.asked[0].midstream);
        EXPECT_EQ(bench.flows(), row.outcome[0] == 'x' ? 0u : 1u);
      }
    }
  }
}

// The rules bring every packet from an endpoint's port to the node: answers to the node's own probes of a pod too.
TEST(Midstream, IsOnlyOfServices) {
  for (const MidstreamPolicy policy : {MidstreamPolicy::affinity, MidstreamPolicy::pick, MidstreamPolicy::drop}) {
    Bench bench(Family::v4, Protocol::tcp, {.midstream = policy});
    bench.play({{"PREROUTING endpoint > local SA", "= accepted_not_a_service"},
                {"PREROUTING endpoint > local A", "= accepted_not_a_service"}});
  }
}

TEST(Midstream, AnAdoptedConnectionIsEstablished) {
  Bench bench(Family::v4, Protocol::tcp, {.midstream = MidstreamPolicy::pick});
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip A ack=501", "client > endpoint"},
              {"POSTROUTING endpoint > client A", "vip > client"}});
  bench.pass(flow::Seconds(432000));  // nf_conntrack_tcp_timeout_established
  bench.play({{"POSTROUTING endpoint > client A", "vip > client"}});
  EXPECT_TRUE(bench.decider.confirmed.empty());
}

TEST(Midstream, AnAdoptedConnectionThatNobodyAnswersIsNotKept) {
  Bench bench(Family::v4, Protocol::tcp, {.midstream = MidstreamPolicy::pick});
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip A ack=501", "client > endpoint"}});
  bench.pass(flow::Seconds(121));  // nf_conntrack_tcp_timeout_syn_sent and one
  bench.play({{"POSTROUTING endpoint > client A", "= accepted_miss"}});
}

TEST(Midstream, PolicyDoesNotConcernUdpOrSyn) {
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp}) {
    Bench bench(Family::v4, protocol, {.midstream = MidstreamPolicy::drop});
    bench.decider.next(bench.dnat("endpoint"));
    bench.play({{"PREROUTING client > vip S", "client > endpoint"}});
  }
}

// ---- TCP: ports used again

const Step kOpen[] = {{"PREROUTING client > vip S seq=100", "client > endpoint"},
                      {"POSTROUTING endpoint > client SA seq=500 ack=101", "vip > client"},
                      {"PREROUTING client > vip A seq=101 ack=501", "client > endpoint"}};
const Step kClose[] = {{"PREROUTING client > vip FA seq=101 ack=501", "client > endpoint"},
                       {"POSTROUTING endpoint > client FA seq=501 ack=102", "vip > client"},
                       {"PREROUTING client > vip A seq=102 ack=502", "client > endpoint"}};

void play(Bench& bench, std::span<const Step> steps) {
  for (const Step& step : steps) EXPECT_EQ(bench.play(step.packet), step.outcome) << step.packet;
}

TEST(SynAgain, ARetransmittedSynStaysWhereItIs) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip S seq=100", "client > endpoint"},
              {"PREROUTING client > vip S seq=100", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=500 ack=101", "vip > client"},
              {"PREROUTING client > vip S seq=100", "client > endpoint"}});
  play(bench, kOpen);
  EXPECT_EQ(bench.decider.asked.size(), 1u);
}

TEST(SynAgain, OnTimeWaitDecidesAgain) {
  Bench bench(Family::v6, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  play(bench, kOpen);
  play(bench, kClose);
  // Neither a late ACK nor the endpoint's retransmission is a new connection; the SYN is.
  bench.play({{"PREROUTING client > vip A seq=102 ack=502", "client > endpoint"},
              {"POSTROUTING endpoint > client FA seq=501 ack=102", "vip > client"},
              {"PREROUTING client > vip S seq=9000", "client > endpoint2"},
              {"POSTROUTING endpoint2 > client SA seq=1 ack=9001", "vip > client"}});
  EXPECT_EQ(bench.decider.asked.size(), 2u);
  EXPECT_EQ(bench.flows(), 1u);
  EXPECT_EQ(bench.counters[Counter::expired_flows], 0u) << "not idle too long: replaced";
}

TEST(SynAgain, OnAResetConnectionDecidesAgain) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  play(bench, kOpen);
  bench.play({{"PREROUTING client > vip R seq=101", "client > endpoint"},
              {"PREROUTING client > vip S seq=9000", "client > endpoint2"}});
}

// RFC 5961 section 3.2: the endpoint expects 101; a blind guess is passed on, for it to judge, but closes nothing here.
TEST(SynAgain, AfterABlindResetTheConnectionGoesOn) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  play(bench, kOpen);
  bench.play({{"PREROUTING client > vip R seq=77777", "client > endpoint"},
              {"PREROUTING client > vip S seq=9000", "client > endpoint"}});
  EXPECT_EQ(bench.decider.asked.size(), 1u);
}

// ---- a SYN|ACK that is not ours

TEST(ForeignSynAck, IsLeftAloneAndOursIsTranslated) {
  for (const Family family : {Family::v4, Family::v6}) {
    Bench bench(family, Protocol::tcp);
    bench.decider.next(bench.dnat("endpoint"));
    play(bench, kOpen);
    bench.play({{"POSTROUTING endpoint > client SA seq=7777 ack=300", "= foreign_syn_ack"},
                {"POSTROUTING endpoint > client SA seq=500 ack=101", "vip > client"}});
  }
}

TEST(ForeignSynAck, DoesNotKeepTheFlowAlive) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  play(bench, std::span(kOpen).first(2));  // SYN_RECV: 60 s
  bench.pass(flow::Seconds(50));
  bench.play({{"POSTROUTING endpoint > client SA seq=7777 ack=300", "= foreign_syn_ack"}});
  bench.pass(flow::Seconds(11));
  bench.play({{"POSTROUTING endpoint > client SA seq=500 ack=101", "= accepted_miss"}});
}

// ---- UDP: an endpoint that no longer serves

class Withdrawn : public testing::TestWithParam<Family> {
 protected:
  Bench bench{GetParam(), Protocol::udp};
};
INSTANTIATE_TEST_SUITE_P(Families, Withdrawn, testing::Values(Family::v4, Family::v6));

TEST_P(Withdrawn, AUdpFlowIsDecidedAgain) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip", "client > endpoint"}});
  bench.slots.set(Bench::kEndpoint, 0);
  bench.play({{"POSTROUTING endpoint > client", "vip > client"},  // an answer on its way still arrives
              {"PREROUTING client > endpoint", "= accepted_direct"},
              {"PREROUTING client > vip", "client > endpoint2"},
              {"POSTROUTING endpoint2 > client", "vip > client"}});
  EXPECT_EQ(bench.load_of(FlowEvent::closed, Bench::kEndpoint), 1u);
  EXPECT_EQ(bench.load_of(FlowEvent::opened, Bench::kEndpoint2), 1u);
}

TEST_P(Withdrawn, AlsoWhenTheAnswerIsReject) {
  bench.decider.next(bench.dnat("endpoint")).next(refusal(Action::reject, Reason::no_endpoints));
  bench.play({{"PREROUTING client > vip", "client > endpoint"}});
  bench.slots.set(Bench::kEndpoint, 0);
  bench.play({{"PREROUTING client > vip", "x dropped_rejected"}});
  EXPECT_EQ(bench.flows(), 0u);
}

TEST_P(Withdrawn, AnotherEndpointInTheSlotIsNotIt) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip", "client > endpoint"}});
  bench.slots.set({Bench::kEndpoint.slot, 999}, EndpointSlots::ready | EndpointSlots::serving);
  bench.play({{"PREROUTING client > vip", "client > endpoint2"}});
}

TEST_P(Withdrawn, ADrainingEndpointKeepsItsFlows) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip", "client > endpoint"}});
  bench.slots.set(Bench::kEndpoint, EndpointSlots::serving);
  bench.play({{"PREROUTING client > vip", "client > endpoint"}});
}

TEST_P(Withdrawn, ATcpConnectionGoesOn) {
  Bench tcp(GetParam(), Protocol::tcp);
  tcp.decider.next(tcp.dnat("endpoint")).next(tcp.dnat("endpoint2"));
  play(tcp, kOpen);
  tcp.slots.set(Bench::kEndpoint, 0);
  tcp.play({{"PREROUTING client > vip A", "client > endpoint"}});
}

// The direct connection's SYN goes by undiverted; everything that the endpoint sends does come here.
TEST(Direct, ConnectionOnAPairThatAFlowHasLeftPassesAsAWhole) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S seq=100", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=500 ack=101", "vip > client"},
              {"PREROUTING client > vip FA seq=101 ack=501", "client > endpoint"},
              {"POSTROUTING endpoint > client FA seq=501 ack=102", "vip > client"},
              {"PREROUTING client > vip A seq=102 ack=502", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=900000000 ack=300", "= foreign_syn_ack"},
              {"POSTROUTING endpoint > client A seq=900000001 ack=310", "= accepted_miss"}});
}

TEST(Direct, ConnectionBesideALiveFlowIsToldApartByItsNumbers) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S seq=100", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=500 ack=101", "vip > client"},
              {"PREROUTING client > vip A seq=101 ack=501", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=900000000 ack=700000000", "= foreign_syn_ack"},
              {"POSTROUTING endpoint > client A seq=900000001 ack=700000009", "= accepted_direct"},
              {"POSTROUTING endpoint > client A seq=501 ack=111", "vip > client"},
              {"POSTROUTING endpoint > client R seq=900000001", "= accepted_direct"},
              {"POSTROUTING endpoint > client A seq=501 ack=121", "vip > client"}});
}

}  // namespace
}  // namespace limpet::datapath
