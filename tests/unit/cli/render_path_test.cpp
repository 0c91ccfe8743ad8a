// The table and the objects, as render_path.h describes them, of crossings made by hand.
#include "lb/cli/render_path.h"

#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/control/step_json.h"

namespace limpet::cli {
namespace {

using control::to_json;
using datapath::Counter;
using datapath::Hook;
using lab::Crossing;
using lab::PacketFacts;
using net::Protocol;
using std::chrono::microseconds;
using Kind = PacketFacts::Kind;

constexpr microseconds kBegin{1'700'000'000'000'000};

net::Tuple tuple(Protocol protocol, const char* from, const char* to) {
  return {protocol, *net::AddressPort::parse(from), *net::AddressPort::parse(to)};
}

PacketFacts tcp(const char* from, const char* to) {
  return {.kind = Kind::transport, .tuple = tuple(Protocol::tcp, from, to), .quoted = {}, .detail = "S"};
}

PacketFacts icmp_error(const char* from, const char* to, const net::Tuple& quoted) {
  const net::Tuple outer{Protocol::icmp, {*net::Address::parse(from), 0}, {*net::Address::parse(to), 0}};
  return {.kind = Kind::icmp_error, .tuple = outer, .quoted = quoted, .detail = "port-unreachable"};
}

Crossing crossing(std::uint64_t number, microseconds since, Hook hook, PacketFacts before, PacketFacts after,
                  Counter outcome) {
  Crossing result;
  result.number = number;
  result.time = kBegin + since;
  result.hook = hook;
  result.before = std::move(before);
  result.after = std::move(after);
  result.outcome = outcome;
  return result;
}

/// A connection's first packet, at both of its hooks.
std::vector<Crossing> begun() {
  const PacketFacts sent = tcp("10.1.0.2:40000", "10.96.0.10:80");
  const PacketFacts chosen = tcp("10.1.0.2:40000", "10.2.1.2:8080");
  const PacketFacts masqueraded = tcp("10.3.0.1:2000", "10.2.1.2:8080");
  std::vector<Crossing> both{crossing(1, {}, Hook::prerouting, sent, chosen, Counter::rewritten),
                             crossing(1, {}, Hook::postrouting, chosen, masqueraded, Counter::rewritten)};
  datapath::Decision& decision = both[0].decision.emplace();
  decision.action = datapath::Action::dnat;
  decision.reason = datapath::Reason::picked;
  decision.affinity = datapath::AffinityOutcome::miss;
  decision.masquerade = true;
  decision.endpoint = chosen.tuple.destination;
  both[0].service = "t/web:http";
  both[0].verdict = {.rewritten = true, .set_mark = true, .mark = 0x1000};
  both[1].hit = flow::KeyRole::middle;
  both[1].verdict = {.rewritten = true, .set_mark = true, .mark = 0};
  return both;
}

Crossing refused() {
  const PacketFacts query{.kind = Kind::transport,
                          .tuple = tuple(Protocol::udp, "10.1.0.2:5353", "10.96.0.20:53"),
                          .quoted = {},
                          .detail = {}};
  Crossing result = crossing(2, microseconds(1'000'002), Hook::prerouting, query, query, Counter::dropped_rejected);
  datapath::Decision& decision = result.decision.emplace();
  decision.action = datapath::Action::reject;
  decision.reason = datapath::Reason::no_endpoints;
  result.service = "t/dns:dns";
  result.verdict = {.accept = false, .reply = net::ReplyKind::port_unreachable};
  return result;
}

std::string printed(const std::vector<Crossing>& crossings) {
  std::ostringstream out;
  print_table(crossings, out);
  return out.str();
}

TEST(RenderPath, is_a_table_for_people) {
  std::vector<Crossing> crossings = begun();
  crossings.push_back(refused());
  EXPECT_EQ(
      printed(crossings),
      "    time hook        packet                               key    what becomes of it\n"
      "0.000000 PREROUTING  tcp 10.1.0.2:40000 > 10.96.0.10:80 S new    dst := 10.2.1.2:8080, picked (miss), +mark\n"
      "         POSTROUTING tcp 10.1.0.2:40000 > 10.2.1.2:8080 S middle src := 10.3.0.1:2000, -mark\n"
      "1.000002 PREROUTING  udp 10.1.0.2:5353 > 10.96.0.20:53    -      drop: no endpoint, port unreachable sent\n");
}

TEST(RenderPath, shows_what_no_rule_diverts) {
  const PacketFacts facts = tcp("10.1.0.2:1", "10.7.0.7:2");
  Crossing passed = crossing(1, {}, {}, facts, facts, Counter::packets);
  passed.hook.reset();
  EXPECT_EQ(printed({passed}),
            "    time hook        packet                        key    what becomes of it\n"
            "0.000000 -           tcp 10.1.0.2:1 > 10.7.0.7:2 S -      not diverted\n");
}

TEST(RenderPath, marks_what_was_readdressed) {
  Crossing second = begun()[1];
  second.captured = tuple(Protocol::tcp, "10.96.0.10:80", "10.1.0.2:40000");
  EXPECT_NE(printed({second}).find(" ~tcp 10.1.0.2:40000 > 10.2.1.2:8080 S middle "), std::string::npos);
  EXPECT_EQ(to_json(second)["captured"].dump(), R"({"source":"10.96.0.10:80","destination":"10.1.0.2:40000"})");
}

/// 120 columns: an error about an IPv6 connection takes more, so what becomes of it stands below.
TEST(RenderPath, goes_on_in_a_second_line) {
  const Crossing error = [] {
    const char* const node = "[fd00::5]:2000";
    PacketFacts before = icmp_error("fd02::1234:5678", "fd00::5", tuple(Protocol::udp, node, "[fd02::1]:8080"));
    PacketFacts after = before;
    after.tuple.destination.address = *net::Address::parse("2001:db8::7");
    after.quoted.source = *net::AddressPort::parse("[2001:db8::7]:40000");
    Crossing result = crossing(1, {}, Hook::prerouting, before, after, Counter::rewritten);
    result.hit = flow::KeyRole::inner;
    return result;
  }();
  EXPECT_EQ(printed({error}),
            "    time hook        packet                                          key    what becomes of it\n"
            "0.000000 PREROUTING  icmp fd02::1234:5678 > fd00::5 port-unreachable inner\n"
            "                       about udp [fd00::5]:2000 > [fd02::1]:8080\n"
            "                       dst := 2001:db8::7, about := udp [2001:db8::7]:40000 > [fd02::1]:8080\n");
}

TEST(RenderPath, is_one_object_a_crossing) {
  const std::vector<Crossing> both = begun();
  EXPECT_EQ(to_json(both[0]).dump(),
            R"({"t":1700000000.0,"packet":1,"hook":"PREROUTING","protocol":"tcp","source":"10.1.0.2:40000",)"
            R"("destination":"10.96.0.10:80","detail":"S","key":"new","decision":{"action":"dnat",)"
            R"("service":"t/web:http","endpoint":"10.2.1.2:8080","masquerade":true,"affinity":"miss",)"
            R"("reason":"picked"},"outcome":"rewritten","to":{"source":"10.1.0.2:40000",)"
            R"("destination":"10.2.1.2:8080"},"mark":true,"verdict":"accept"})");
  EXPECT_EQ(to_json(both[1])["mark"], false);
  EXPECT_EQ(to_json(refused()).dump(),
            R"({"t":1700000001.000002,"packet":2,"hook":"PREROUTING","protocol":"udp","source":"10.1.0.2:5353",)"
            R"("destination":"10.96.0.20:53","key":null,"decision":{"action":"reject","service":"t/dns:dns",)"
            R"("endpoint":null,"masquerade":false,"affinity":"none","reason":"no endpoint"},)"
            R"("outcome":"dropped_rejected","verdict":"drop","answer":"port_unreachable"})");
}

TEST(RenderPath, tells_what_an_error_is_about) {
  const net::Tuple about = tuple(Protocol::udp, "10.1.0.2:5353", "10.96.0.20:53");
  const PacketFacts facts = icmp_error("10.96.0.20", "10.1.0.2", about);
  const auto json = to_json(crossing(1, {}, Hook::postrouting, facts, facts, Counter::accepted_miss));
  EXPECT_EQ(json.dump(),
            R"({"t":1700000000.0,"packet":1,"hook":"POSTROUTING","protocol":"icmp","source":"10.96.0.20",)"
            R"("destination":"10.1.0.2","detail":"port-unreachable","about":{"protocol":"udp",)"
            R"("source":"10.1.0.2:5353","destination":"10.96.0.20:53"},"key":null,"outcome":"accepted_miss",)"
            R"("verdict":"accept"})");
}

}  // namespace
}  // namespace limpet::cli
