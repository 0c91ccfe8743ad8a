// What each hook does to each packet of a flow: the table of hooks in the design, row by row, in both families and
// both protocols. TCP flags stand in every step; UDP has none and ignores them.
#include <gtest/gtest.h>

#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

class Translation : public testing::TestWithParam<Kind> {
 protected:
  Bench bench{GetParam().family, GetParam().protocol};
};
INSTANTIATE_TEST_SUITE_P(Kinds, Translation, testing::ValuesIn(kKinds), kind_name);

TEST_P(Translation, RequestGoesToTheEndpointAndTheReplyComesFromTheVip) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"},
              {"POSTROUTING client > endpoint S", "= accepted_direct"},
              {"PREROUTING endpoint > client SA", "= accepted_direct"},
              {"POSTROUTING endpoint > client SA", "vip > client"},
              {"PREROUTING client > vip A", "client > endpoint"},
              {"POSTROUTING endpoint > client A", "vip > client"}});
  EXPECT_EQ(bench.decider.asked.size(), 1u);
  EXPECT_EQ(bench.flows(), 1u);
  EXPECT_EQ(bench.counters[Counter::new_flows], 1u);
}

TEST_P(Translation, TheDeciderSeesThePacketAsItWasDiverted) {
  bench.decider.next(bench.dnat("endpoint"));
  Bench::Crossing crossing = bench.at(Hook::prerouting).mark(0x4000);
  crossing.packet.in_interface = 9;
  crossing.send(bench.packet("client", "vip").flags("S").ttl(17));
  ASSERT_EQ(bench.decider.asked.size(), 1u);
  const NewConnection& asked = bench.decider.asked[0];
  EXPECT_EQ(asked.tuple.protocol, GetParam().protocol);
  EXPECT_EQ(asked.tuple.source, bench.at_name("client"));
  EXPECT_EQ(asked.tuple.destination, bench.at_name("vip"));
  EXPECT_EQ(asked.hook, Hook::prerouting);
  EXPECT_EQ(asked.in_interface, 9u);
  EXPECT_EQ(asked.mark, 0x4000u);
  EXPECT_EQ(asked.ttl, 17u);
  EXPECT_FALSE(asked.known_clients_only);
  EXPECT_FALSE(asked.midstream);
}

TEST_P(Translation, MasqueradeHidesTheClientBothWaysAndMovesOneBitOfTheMark) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S mark=0x4", "client > endpoint mark=0x1004"},
              {"POSTROUTING client > endpoint S mark=0x1004", "egress > endpoint mark=0x4"},
              {"PREROUTING endpoint > egress SA mark=0x20", "endpoint > client mark=0x20"},
              {"POSTROUTING endpoint > client SA mark=0x20", "vip > client mark=0x20"},
              {"PREROUTING client > vip A", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint A mark=0x1000", "egress > endpoint"},
              {"PREROUTING endpoint > egress A mark=0x1000", "endpoint > client"},
              {"POSTROUTING endpoint > client A", "vip > client"}});
  EXPECT_EQ(bench.flows(), 1u);
}

// Another program's rule may have taken the bit away: the client must stay hidden all the same.
TEST_P(Translation, MasqueradeDoesNotHangOnTheMarkWhereTheEndsDiffer) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S", "egress > endpoint"}});
}

TEST_P(Translation, AMarkBitSetByOthersIsClearedWhereNothingIsMasqueraded) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S mark=0xffffffff", "client > endpoint mark=0xffffefff"},
              {"POSTROUTING endpoint > client SA mark=0x1008", "vip > client mark=0x8"}});
}

TEST_P(Translation, HairpinWhenTheClientIsTheEndpoint) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING pod > vip S", "pod > endpoint mark=0x1000"},
              {"POSTROUTING pod > endpoint S mark=0x1000", "egress > endpoint"},
              {"PREROUTING endpoint > egress SA", "endpoint > pod"},
              {"POSTROUTING endpoint > pod SA", "vip > pod"},
              {"PREROUTING pod > vip A", "pod > endpoint mark=0x1000"},
              {"POSTROUTING pod > endpoint A mark=0x1000", "egress > endpoint"}});
}

