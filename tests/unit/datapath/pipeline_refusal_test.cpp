// What cannot be translated never leaves half translated: it is dropped, and counted by its reason.
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;
using test::Bytes;
using test::PacketBuilder;

PacketBuilder v4() {
  return PacketBuilder().v4("198.51.100.7", "10.96.0.1").tcp(4242, 80).flags("S");
}
PacketBuilder v6() {
  return PacketBuilder().v6("2001:db8:7::7", "fd00:96::1").udp(4242, 80);
}
Bytes with_byte(Bytes packet, std::size_t at, unsigned value) {
  packet.at(at) = static_cast<std::byte>(value);
  return packet;
}
Bytes cut(Bytes packet, std::size_t size) {
  packet.resize(size);
  return packet;
}

struct Malformed {
  const char* name;
  Bytes packet;
  Counter counter;
};
std::vector<Malformed> malformed() {
  PacketBuilder chain = v6();
  for (int i = 0; i < 9; ++i) chain.extension(60, 8);  // one more than are walked
  return {
      {"empty", {}, Counter::dropped_too_short},
      {"ipv4_header_cut", cut(v4().build(), 19), Counter::dropped_too_short},
      {"tcp_header_cut", cut(v4().build(), 39), Counter::dropped_too_short},
      {"udp_header_cut", cut(v6().build(), 47), Counter::dropped_too_short},
      {"version_5", with_byte(v4().build(), 0, 0x55), Counter::dropped_bad_version},
      {"ihl_4", with_byte(v4().build(), 0, 0x44), Counter::dropped_bad_header_length},
      {"tcp_offset_4", with_byte(v4().build(), 32, 0x40), Counter::dropped_bad_header_length},
      {"udp_length_7", with_byte(v6().build(), 45, 7), Counter::dropped_bad_header_length},
      {"last_fragment_v6", v6().fragment(8, false).build(), Counter::dropped_fragment},
      {"extension_chain", chain.build(), Counter::dropped_extension_chain},
      {"gre", v4().protocol(47).payload("12345678").build(), Counter::dropped_unsupported},
  };
}

TEST(Refused, MalformedPacketsEachUnderItsOwnCounter) {
  for (const Malformed& row : malformed()) {
    SCOPED_TRACE(row.name);
    Bench bench(Family::v4, Protocol::tcp);
    bench.decider.next(bench.dnat("endpoint"));
    const Sent sent = bench.at(Hook::prerouting).send(row.packet);
    EXPECT_FALSE(sent.verdict.accept);
    EXPECT_EQ(to_string(sent.outcome), to_string(row.counter));
    EXPECT_TRUE(bench.decider.asked.empty());
  }
}

TEST(Refused, OtherTransportsPassWhereNothingIsBegun) {
  Bench bench(Family::v4, Protocol::tcp);
  const Bytes gre = v4().protocol(47).payload("12345678").build();
  for (const Hook hook : {Hook::postrouting, Hook::input}) {
    EXPECT_EQ(bench.describe(bench.at(hook).send(gre)), "= accepted_miss");
  }
  EXPECT_EQ(bench.describe(bench.at(Hook::output).send(gre)), "x dropped_unsupported");
}

TEST(Refused, WhatTheKernelDeliveredCutOff) {
  Bench bench(Family::v4, Protocol::tcp);
  bench.name("other", "203.0.113.1:80");
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"}, {"OUTPUT local > vip S", "local > endpoint"}});
  const struct {
    Hook hook;
    const char *from, *to;
  } rows[] = {{Hook::prerouting, "client", "vip"},
              {Hook::output, "local", "vip"},
              {Hook::prerouting, "client:7", "vip"},
              {Hook::postrouting, "endpoint", "client"},
              {Hook::input, "endpoint", "local"}};
  for (const auto& row : rows) {
    const Sent sent = bench.at(row.hook).truncated().send(bench.packet(row.from, row.to).flags("A"));
    EXPECT_EQ(bench.describe(sent), "x dropped_truncated") << to_string(row.hook);
  }
  EXPECT_EQ(bench.flows(), 2u) << "nothing begins with a packet that could not be translated";
  bench.decider.from_now_on({});
  EXPECT_EQ(bench.describe(bench.at(Hook::prerouting).truncated().send(bench.packet("client", "other").flags("A"))),
            "= accepted_not_a_service");
  EXPECT_EQ(
      bench.describe(bench.at(Hook::postrouting).truncated().send(bench.packet("endpoint2", "client").flags("A"))),
      "= accepted_miss");
}

