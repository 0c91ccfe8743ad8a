// From rules to the packets that must be queued. Expected values: read off the rules by hand.
#include "lb/rules/diversion.h"

#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/kube_rules.h"
#include "tests/unit/rules/program_bench.h"

namespace limpet::rules {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::SizeIs;
using testing::UnorderedElementsAre;
using Texts = std::vector<std::string>;

Diversion of(const std::string& text) {
  Ruleset rules = test::parsed(text);
  complete(rules);
  return Diversion(rules, "f");
}

Texts words(const std::vector<datapath::L4Address>& all) {
  Texts texts;
  for (const auto& one : all) texts.push_back(net::to_string(one.protocol) + " " + one.at.to_string());
  return texts;
}

Texts errors(const std::string& text) {
  Texts texts;
  const Diversion diversion = of(text);
  for (const auto& error : diversion.errors()) texts.push_back(store::to_string(error));
  return texts;
}

/// On the node of the bench: 10.128.0.5, 10.28.8.1, fd00:128::5.
struct Planned {
  explicit Planned(const std::string& text, bool localhost = false) {
    const Diversion diversion = of(text);
    EXPECT_THAT(diversion.errors(), IsEmpty()) << text;
    const auto plan = diversion.plan(test::node_of_bench(), localhost);
    services = words(plan.services);
    endpoints = words(plan.endpoints);
    for (const net::Address& local : plan.locals) locals.push_back(local.to_string());
  }
  Texts services, endpoints, locals;
};

TEST(Diversion, TheWriteUpsDump) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  const Planned plan(std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>()));
  EXPECT_THAT(plan.services,
              UnorderedElementsAre("tcp 10.31.240.99:80", "tcp 10.128.0.5:31332", "tcp 10.28.8.1:31332"));
  EXPECT_THAT(plan.endpoints,
              UnorderedElementsAre("tcp 10.28.8.5:80", "tcp 10.28.8.6:80", "tcp 10.28.6.5:80", "tcp 10.28.7.6:80"));
  EXPECT_THAT(plan.locals, UnorderedElementsAre("10.128.0.5", "10.28.8.1"));
}

TEST(Diversion, EveryServiceOfALargeProgram) {
  const Planned plan(limpet::test::kube_rules(300, 3));
  EXPECT_THAT(plan.services, SizeIs(300 * (1 + 2)));  // a VIP, and a node port on two addresses
  EXPECT_THAT(plan.services,
              IsSupersetOf(Texts{"tcp " + limpet::test::kube_service(299) + ":80", "tcp 10.128.0.5:30299"}));
  EXPECT_THAT(plan.endpoints, SizeIs(300 * 3 - (300 - 64) * 3));  // services n and n + 64 share their endpoints
}

TEST(Diversion, DoorsOfEveryKind) {
  struct Case {
    const char* rules;
    Texts services;
  };
  const Case cases[] = {
      {"-A PREROUTING -d 10.9.0.0/31 -p udp -m udp --dport 53 -j DNAT --to-destination 10.2.0.1\n",
       {"udp 10.9.0.0:53", "udp 10.9.0.1:53"}},
      {"-A OUTPUT -d 10.9.0.1 -p tcp -m multiport --dports 80,443,8000:8001 -j DNAT --to-destination 10.2.0.1:1\n",
       {"tcp 10.9.0.1:80", "tcp 10.9.0.1:443", "tcp 10.9.0.1:8000", "tcp 10.9.0.1:8001"}},
      // What all demands on the way have in common.
      {"-A PREROUTING -d 10.9.0.0/16 -p tcp -m tcp --dport 80:90 -g A\n"
       "-A A -d 10.9.0.1/32 -p tcp -m multiport --dports 70:81,100 -j DNAT --to-destination 10.2.0.1\n"
       "-A A -d 10.8.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.1\n"
       "-A A -d 10.9.0.2/32 -p udp -j DNAT --to-destination 10.2.0.1\n",
       {"tcp 10.9.0.1:80", "tcp 10.9.0.1:81"}},
      // Who is left after those that return.
      {"-A PREROUTING -p tcp -m tcp --dport 80 -j A\n-A A ! -d 10.9.0.1/32 -j RETURN\n"
       "-A A -j DNAT --to-destination 10.2.0.1\n",
       {"tcp 10.9.0.1:80"}},
      {"-A PREROUTING -d 10.9.0.1 -p tcp -j A\n-A A -p tcp -m tcp --dport 3:65535 -j ACCEPT\n"
       "-A A -p tcp -m tcp ! --dport 2 -j ACCEPT\n-A A -j REDIRECT\n",
       {"tcp 10.9.0.1:2"}},
      // Behind a rule that all packets match there is nobody.
      {"-A PREROUTING -j RETURN\n-A PREROUTING -j DNAT --to-destination 10.2.0.1\n", {}},
      {"-A PREROUTING -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.1\n",
       {"tcp 10.128.0.5:80", "tcp 10.28.8.1:80"}},
      {"-A PREROUTING -d 10.128.0.0/16 -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 -j REDIRECT\n",
       {"tcp 10.128.0.5:80"}},
      {"-A PREROUTING -m addrtype ! --dst-type LOCAL -j RETURN\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT\n",
       {"tcp 10.128.0.5:80", "tcp 10.28.8.1:80"}},
      // Of packets that go there whoever sends them: no demand on the source, mark or memory narrows.
      {"-A PREROUTING -d 10.9.0.1 -p tcp --dport 80 -s 10.0.0.0/8 -m mark --mark 0x1 -m recent --rcheck --name A "
       "-m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.2.0.1\n",
       {"tcp 10.9.0.1:80"}},
      {"-A PREROUTING -d fd00:9::1 -p udp -m udp --dport 53 -j DNAT --to-destination [fd00:2::1]:53\n",
       {"udp [fd00:9::1]:53"}},
      {"-A PREROUTING -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:2::1]:53\n",
       {"tcp [fd00:128::5]:80"}},
  };
  for (const Case& c : cases) {
    const Planned plan(c.rules);
    EXPECT_THAT(plan.services, testing::UnorderedElementsAreArray(c.services)) << c.rules;
  }
}