// Both ends of the middle key are one: only the mark tells request from reply.
TEST_P(Translation, HairpinOnEqualPorts) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING endpoint > vip S", "endpoint > endpoint mark=0x1000"},
              {"PREROUTING endpoint > endpoint S mark=0x1000", "= accepted_direct"},
              {"POSTROUTING endpoint > endpoint S mark=0x1000", "egress:8080 > endpoint"},
              {"PREROUTING endpoint > egress:8080 SA", "endpoint > endpoint"},
              {"POSTROUTING endpoint > endpoint SA", "vip > endpoint"},
              {"PREROUTING endpoint > vip A", "endpoint > endpoint mark=0x1000"}});
  EXPECT_EQ(bench.decider.asked.size(), 1u);
}

TEST_P(Translation, LocalClient) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"OUTPUT local > vip S", "local > endpoint"},
              {"POSTROUTING local > endpoint S", "= accepted_direct"},
              {"PREROUTING endpoint > local SA", "= accepted_direct"},
              {"INPUT endpoint > local SA", "vip > local"},
              {"OUTPUT local > vip A", "local > endpoint"}});
  EXPECT_EQ(bench.decider.asked.at(0).hook, Hook::output);
}

TEST_P(Translation, MasqueradedLocalClient) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"OUTPUT local > vip S", "local > endpoint mark=0x1000"},
              {"POSTROUTING local > endpoint S mark=0x1000", "egress:5000 > endpoint"},
              {"PREROUTING endpoint > egress:5000 SA", "endpoint > local"},
              {"INPUT endpoint > local SA", "vip > local"},
              {"OUTPUT local > vip A", "local > endpoint mark=0x1000"},
              {"POSTROUTING local > endpoint A mark=0x1000", "egress:5000 > endpoint"}});
}

TEST_P(Translation, EndpointIsAProcessOfThisNode) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"},
              {"INPUT client > endpoint S", "= accepted_direct"},
              {"OUTPUT endpoint > client SA", "= accepted_direct"},
              {"POSTROUTING endpoint > client SA", "vip > client"}});
}

// The kernel may queue a packet twice: as it was, or as it was written back.
TEST_P(Translation, EveryCrossingMayBeRepeated) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"PREROUTING client > endpoint S mark=0x1000", "= accepted_direct"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"},
              {"POSTROUTING egress > endpoint S", "= accepted_direct"},
              {"PREROUTING endpoint > egress SA", "endpoint > client"},
              {"PREROUTING endpoint > egress SA", "endpoint > client"},
              {"PREROUTING endpoint > client SA", "= accepted_direct"},
              {"POSTROUTING endpoint > client SA", "vip > client"},
              {"POSTROUTING endpoint > client SA", "vip > client"},
              {"POSTROUTING vip > client SA", "= accepted_direct"}});
  EXPECT_EQ(bench.decider.asked.size(), 1u);
  EXPECT_EQ(bench.flows(), 1u);
}

TEST_P(Translation, WhatIsTranslatedAlreadyIsLeftAloneAtEveryHook) {
  bench.decider.next(bench.dnat("endpoint", true));
  bench.play({{"PREROUTING client > vip S", "client > endpoint mark=0x1000"},
              {"POSTROUTING client > endpoint S mark=0x1000", "egress > endpoint"}});
  for (const std::string hook : {"PREROUTING", "OUTPUT", "POSTROUTING", "INPUT"}) {
    EXPECT_EQ(bench.play(hook + " vip > client SA"), "= accepted_direct") << hook;
    EXPECT_EQ(bench.play(hook + " egress > endpoint A"), "= accepted_direct") << hook;
  }
  for (const std::string hook : {"PREROUTING", "OUTPUT"}) {
    EXPECT_EQ(bench.play(hook + " client > endpoint A"), "= accepted_direct") << hook;
    EXPECT_EQ(bench.play(hook + " endpoint > client A"), "= accepted_direct") << hook;
  }
  for (const std::string hook : {"POSTROUTING", "INPUT"}) {
    EXPECT_EQ(bench.play(hook + " client > vip A"), "= accepted_direct") << hook;
    EXPECT_EQ(bench.play(hook + " endpoint > egress A"), "= accepted_direct") << hook;
  }
}

