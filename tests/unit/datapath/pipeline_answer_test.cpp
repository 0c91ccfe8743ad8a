// What the pipeline asks its caller to answer, and what it tells an observer.
#include "tests/unit/datapath/pipeline_bench.h"

namespace limpet::datapath {
namespace {

using net::Family;
using net::Protocol;
using net::ReplyKind;

struct Rejected {
  std::string name;
  Protocol protocol;
  bool reset;
  ReplyKind reply;
};

class Answer : public testing::TestWithParam<Rejected> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Answer,
                         testing::Values(Rejected{"tcp", Protocol::tcp, false, ReplyKind::port_unreachable},
                                         Rejected{"udp", Protocol::udp, false, ReplyKind::port_unreachable},
                                         Rejected{"tcp_reset", Protocol::tcp, true, ReplyKind::tcp_reset},
                                         Rejected{"udp_reset", Protocol::udp, true, ReplyKind::port_unreachable}),
                         [](const auto& row) { return row.param.name; });

TEST_P(Answer, ARejectedConnectionIsDroppedAndAnswered) {
  Bench bench(Family::v4, GetParam().protocol, {.reset_rejected_tcp = GetParam().reset});
  bench.decider.from_now_on(refusal(Action::reject, Reason::no_endpoints));
  for (const Hook hook : {Hook::prerouting, Hook::output}) {
    const Sent sent = bench.at(hook).send(bench.packet("client", "vip").flags("S"));
    EXPECT_EQ(bench.describe(sent), "x dropped_rejected");
    EXPECT_EQ(sent.verdict.reply, GetParam().reply);
  }
}

TEST_P(Answer, NothingElseIs) {
  Bench bench(Family::v4, GetParam().protocol, {.reset_rejected_tcp = GetParam().reset});
  for (const auto& [action, reason] :
       {std::pair{Action::drop, Reason::no_local}, {Action::none, Reason::not_a_service}}) {
    bench.decider.from_now_on(refusal(action, reason));
    EXPECT_EQ(bench.at(Hook::prerouting).send(bench.packet("client", "vip").flags("S")).verdict.reply, ReplyKind::none);
  }
}

// RFC 8200 section 8.1: over IPv6 a UDP checksum of zero is none, and must not be sent on. IPv4 allows it (RFC 768).
TEST(ZeroChecksum, OverIpv6IsNotTranslatedOverIpv4ItStays) {
  for (const Family family : {Family::v4, Family::v6}) {
    Bench bench(family, Protocol::udp);
    bench.decider.from_now_on(bench.dnat("endpoint"));
    test::Bytes packet = bench.packet("client", "vip").build();
    const std::size_t field = packet.size() - 3 - 2;  // the payload is "abc"; before it, the header's last field
    packet[field] = packet[field + 1] = std::byte{0};
    const Sent sent = bench.at(Hook::prerouting).send(packet);
    if (family == Family::v6) {
      EXPECT_EQ(bench.describe(sent), "x dropped_zero_checksum");
      continue;
    }
    EXPECT_EQ(bench.describe(sent), "client > endpoint");
    EXPECT_EQ(test::wire::get16(sent.bytes, field), 0);
  }
}

class Notes final : public Observer {
 public:
  void on(const CrossingReport& crossing) noexcept override {
    lines.push_back(std::string(to_string(crossing.hook)) + " " + crossing.before.to_string() + " => " +
                    crossing.after.to_string() + " " + std::string(to_string(crossing.outcome)) +
                    (crossing.hit ? " hit " + std::to_string(static_cast<int>(*crossing.hit)) : "") +
                    (crossing.decision ? " " + std::string(to_string(crossing.decision->action)) : "") +
                    (crossing.verdict.accept ? "" : " dropped"));
    clients.push_back(crossing.client ? crossing.client->to_string() : "-");
    const auto read = [](std::span<const std::byte> bytes) {
      test::Bytes copy(bytes.begin(), bytes.end());
      net::PacketView view;
      return net::parse(copy, view, net::Extent::headers) == net::ParseError::none ? view.tuple : net::Tuple{};
    };
    agree = agree && read(crossing.head) == crossing.before && read(crossing.packet.bytes) == crossing.after;
  }
  std::vector<std::string> lines;
  std::vector<std::string> clients;
  bool agree = true;  // the bytes say what the tuples say
};

TEST(Observed, EachCrossingIsToldOnce) {
  Bench bench(Family::v4, Protocol::tcp);
  Notes notes;
  bench.observe(notes);
  bench.decider.next(bench.dnat("endpoint")).next(refusal(Action::reject, Reason::no_endpoints));
  bench.play({{"PREROUTING client > vip S seq=100", "client > endpoint"},
              {"POSTROUTING endpoint > client SA seq=1 ack=101", "vip > client"},
              {"POSTROUTING client > endpoint S", "= accepted_direct"},
              {"PREROUTING client:7 > vip S", "x dropped_rejected"}});
  const std::vector<std::string> expected{
      "PREROUTING tcp 198.51.100.7:4242 -> 10.96.0.1:80 => tcp 198.51.100.7:4242 -> 10.2.0.5:8080 rewritten dnat",
      "POSTROUTING tcp 10.2.0.5:8080 -> 198.51.100.7:4242 => tcp 10.96.0.1:80 -> 198.51.100.7:4242 rewritten hit 1",
      "POSTROUTING tcp 198.51.100.7:4242 -> 10.2.0.5:8080 => tcp 198.51.100.7:4242 -> 10.2.0.5:8080 accepted_direct "
      "hit 1",
      "PREROUTING tcp 198.51.100.7:7 -> 10.96.0.1:80 => tcp 198.51.100.7:7 -> 10.96.0.1:80 dropped_rejected reject "
      "dropped"};
  EXPECT_EQ(notes.lines, expected);
  EXPECT_EQ(notes.clients, (std::vector<std::string>{"-", "198.51.100.7", "198.51.100.7", "-"}));
  EXPECT_TRUE(notes.agree);
}

// What the node answers itself carries the mark bit past connection tracking; on the wire it must not.
TEST(OwnAnswers, LoseTheMarkBitAtPostrouting) {
  Bench bench(Family::v4, Protocol::tcp);
  const auto reset = [&] { return bench.packet("vip", "client").flags("RA"); };
  const Sent own = bench.at(Hook::postrouting).mark(0xabc0 | kMark).answer().send(reset());
  EXPECT_TRUE(own.verdict.accept && own.verdict.set_mark);
  EXPECT_EQ(own.mark, 0xabc0u & ~kMark);
  Bench::Crossing forwarded = bench.at(Hook::postrouting).mark(kMark);
  forwarded.packet.in_interface = 1;
  EXPECT_FALSE(forwarded.send(reset()).verdict.set_mark) << "somebody else's mark is not ours to clear";
  EXPECT_FALSE(bench.at(Hook::postrouting).mark(kMark).send(bench.packet("vip", "client").flags("A")).verdict.set_mark);
}

}  // namespace
}  // namespace limpet::datapath