TEST(Diversion, ALoopIsNoWayWithoutEnd) {
  // Two chains that lead to each other do not link; asked all the same, they come to an end.
  EXPECT_THAT(of("-A PREROUTING -d 10.9.0.1 -j A\n-A A -j B\n-A B -j A\n").doors(), IsEmpty());
}

TEST(Diversion, GoalsOfEveryKind) {
  struct Case {
    const char* rules;
    Texts endpoints;
  };
  const Case cases[] = {
      {"-A PREROUTING -d 10.9.0.1 -p tcp --dport 80:81 -j DNAT --to-destination 10.2.0.1-10.2.0.2\n",
       {"tcp 10.2.0.1:80", "tcp 10.2.0.1:81", "tcp 10.2.0.2:80", "tcp 10.2.0.2:81"}},
      {"-A PREROUTING -d 10.9.0.1 -p udp --dport 80 -j DNAT --to-destination 10.2.0.1:8080-8081\n",
       {"udp 10.2.0.1:8080", "udp 10.2.0.1:8081"}},
      {"-A PREROUTING -d 10.9.0.1 -p udp --dport 80 -j DNAT --to-destination :8080\n", {"udp 10.9.0.1:8080"}},
      {"-A PREROUTING -d 10.9.0.1 -p tcp --dport 80 -j REDIRECT --to-ports 8080\n",
       {"tcp 10.128.0.5:8080", "tcp 10.28.8.1:8080"}},
      {"-A OUTPUT -d 10.9.0.1 -p tcp --dport 80 -j REDIRECT\n",
       {"tcp 10.128.0.5:80", "tcp 10.28.8.1:80", "tcp 127.0.0.1:80"}},
      {"-A PREROUTING -d 10.9.0.254/31 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.255-10.2.1.0\n",
       {"tcp 10.2.0.255:80", "tcp 10.2.1.0:80"}},
  };
  for (const Case& c : cases) {
    const Planned plan(c.rules);
    EXPECT_THAT(plan.endpoints, testing::UnorderedElementsAreArray(c.endpoints)) << c.rules;
  }
}

TEST(Diversion, LocalhostIsForNodesThatServeIt) {
  const std::string rules =
      "-A OUTPUT -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.2.0.1\n";
  EXPECT_THAT(Planned(rules).services, UnorderedElementsAre("tcp 10.128.0.5:80", "tcp 10.28.8.1:80"));
  EXPECT_THAT(Planned(rules, true).services,
              UnorderedElementsAre("tcp 10.128.0.5:80", "tcp 10.28.8.1:80", "tcp 127.0.0.1:80"));
  EXPECT_TRUE(of(rules).has_local_doors());
  EXPECT_FALSE(of("-A OUTPUT -d 10.9.0.1 -p tcp --dport 80 -j REDIRECT\n").has_local_doors());
}

TEST(Diversion, WhatCannotBeCountedIsTold) {
  struct Case {
    const char* rules;
    const char* error;
  };
  const Case cases[] = {
      {"-A PREROUTING -j DNAT --to-destination 10.2.0.1\n",
       "f:1: -j DNAT of whatever comes here cannot be diverted, for packets are diverted by protocol, address and "
       "port; "
       "add -p, -d ADDRESS (or -m addrtype --dst-type LOCAL), --dport to it, or to the rules that lead here"},
      {"-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128\n",
       "add -d ADDRESS (or -m addrtype --dst-type LOCAL) to it"},
      {"-A PREROUTING -d 10.9.0.1 -j DNAT --to-destination 10.2.0.1\n", "add -p, --dport to it"},
      {"-A PREROUTING ! -d 10.9.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.1\n", "add -d ADDRESS"},
      {"-A PREROUTING -d 10.0.0.0/8 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.1\n",
       "f:1: -j DNAT of more than 65536"},
      {"-A PREROUTING -d 10.9.0.0/255.255.0.255 -p tcp --dport 1:300 -j DNAT --to-destination 10.2.0.1\n",
       "f:1: -j DNAT of more than 65536"},
      {"-A PREROUTING -d fd00::/64 -p tcp --dport 80 -j DNAT --to-destination fd00:2::1\n", "of more than 65536"},
      {"-A PREROUTING -d 10.9.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.0-10.4.0.0\n", "or to more"},
      {"-A PREROUTING -d 10.9.0.1 -p icmp -j DNAT --to-destination 10.2.0.1\n",
       "f:1: -j DNAT: limpet translates tcp, udp, sctp and udplite, not icmp"},
      {"-A PREROUTING -p tcp -j A\n-A A -j REDIRECT\n", "(by line 1)"},
  };
  for (const Case& c : cases) EXPECT_THAT(errors(c.rules), ElementsAre(HasSubstr(c.error))) << c.rules;
}

