// Fragments that the kernel has not put together: the later ones meet the fate of the first.
#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;

class Fragments : public testing::TestWithParam<Family> {
 protected:
  /// Addresses of one that has no ports, after a crossing; "x" or "=" as the bench writes them.
  std::string later(Hook hook, const std::string& from, const std::string& to, std::uint32_t mark = 0) {
    const Sent sent = bench.at(hook).mark(mark).bad_checksum().send(fragment(from, to, 8, false));
    if (!sent.verdict.rewritten) return bench.describe(sent);
    const WireEnds ends = sent.ends();
    return name(ends.source.address) + " > " + name(ends.destination.address) + (sent.mark != 0 ? " marked" : "");
  }
  std::string first(Hook hook, const std::string& from, const std::string& to, std::uint32_t mark = 0) {
    const Sent sent = bench.at(hook).mark(mark).send(fragment(from, to, 0, true));
    if (!sent.verdict.rewritten) return bench.describe(sent);
    const WireEnds ends = sent.ends();
    return name(ends.source.address) + " > " + name(ends.destination.address) + (sent.mark != 0 ? " marked" : "");
  }
  /// Of a later one the bench sees no right checksum: its bytes are payload.
  test::PacketBuilder fragment(const std::string& from, const std::string& to, unsigned offset, bool more) {
    return bench.packet(from, to).payload("0123456789abcdef").fragment(static_cast<std::uint16_t>(offset), more);
  }
  std::string name(const net::Address& address) {
    for (const char* who : {"client", "vip", "endpoint", "egress"}) {
      if (bench.at_name(who).address == address) return who;
    }
    return address.to_string();
  }
  Bench bench{GetParam(), Protocol::udp};
};
INSTANTIATE_TEST_SUITE_P(Families, Fragments, testing::Values(Family::v4, Family::v6),
                         [](const auto& row) { return row.param == Family::v4 ? "v4" : "v6"; });

TEST_P(Fragments, FollowTheFirst) {
  bench.decider.from_now_on(bench.dnat("endpoint"));
  EXPECT_EQ(first(Hook::prerouting, "client", "vip"), "client > endpoint");
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "client > endpoint");
  EXPECT_EQ(first(Hook::postrouting, "endpoint", "client"), "vip > client");
  EXPECT_EQ(later(Hook::postrouting, "endpoint", "client"), "vip > client");
  EXPECT_EQ(bench.counters[Counter::fragments], 2u);
}

TEST_P(Fragments, QueuedTwiceAreChangedOnce) {
  bench.decider.next(bench.dnat("endpoint")).next({});
  EXPECT_EQ(first(Hook::prerouting, "client", "vip"), "client > endpoint");
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "client > endpoint");
  EXPECT_EQ(later(Hook::prerouting, "client", "endpoint"), "= accepted_miss");
}

TEST_P(Fragments, AreMasqueradedAtTheSecondHook) {
  bench.decider.from_now_on(bench.dnat("endpoint", true));
  EXPECT_EQ(first(Hook::prerouting, "client", "vip"), "client > endpoint marked");
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "client > endpoint marked");
  EXPECT_EQ(first(Hook::postrouting, "client", "endpoint", kMark), "egress > endpoint");
  EXPECT_EQ(later(Hook::postrouting, "client", "endpoint", kMark), "egress > endpoint");
}

TEST_P(Fragments, OneThatOvertakesItsFirstGoesNoFurtherThanTheVip) {
  bench.decider.from_now_on(bench.dnat("endpoint"));
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "x dropped_fragment");
  EXPECT_EQ(later(Hook::prerouting, "client", "local"), "= accepted_miss") << "the node's own datagrams";
  EXPECT_EQ(later(Hook::postrouting, "endpoint", "client"), "= accepted_miss");
}

TEST_P(Fragments, AreDroppedWithTheFirst) {
  bench.decider.from_now_on(refusal(Action::drop, Reason::no_local));
  EXPECT_EQ(first(Hook::prerouting, "client", "vip"), "x dropped_no_local");
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "x dropped_fragment");
}

TEST_P(Fragments, OfNoServicePassLikeTheFirst) {
  EXPECT_EQ(first(Hook::prerouting, "client", "vip"), "= accepted_not_a_service");
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "= accepted_miss");
}

TEST_P(Fragments, AreForgottenAfterTheTimeout) {
  bench.decider.from_now_on(bench.dnat("endpoint"));
  first(Hook::prerouting, "client", "vip");
  bench.pass(std::chrono::seconds(30) + flow::Milliseconds(1));
  EXPECT_EQ(later(Hook::prerouting, "client", "vip"), "x dropped_fragment");
}

}  // namespace
}  // namespace limpet::datapath