// Endpoints talk to others from the same port, and the mark bit may be somebody else's.
TEST_P(Translation, AMissAtASourceHookIsAcceptedAndNeverDecided) {
  bench.decider.next(bench.dnat("endpoint"));
  bench.play({{"POSTROUTING endpoint > client SA", "= accepted_miss"},
              {"POSTROUTING endpoint > client A mark=0x1000", "= accepted_miss"},
              {"INPUT endpoint > local SA", "= accepted_miss"},
              {"POSTROUTING client > vip S", "= accepted_miss"},
              {"INPUT client > vip S", "= accepted_miss"}});
  EXPECT_TRUE(bench.decider.asked.empty());
  EXPECT_EQ(bench.flows(), 0u);
}

TEST_P(Translation, OneClientPortToTwoEndpointsIsTwoFlows) {
  bench.decider.next(bench.dnat("endpoint")).next(bench.dnat("endpoint2"));
  bench.play({{"PREROUTING client > vip S", "client > endpoint"},
              {"PREROUTING client > vip2 S", "client > endpoint2"},
              {"POSTROUTING endpoint2 > client SA", "vip2 > client"},
              {"POSTROUTING endpoint > client SA", "vip > client"}});
}

TEST_P(Translation, APendingChecksumIsComputedInFullOnTheFirstCrossing) {
  bench.decider.next(bench.dnat("endpoint", true));
  const auto request = bench.packet("client", "vip").flags("S").partial_checksum();
  const Sent first = bench.at(Hook::prerouting).checksum_pending().send(request);  // send() verifies the checksum
  EXPECT_EQ(bench.describe(first), "client > endpoint mark=0x1000");
  const Sent second = bench.at(Hook::postrouting).mark(first.mark).send(first.bytes);
  EXPECT_EQ(bench.describe(second), "egress > endpoint");
  const auto reply = bench.packet("endpoint", "egress").flags("SA").partial_checksum();
  EXPECT_EQ(bench.describe(bench.at(Hook::prerouting).checksum_pending().send(reply)), "endpoint > client");
}

// A UDP super-packet: no checksum between PREROUTING and POSTROUTING, where it comes back even if it is not masqueraded, to get
// the pseudo-header's sum that segmentation starts from.
TEST(SuperPacket, GetsItsPendingChecksumAtPostrouting) {
  Bench bench(net::Family::v4, net::Protocol::udp);
  bench.decider.next(bench.dnat("endpoint"));
  const test::Bytes request = bench.packet("client", "vip").partial_checksum().build();
  EXPECT_EQ(bench.describe(bench.at(Hook::prerouting).segmented_later().send(request)),
            "client > endpoint mark=0x1000");
  const auto out = [&] { return bench.at(Hook::postrouting).segmented_later().bad_checksum(); };
  const Sent marked = out().mark(kMark).send(bench.packet("client", "endpoint").no_checksum().build());
  EXPECT_EQ(bench.describe(marked), "client > endpoint");
  EXPECT_EQ(marked.bytes, bench.packet("client", "endpoint").partial_checksum().build());
  const Sent reply = out().send(bench.packet("endpoint", "client").partial_checksum().build());
  EXPECT_EQ(reply.bytes, bench.packet("vip", "client").partial_checksum().build());
}

TEST_P(Translation, APendingChecksumIsLeftToTheDeviceWhereNothingIsTranslated) {
  const auto request = bench.packet("client", "vip").flags("S").partial_checksum();
  EXPECT_EQ(bench.describe(bench.at(Hook::prerouting).checksum_pending().send(request)), "= accepted_not_a_service");
}

TEST_P(Translation, AWrongChecksumStaysWrong) {
  bench.decider.next(bench.dnat("endpoint"));
  const Sent request =
      bench.at(Hook::prerouting).bad_checksum().send(bench.packet("client", "vip").flags("S").bad_checksum());
  EXPECT_EQ(bench.describe(request), "client > endpoint");
}

TEST(TranslationOfUdp, WithoutAChecksumOverIpv4StaysWithout) {
  Bench bench(net::Family::v4, net::Protocol::udp);
  bench.decider.next(bench.dnat("endpoint"));
  const Sent request = bench.at(Hook::prerouting).send(bench.packet("client", "vip").no_checksum());
  EXPECT_EQ(bench.describe(request), "client > endpoint");
  EXPECT_EQ(test::wire::get16(request.bytes, 26), 0u);  // 20 bytes of IPv4, the field at 6
}

}  // namespace
}  // namespace limpet::datapath