TEST(Diversion, EachFaultyRuleOnceAndTheOthersAllTheSame) {
  const Diversion diversion =
      of("-A PREROUTING -p tcp -j A\n-A OUTPUT -p tcp -j A\n-A A -j REDIRECT\n"
         "-A A -d 10.9.0.1 -p tcp --dport 80 -j REDIRECT\n-A OUTPUT -d 10.9.0.2 -p tcp --dport 80 -j REDIRECT\n");
  ASSERT_THAT(diversion.errors(), SizeIs(1));
  EXPECT_EQ(diversion.errors()[0].line, 3U);
  ASSERT_THAT(diversion.doors(), SizeIs(1));  // nobody comes past line 3
  EXPECT_EQ(diversion.doors()[0].line, 5U);
  EXPECT_TRUE(diversion.doors()[0].places.holds(net::Protocol::tcp, test::end("10.9.0.2:80")));
  EXPECT_FALSE(diversion.doors()[0].places.holds(net::Protocol::udp, test::end("10.9.0.2:80")));
  EXPECT_FALSE(diversion.doors()[0].places.holds(net::Protocol::tcp, test::end("10.9.0.2:81")));
}

TEST(Diversion, ADestinationHasADoorAndItsServiceAName) {
  const Diversion diversion =
      of("-A PREROUTING -m addrtype --dst-type LOCAL -j NODE\n"
         "-A NODE -p tcp -m comment --comment \"a/web:http\" -m tcp --dport 30080 -j SVC\n"
         "-A PREROUTING -d 10.9.0.1/32 -p tcp -m comment --comment \"a/web:http cluster IP\" -m tcp --dport 80 -j SVC\n"
         "-A PREROUTING -d 10.9.0.2/32 -p tcp -m comment --comment \"some words\" -m tcp --dport 80:90 -j SVC\n"
         "-A SVC -p tcp -m tcp -j DNAT --to-destination 10.2.0.1:8080\n");
  const auto service = [&](const char* at, bool local = false, net::Protocol protocol = net::Protocol::tcp) {
    const auto* const door = diversion.door_at(protocol, test::end(at), local);
    return door == nullptr ? "no door" : door->service + ":" + std::to_string(door->line);
  };
  EXPECT_EQ(service("10.9.0.1:80"), "a/web:http:5");
  EXPECT_EQ(service("10.9.0.1:80", true), "a/web:http:5");
  EXPECT_EQ(service("10.128.0.5:30080", true), "a/web:http:5");
  EXPECT_EQ(service("10.128.0.5:30080", false), "no door");
  EXPECT_EQ(service("10.9.0.2:85"), ":5");
  EXPECT_EQ(service("10.9.0.2:91"), "no door");
  EXPECT_EQ(service("10.9.0.1:80", false, net::Protocol::udp), "no door");
  EXPECT_EQ(service("[fd00::1]:80"), "no door");
}

TEST(Diversion, ServicesWithoutEndpointsAreRefusedByLimpet) {
  const std::string nat =
      "*nat\n-A PREROUTING -d 10.9.0.1/32 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.1:80\nCOMMIT\n";
  const auto with = [&](const std::string& rule) { return Planned(nat + "*filter\n" + rule + "\nCOMMIT\n").services; };
  EXPECT_THAT(
      with("-A FORWARD -d 10.9.0.9/32 -p tcp -m comment --comment \"x has no endpoints\" -m tcp --dport 80 -j REJECT"),
      UnorderedElementsAre("tcp 10.9.0.1:80", "tcp 10.9.0.9:80"));
  // Firewalls': of an endpoint, of the node, of some clients, of whole networks.
  for (const char* const rule :
       {"-d 10.2.0.1/32 -p tcp --dport 80 -j DROP", "-d 10.128.0.5/32 -p tcp --dport 22 -j DROP",
        "-s 10.0.0.0/8 -d 10.9.0.9/32 -p tcp --dport 80 -j DROP", "-d 10.9.0.0/24 -p tcp --dport 80 -j DROP",
        "-d 10.9.0.9/32 -p tcp -j DROP", "-j DROP"}) {
    EXPECT_THAT(with(std::string("-A FORWARD ") + rule), ElementsAre("tcp 10.9.0.1:80")) << rule;
  }
}

}  // namespace
}  // namespace limpet::rules