// ---- the flow table is full

class Full : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { bench.decider.next(bench.dnat("endpoint")); }
  void answer_and_confirm(const std::string& client) {
    bench.play("POSTROUTING endpoint > " + client + " SA seq=500 ack=101");
    EXPECT_EQ(bench.play("PREROUTING " + client + " > vip A seq=101 ack=501"), client + " > endpoint");
  }
  Bench bench{GetParam().family, GetParam().protocol, {.flows = 2}};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Full, testing::ValuesIn(kKinds), kind_name);

TEST_P(Full, AHalfOpenFlowIsEvictedAnEstablishedOneNever) {
  bench.play({{"PREROUTING client:1001 > vip S seq=100", "client:1001 > endpoint"}});
  answer_and_confirm("client:1001");
  for (const std::string client : {"client:1002", "client:1003", "client:1004", "client:1005"}) {
    EXPECT_EQ(bench.play("PREROUTING " + client + " > vip S seq=100"), client + " > endpoint");
  }
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 3u);
  EXPECT_EQ(bench.counters[Counter::expired_flows], 0u);
  EXPECT_EQ(bench.flows(), 2u);
  bench.play({{"POSTROUTING endpoint > client:1001 A", "vip > client:1001"},
              {"POSTROUTING endpoint > client:1005 SA seq=1", "vip > client:1005"},
              {"POSTROUTING endpoint > client:1004 SA seq=1", "= accepted_miss"}});
  bench.expire_all();
  EXPECT_EQ(bench.load_of(FlowEvent::opened), 5u);
  EXPECT_EQ(bench.load_of(FlowEvent::closed), 5u);
}

TEST_P(Full, OfEstablishedFlowsItRefusesNewOnes) {
  for (const std::string client : {"client:1001", "client:1002"}) {
    bench.play("PREROUTING " + client + " > vip S seq=100");
    answer_and_confirm(client);
  }
  bench.play({{"PREROUTING client:1003 > vip S", "x dropped_flow_table_full"},
              {"PREROUTING client:1001 > vip A", "client:1001 > endpoint"},
              {"PREROUTING client:1002 > vip A", "client:1002 > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 0u);
}

TEST_P(Full, OfExpiredFlowsItIsNotFull) {
  for (const std::string client : {"client:1001", "client:1002"}) {
    bench.play("PREROUTING " + client + " > vip S seq=100");
    answer_and_confirm(client);
  }
  bench.pass(std::chrono::hours(24 * 365));
  bench.play({{"PREROUTING client:1003 > vip S", "client:1003 > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 0u);
  EXPECT_EQ(bench.counters[Counter::expired_flows], 2u);
}

TEST(FullOfTcp, AStrangersConnectionEvictsAStrangersStrayPacketDoesNot) {
  Bench bench(Family::v4, Protocol::tcp, {.flows = 1});
  bench.decider.next(bench.dnat("endpoint")).next(refusal(Action::drop, Reason::midstream));
  bench.play({{"PREROUTING client:1001 > vip S", "client:1001 > endpoint"},
              {"PREROUTING client:1002 > vip A", "x dropped_midstream"}});
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 0u);
  // Asked whether it is a known client's, the decider says no; then room is made, and it gets an endpoint.
  bench.decider.from_now_on(refusal(Action::drop, Reason::midstream));
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client:1003 > vip S", "client:1003 > endpoint"}});
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 1u);
}

// A packet to no service needs no flow: it neither suffers from a full table nor makes others suffer.
TEST_P(Full, WhatIsNoServicePassesAndEvictsNothing) {
  bench.play({{"PREROUTING client:1001 > vip S", "client:1001 > endpoint"},
              {"PREROUTING client:1002 > vip S", "client:1002 > endpoint"}});
  bench.decider.from_now_on(refusal(Action::none, Reason::not_a_service));
  bench.play({{"PREROUTING endpoint > local SA", "= accepted_not_a_service"}});
  EXPECT_EQ(bench.flows(), 2u);
  EXPECT_EQ(bench.counters[Counter::evicted_flows], 0u);
}

}  // namespace
}  // namespace limpet::datapath
