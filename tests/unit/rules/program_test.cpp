// What an iptables program decides: one small program a case, expected outcomes by the kernel's order of tables.
#include "lb/rules/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/rules/program_bench.h"

namespace limpet::rules {
namespace {

using test::ProgramBench;
using test::tcp;
using test::udp;
using testing::ElementsAre;
using testing::HasSubstr;

const net::Tuple kOutside = tcp("203.0.113.7:40000", "10.31.240.99:80");
const net::Tuple kPod = tcp("10.28.8.9:40000", "10.31.240.99:80");
const net::Tuple kHere = tcp("10.128.0.5:40000", "10.31.240.99:80");
const net::Tuple kToNode = tcp("203.0.113.7:40000", "10.128.0.5:31332");

struct Case {
  const char* name;
  const char* program;
  net::Tuple connection;
  const char* words;
};

TEST(Program, DecidesAsTheTablesAreMet) {
  const Case cases[] = {
      {"nothing", "", kOutside, "none"},
      {"DNAT", "-A PREROUTING -p tcp -j DNAT --to-destination 10.28.8.6:8080\n", kOutside, "dnat 10.28.8.6:8080"},
      {"DNAT from here is OUTPUT's", "-A PREROUTING -p tcp -j DNAT --to-destination 10.28.8.6:8080\n", kHere, "none"},
      {"ACCEPT before DNAT", "-A PREROUTING -j ACCEPT\n-A PREROUTING -j DNAT --to-destination 10.28.8.6\n", kOutside,
       "none"},
      {"REDIRECT goes to the interface's address", "-A PREROUTING -p tcp -j REDIRECT --to-ports 8080\n", kPod,
       "dnat 10.28.8.1:8080"},
      {"REDIRECT from here goes to loopback", "-A OUTPUT -p tcp -j REDIRECT\n", kHere, "dnat 127.0.0.1:80"},
      {"a drop in raw comes first",
       "*raw\n-A PREROUTING -j DROP\nCOMMIT\n-A PREROUTING -j DNAT --to-destination 10.0.0.1\n", kOutside, "drop"},
      {"nothing is tracked in raw", "*raw\n-A PREROUTING -m conntrack --ctstate NEW -j DROP\nCOMMIT\n", kOutside,
       "none"},
      {"in mangle it is", "*mangle\n-A PREROUTING -m conntrack --ctstate NEW -j DROP\nCOMMIT\n", kOutside, "drop"},
      {"mangle's mark leads nat",
       "*mangle\n-A PREROUTING -j MARK --set-mark 7\nCOMMIT\n"
       "-A PREROUTING -m mark --mark 7 -j DNAT --to-destination 10.28.8.6\n",
       kOutside, "dnat 10.28.8.6:80"},
      {"filter FORWARD sees the new destination",
       "*filter\n-A FORWARD -d 10.28.8.6 -o cbr0 -m conntrack --ctstate DNAT -j DROP\nCOMMIT\n"
       "-A PREROUTING -j DNAT --to-destination 10.28.8.6\n",
       kOutside, "drop"},
      {"and not the old",
       "*filter\n-A FORWARD -d 10.31.240.99 -j DROP\nCOMMIT\n-A PREROUTING -j DNAT --to-destination 10.28.8.6\n",
       kOutside, "dnat 10.28.8.6:80"},
      {"REJECT of what nat left", "*filter\n-A FORWARD -d 10.31.240.99 -j REJECT\nCOMMIT\n", kOutside, "reject"},
      {"INPUT is for the node", "*filter\n-A INPUT -p tcp --dport 31332 -j REJECT\nCOMMIT\n", kToNode, "reject"},
      {"FORWARD is not", "*filter\n-A FORWARD -j DROP\nCOMMIT\n", kToNode, "none"},
      {"OUTPUT is from here", "*filter\n-A OUTPUT -d 10.31.240.99 -o eth0 -j DROP\nCOMMIT\n", kHere, "drop"},
      {"OUTPUT sees the way out that it had before DNAT",
       "*filter\n-A OUTPUT -d 10.28.8.6 -o eth0 -j DROP\nCOMMIT\n-A OUTPUT -j DNAT --to-destination 10.28.8.6\n", kHere,
       "drop"},
      {"POSTROUTING sees the new one",
       "*mangle\n-A POSTROUTING -o cbr0 -j DROP\nCOMMIT\n-A OUTPUT -j DNAT --to-destination 10.28.8.6\n", kHere,
       "drop"},
      {"POSTROUTING sees what is not translated too", "*mangle\n-A POSTROUTING -j DROP\nCOMMIT\n", kOutside, "drop"},
      {"a policy", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", kOutside, "drop"},
      {"MASQUERADE", "-A PREROUTING -j DNAT --to-destination 10.28.8.6\n-A POSTROUTING -o cbr0 -j MASQUERADE\n",
       kOutside, "dnat 10.28.8.6:80 masquerade"},
      {"MASQUERADE by another interface",
       "-A PREROUTING -j DNAT --to-destination 10.28.8.6\n-A POSTROUTING -o eth0 -j MASQUERADE\n", kOutside,
       "dnat 10.28.8.6:80"},
      {"MASQUERADE by a mark of nat's",
       "-A PREROUTING -j MARK --or-mark 0x4000\n-A PREROUTING -j DNAT --to-destination 10.28.6.5\n"
       "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n",
       kOutside, "dnat 10.28.6.5:80 masquerade"},
      {"SNAT hides the client too",
       "-A PREROUTING -j DNAT --to-destination 10.28.8.6\n-A POSTROUTING -j SNAT --to-source 10.128.0.5\n", kOutside,
       "dnat 10.28.8.6:80 masquerade"},
      {"what stays on the node sees no POSTROUTING",
       "-A PREROUTING -j DNAT --to-destination 10.128.0.5\n-A POSTROUTING -j MASQUERADE\n", kOutside,
       "dnat 10.128.0.5:80"},
      {"masquerade alone is no decision", "-A POSTROUTING -j MASQUERADE\n", kOutside, "none"},
      {"another family", "-A PREROUTING -j DNAT --to-destination 10.28.8.6\n", tcp("[fd00::1]:1", "[fd00::2]:80"),
       "none"},
      {"IPv6", "-A PREROUTING -d fd00::2 -p tcp -j DNAT --to-destination [fd00::9]:8080\n",
       tcp("[fd00::1]:1", "[fd00::2]:80"), "dnat [fd00::9]:8080"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(ProgramBench(c.program).words(c.connection), c.words);
  }
}

const std::string kRemembers =
    "-A PREROUTING -d 10.31.240.99 -j SVC\n"
    "-A SVC -m recent --rcheck --seconds 60 --name A -j SEP\n"
    "-A SVC -j SEP\n"
    "-A SEP -p tcp -m recent --set --name A -j DNAT --to-destination 10.28.8.6:80\n";

TEST(Program, SaysWhatTheListsKnewOfTheClient) {
  ProgramBench bench(kRemembers);
  EXPECT_EQ(bench.words(kOutside), "dnat 10.28.8.6:80 miss");
  EXPECT_EQ(bench.words(kOutside), "dnat 10.28.8.6:80 hit");
  bench.now += std::chrono::seconds(60);
  EXPECT_EQ(bench.words(kOutside), "dnat 10.28.8.6:80 hit");
  bench.now += std::chrono::milliseconds(60004);  // a tick of 250 Hz more
  EXPECT_EQ(bench.words(kOutside), "dnat 10.28.8.6:80 expired");
  EXPECT_EQ(bench.words(udp("203.0.113.7:1", "192.0.2.2:1")), "none");
}

TEST(Program, KnownClientsOnlyChangesNothing) {
  ProgramBench bench(kRemembers);
  EXPECT_EQ(bench.words(kOutside, true), "drop midstream");
  EXPECT_EQ(bench.words(kOutside, true), "drop midstream");
  EXPECT_TRUE(bench.memory.lists.find("A")->records().empty());
  EXPECT_EQ(bench.words(udp("203.0.113.7:1", "192.0.2.2:1"), true), "none");
  EXPECT_EQ(bench.words(kOutside), "dnat 10.28.8.6:80 miss");
  const auto before = bench.memory.lists.find("A")->records();
  EXPECT_EQ(bench.words(kOutside, true), "dnat 10.28.8.6:80 hit");
  EXPECT_EQ(bench.memory.lists.find("A")->records(), before);
}

TEST(Program, EndpointsHaveNames) {
  const std::string text =
      "-A PREROUTING -p tcp --dport 1 -j DNAT --to-destination 10.0.0.1:80\n"
      "-A PREROUTING -p tcp --dport 2 -j DNAT --to-destination 10.0.0.1-10.0.0.3\n"
      "-A PREROUTING -p tcp --dport 3 -j DNAT --to-destination 10.0.0.1:80\n"
      "-A PREROUTING -p tcp --dport 4 -j REDIRECT --to-ports 99\n";
  std::vector<std::string> names;
  for (const ProgramEndpoint& endpoint : endpoints_of(test::parsed(text))) {
    names.push_back(endpoint.text + " " + endpoint.first.to_string());
  }
  EXPECT_THAT(names, ElementsAre("10.0.0.1:80 10.0.0.1:80", "10.0.0.1-10.0.0.3 10.0.0.1:0", "this node:99 0.0.0.0:99"));
  ProgramBench bench(test::parsed(text), nullptr, {{0, 5}, {1, 6}, {2, 7}});
  const auto id_at = [&](int port) {
    return bench.decide(tcp("203.0.113.7:1", "10.31.240.99:" + std::to_string(port))).endpoint_id;
  };
  EXPECT_EQ(id_at(1), (datapath::EndpointId{0, 5}));
  EXPECT_EQ(id_at(2), (datapath::EndpointId{1, 6}));
  EXPECT_EQ(id_at(3), (datapath::EndpointId{0, 5}));
  EXPECT_EQ(id_at(4), (datapath::EndpointId{2, 7}));
}

TEST(Program, HitsAreItsReasons) {
  ProgramBench bench(kRemembers);
  bench.decide(kOutside);
  std::vector<std::string> why;
  for (const Hit& hit : bench.hits) why.push_back(to_string(hit, net::Family::v4));
  EXPECT_THAT(why, ElementsAre("nat PREROUTING:1 -d 10.31.240.99/32 -j SVC", "nat SVC:2 -j SEP",
                               HasSubstr("nat SEP:1 -p tcp -m recent --set --name A")));
}

}  // namespace
}  // namespace limpet::rules
