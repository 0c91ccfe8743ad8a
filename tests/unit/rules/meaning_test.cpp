// What programs mean. The seed's meaning is what the document around it says; kube-proxy's layouts are those of
// pkg/proxy/iptables/proxier.go, their meaning its tables of who reaches what.
#include "lb/rules/meaning.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/rules/completion.h"
#include "lb/rules/protocol_names.h"
#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Meant {
  Ruleset rules;
  Meaning meaning;

  explicit Meant(const std::string& text) : rules(test::parsed(text)) {
    complete(rules);
    meaning = find_meaning(rules);
  }

  const std::string& chain(std::uint32_t number) const { return rules.find(Table::nat)->chains[number].name; }

  /// "web tcp", then for each frontend and route "  clusterIP 10.0.0.1:80 [when] -> CHAIN masq [when] @PO"
  std::string text() const {
    std::string text;
    for (const RuledService& service : meaning.services) {
      text += service.name + " " + (service.protocol ? protocol_name(*service.protocol) : "*") + "\n";
      for (const RuledFrontend& frontend : service.frontends) {
        for (const Route& route : frontend.routes) text += "  " + words(frontend.at, route) + "\n";
      }
    }
    return text;
  }
  std::string words(const Frontend& at, const Route& route) const {
    std::string text(to_string(at.role));
    text += " " +
            (at.address ? at.address->to_string()
             : at.local ? "local"
                        : "*") +
            ":" + (at.port ? std::to_string(*at.port) : "*");
    if (!route.when.empty()) text += " [" + print(route.when, rules.family) + "]";
    switch (route.outcome) {
      case Route::Outcome::balance:
        text += " -> " + chain(meaning.balance.cascades[*route.cascade].chain);
        break;
      case Route::Outcome::drop:
        text += " drop";
        break;
      case Route::Outcome::reject:
        text += " reject";
        break;
      case Route::Outcome::leave:
        text += " leave";
        break;
    }
    for (const Demands& when : route.masquerade) {
      text += " masq" + (when.empty() ? "" : " [" + print(when, rules.family) + "]");
    }
    if (route.hooks != 0) text += " @";
    if ((route.hooks & kAtPrerouting) != 0) text += "P";
    if ((route.hooks & kAtOutput) != 0) text += "O";
    return text;
  }
  std::vector<std::string> apart() const {
    std::vector<std::string> lines;
    for (const ApartRule& rule : meaning.apart) lines.push_back(std::to_string(rule.line) + ": " + rule.why);
    return lines;
  }
  std::vector<std::string> masquerades() const {
    std::vector<std::string> lines;
    for (const MasqueradeRule& rule : meaning.masquerades) {
      lines.push_back(chain(rule.at.chain) + " " + print(rule.when, rules.family));
    }
    return lines;
  }
};

TEST(Meaning, OfTheSeed) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  const Meant meant({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  EXPECT_EQ(meant.text(),
            "default/php-apache-svc:http tcp\n"
            "  clusterIP 10.31.240.99:80 -> KUBE-SVC-TLHPL6Z5YI33DALW masq [! -s 10.28.0.0/14] @PO\n"
            "  nodePort local:31332 -> KUBE-XLB-TLHPL6Z5YI33DALW @PO\n");
  EXPECT_THAT(meant.masquerades(), ElementsAre("KUBE-POSTROUTING --mark 0x4000/0x4000"));
  EXPECT_EQ(meant.meaning.masquerade_bits, 0x4000U);
  EXPECT_THAT(meant.apart(), IsEmpty());
  for (const RuledFrontend& frontend : meant.meaning.services[0].frontends) {
    const auto affinity =
        affinity_of(meant.meaning.balance, meant.meaning.balance.cascades[*frontend.routes[0].cascade]);
    ASSERT_TRUE(affinity);
    EXPECT_EQ(affinity->seconds, 10800U);
    EXPECT_TRUE(affinity->alike);
    EXPECT_TRUE(affinity->complete);
    EXPECT_FALSE(affinity->by_destination);
  }
}

const std::string kSkeleton =
    "*nat\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n"
    "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
    "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n"
    "-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n";

/// An endpoint's chain, as today's kube-proxy writes it.
std::string sep(const std::string& name, const std::string& address, bool affinity = false) {
  const std::string comment = " -m comment --comment \"ns/web:http\"";
  return "-A " + name + " -s " + address + "/32" + comment + " -j KUBE-MARK-MASQ\n-A " + name + " -p tcp" + comment +
         (affinity ? " -m recent --set --name " + name + " --mask 255.255.255.255 --rsource" : "") +
         " -m tcp -j DNAT --to-destination " + address + ":8080\n";
}
std::string key(const std::string& address, int port, const std::string& comment) {
  return " -d " + address + "/32 -p tcp -m comment --comment \"ns/web:http " + comment + "\" -m tcp --dport " +
         std::to_string(port);
}

/// A LoadBalancer service, externalTrafficPolicy Local, with source ranges: every chain of today's layout.
const std::string kToday =
    kSkeleton + "-A KUBE-SERVICES" + key("10.96.0.9", 80, "cluster IP") + " -j KUBE-SVC-W\n" + "-A KUBE-SERVICES" +
    key("192.0.2.9", 80, "external IP") + " -j KUBE-EXT-W\n" + "-A KUBE-SERVICES" +
    key("198.51.100.9", 80, "loadbalancer IP") + " -j KUBE-FW-W\n" +
    "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
    "-A KUBE-NODEPORTS -p tcp -m comment --comment \"ns/web:http\" -m tcp --dport 30080 -j KUBE-EXT-W\n"
    "-A KUBE-FW-W -s 203.0.113.0/24 -m comment --comment \"ns/web:http loadbalancer IP\" -j KUBE-EXT-W\n"
    "-A KUBE-EXT-W -s 10.28.0.0/14 -j KUBE-SVC-W\n"
    "-A KUBE-EXT-W -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n"
    "-A KUBE-EXT-W -m addrtype --src-type LOCAL -j KUBE-SVC-W\n"
    "-A KUBE-EXT-W -j KUBE-SVL-W\n"
    "-A KUBE-SVC-W ! -s 10.28.0.0/14" +
    key("10.96.0.9", 80, "cluster IP") + " -j KUBE-MARK-MASQ\n" +
    "-A KUBE-SVC-W -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-A\n-A KUBE-SVC-W -j KUBE-SEP-B\n"
    "-A KUBE-SVL-W -j KUBE-SEP-B\n" +
    sep("KUBE-SEP-A", "10.28.1.1") + sep("KUBE-SEP-B", "10.28.2.2") + "COMMIT\n";

TEST(Meaning, OfTodaysLayout) {
  const Meant meant(kToday +
                    "*filter\n-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL\n"
                    "-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL\n"
                    "-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL\n"
                    "-A KUBE-PROXY-FIREWALL" +
                    key("198.51.100.9", 80, "traffic not accepted by KUBE-FW-W") + " -j DROP\nCOMMIT\n");
  EXPECT_EQ(meant.text(),
            "ns/web:http tcp\n"
            "  clusterIP 10.96.0.9:80 -> KUBE-SVC-W masq [! -s 10.28.0.0/14] @PO\n"
            "  externalIP 192.0.2.9:80 [-s 10.28.0.0/14] -> KUBE-SVC-W @PO\n"
            "  externalIP 192.0.2.9:80 [--src-type LOCAL] -> KUBE-SVC-W masq @PO\n"
            "  externalIP 192.0.2.9:80 -> KUBE-SVL-W @PO\n"
            // 203.0.113.0/24 and the pods' network are apart: no pod gets in.
            "  loadBalancer 198.51.100.9:80 [-s 203.0.113.0/24 --src-type LOCAL] -> KUBE-SVC-W masq @PO\n"
            "  loadBalancer 198.51.100.9:80 [-s 203.0.113.0/24] -> KUBE-SVL-W @PO\n"
            "  loadBalancer 198.51.100.9:80 drop\n"
            "  nodePort local:30080 [-s 10.28.0.0/14] -> KUBE-SVC-W @PO\n"
            "  nodePort local:30080 [--src-type LOCAL] -> KUBE-SVC-W masq @PO\n"
            "  nodePort local:30080 -> KUBE-SVL-W @PO\n");
  EXPECT_THAT(meant.masquerades(), ElementsAre("KUBE-POSTROUTING --mark 0x4000/0x4000"));
  EXPECT_THAT(meant.apart(), IsEmpty());
}

TEST(Meaning, OfExternalTrafficToAllEndpoints) {
  const Meant meant(kSkeleton +
                    "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
                    "-A KUBE-NODEPORTS -p tcp -m comment --comment ns/web:http -m tcp --dport 30080 -j KUBE-EXT-W\n"
                    "-A KUBE-EXT-W -m comment --comment \"masquerade traffic for ns/web:http external destinations\" "
                    "-j KUBE-MARK-MASQ\n-A KUBE-EXT-W -j KUBE-SVC-W\n-A KUBE-SVC-W -j KUBE-SEP-A\n" +
                    sep("KUBE-SEP-A", "10.28.1.1"));
  EXPECT_EQ(meant.text(), "ns/web:http tcp\n  nodePort local:30080 -> KUBE-SVC-W masq @PO\n");
}

TEST(Meaning, OfTheOldLayoutWithoutLocalEndpoints) {
  const Meant meant(
      "-A KUBE-SERVICES" + key("198.51.100.9", 80, "loadbalancer IP") + " -j KUBE-FW-W\n" +
      "-A KUBE-NODEPORTS -p tcp -m comment --comment ns/web:http -m tcp --dport 30080 -j KUBE-XLB-W\n"
      "-A KUBE-FW-W -s 203.0.113.0/24 -j KUBE-XLB-W\n-A KUBE-FW-W -j KUBE-MARK-DROP\n"
      "-A KUBE-XLB-W -s 10.28.0.0/14 -m comment --comment \"Redirect pods trying to reach external loadbalancer VIP to "
      "clusterIP\" -j KUBE-SVC-W\n"
      "-A KUBE-XLB-W -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n"
      "-A KUBE-XLB-W -m addrtype --src-type LOCAL -j KUBE-SVC-W\n"
      "-A KUBE-XLB-W -m comment --comment \"ns/web:http has no local endpoints\" -j KUBE-MARK-DROP\n"
      "-A KUBE-SVC-W -j KUBE-SEP-A\n" +
      sep("KUBE-SEP-A", "10.28.1.1"));
  EXPECT_EQ(meant.text(),
            "ns/web:http tcp\n"
            "  loadBalancer 198.51.100.9:80 [-s 203.0.113.0/24 --src-type LOCAL] -> KUBE-SVC-W masq @PO\n"
            "  loadBalancer 198.51.100.9:80 [-s 203.0.113.0/24] drop @PO\n"
            "  loadBalancer 198.51.100.9:80 drop @PO\n"
            "  nodePort local:30080 [-s 10.28.0.0/14] -> KUBE-SVC-W @PO\n"
            "  nodePort local:30080 [--src-type LOCAL] -> KUBE-SVC-W masq @PO\n"
            "  nodePort local:30080 drop @PO\n");
  EXPECT_EQ(meant.meaning.drop_bits, 0x8000U);
  EXPECT_THAT(meant.apart(), IsEmpty());
}

TEST(Meaning, OfServicesWithoutEndpoints) {
  const Meant meant(
      "*filter\n-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\n-A OUTPUT -m conntrack --ctstate NEW -j "
      "KUBE-SERVICES\n-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES\n"
      "-A KUBE-SERVICES" +
      key("10.96.0.9", 80, "has no endpoints") + " -j REJECT --reject-with icmp-port-unreachable\n" +
      "-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"ns/web:http has no endpoints\" -m addrtype --dst-type "
      "LOCAL -m tcp --dport 30080 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n");
  EXPECT_EQ(meant.text(), "ns/web:http tcp\n  nodePort local:30080 reject\n  address 10.96.0.9:80 reject\n");
}

TEST(Meaning, OfNodePortsOnSomeAddresses) {
  const Meant meant(kSkeleton +
                    "-A KUBE-SERVICES -d 10.128.0.5/32 -j KUBE-NODEPORTS\n"
                    "-A KUBE-NODEPORTS -p tcp -m comment --comment ns/web:http -m tcp --dport 30080 -j KUBE-SVC-W\n"
                    "-A KUBE-SVC-W -j KUBE-SEP-A\n" +
                    sep("KUBE-SEP-A", "10.28.1.1"));
  EXPECT_EQ(meant.text(), "ns/web:http tcp\n  nodePort 10.128.0.5:30080 -> KUBE-SVC-W @PO\n");
}

TEST(Meaning, OfHandWrittenRules) {
  struct Case {
    const char* name;
    std::string rules;
    std::string text;
    std::vector<std::string> masquerades;
  };
  const std::string one = "-d 10.9.9.9 -p tcp --dport 80";
  const Case cases[] = {
      {"cascades in PREROUTING and OUTPUT",
       "-A PREROUTING " + one + " -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.0.0.1\n" +
           "-A PREROUTING " + one + " -j DNAT --to-destination 10.0.0.2\n" + "-A OUTPUT " + one +
           " -j DNAT --to-destination 10.0.0.2\n"
           "-A POSTROUTING -d 10.0.0.0/24 -j MASQUERADE\n",
       " tcp\n  address 10.9.9.9:80 -> PREROUTING @P\n  address 10.9.9.9:80 -> OUTPUT @O\n",
       {"POSTROUTING -d 10.0.0.0/24"}},
      {"chains of other names, reached by goto, and a mark of its own",
       "-A PREROUTING " + one +
           " -g web\n-A web ! -s 10.0.0.0/8 -j hide\n-A web -j pod\n-A hide -j MARK --or-mark 0x8\n"
           "-A pod -p tcp -j DNAT --to-destination 10.0.0.1:8080\n-A POSTROUTING -m mark --mark 0x8/0x8 -j "
           "MASQUERADE\n",
       " tcp\n  address 10.9.9.9:80 -> web masq [! -s 10.0.0.0/8] @P\n",
       {"POSTROUTING --mark 0x8/0x8"}},
      {"by interface and source; the rest is let through",
       "-A PREROUTING " + one + " -i lo -j ACCEPT\n-A PREROUTING " + one +
           " -s 192.0.2.0/24 -j DNAT --to-destination "
           "10.0.0.1\n-A PREROUTING " +
           one + " -j DNAT --to-destination 10.0.0.2\n",
       " tcp\n  address 10.9.9.9:80 [-i lo] leave @P\n  address 10.9.9.9:80 [-s 192.0.2.0/24] -> PREROUTING @P\n"
       "  address 10.9.9.9:80 -> PREROUTING @P\n",
       {}},
      {"a chain that some leave at once",
       "-A PREROUTING " + one +
           " -j web\n-A web -s 10.0.0.0/8 -j RETURN\n-A web -j DNAT --to-destination 10.0.0.1\n"
           "-A PREROUTING " +
           one +
           " -s 192.0.2.1 -j DNAT --to-destination 10.0.0.3\n"
           "-A PREROUTING " +
           one + " -s 10.0.0.1 -j DNAT --to-destination 10.0.0.3\n",
       " tcp\n  address 10.9.9.9:80 [! -s 10.0.0.0/8] -> web @P\n  address 10.9.9.9:80 [-s 192.0.2.1/32] -> PREROUTING "
       "@P\n"
       "  address 10.9.9.9:80 [-s 10.0.0.1/32] -> PREROUTING @P\n",
       {}},
      {"any port of an address",
       "-A PREROUTING -d 10.9.9.9 -j DNAT --to-destination 10.0.0.1\n",
       " *\n  address 10.9.9.9:* -> PREROUTING @P\n",
       {}},
      {"IPv6",
       "-A PREROUTING -d fd00::9 -p udp --dport 53 -j DNAT --to-destination [fd00::1]:53\n",
       " udp\n  address fd00::9:53 -> PREROUTING @P\n",
       {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Meant meant(c.rules);
    EXPECT_EQ(meant.text(), c.text);
    EXPECT_EQ(meant.masquerades(), c.masquerades);
    EXPECT_THAT(meant.apart(), IsEmpty());
  }
}

TEST(Meaning, WhatTakesNoPartIsLiteral) {
  const Meant meant(
      "-A PREROUTING -d 10.9.9.9 -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name ssh -j RETURN\n"
      "-A PREROUTING -d 10.9.9.9 -p tcp --dport 80 -j web\n"
      "-A PREROUTING -j MARK --or-mark 0x20\n"
      "-A PREROUTING -p udp --dport 53 -j udp\n"
      "-A web -j DNAT --to-destination 10.0.0.1\n"
      "-A web -s 10.0.0.9 -j RETURN\n"
      "-A nobody -j DNAT --to-destination 10.0.0.2\n"
      "-A tcp -p tcp -j DNAT --to-destination 10.0.0.2\n"
      "-A udp -j tcp\n"
      "*raw\n-A PREROUTING -j ACCEPT\nCOMMIT\n"
      "*filter\n-A INPUT -s 192.0.2.0/24 -j DROP\n-A INPUT -p tcp --dport 22 -d 10.1.1.1 -j DROP\nCOMMIT\n");
  EXPECT_THAT(meant.apart(),
              ElementsAre("1: recent or statistic, but not as part of a cascade over endpoints",
                          "3: takes no part in a service", "4: takes no part in a service",
                          "6: no packet of a new connection gets here", "7: no packet of a new connection gets here",
                          "8: no packet of a new connection gets here",
                          "9: balances, but its endpoints take only some of the packets",
                          "11: tables raw and mangle are not followed", "14: takes no part in a service"));
}

/// Services of n endpoints each as kube-proxy writes them, with affinity; p = 1/(n-i) to `digits` decimals.
std::string generated(int services, int n, int digits) {
  std::string text = kSkeleton, chains;
  for (int s = 0; s < services; ++s) {
    const std::string id = std::to_string(s), svc = "KUBE-SVC-" + id, name = "ns/web" + id + ":http";
    text += "-A KUBE-SERVICES -d 10.96." + std::to_string(s / 250) + "." + std::to_string(s % 250 + 1) +
            "/32 -p tcp -m comment --comment \"" + name + " cluster IP\" -m tcp --dport 80 -j " + svc + "\n";
    std::string asks, picks;
    for (int i = 0; i < n; ++i) {
      const std::string chain = "KUBE-SEP-" + id + "-" + std::to_string(i);
      chains += sep(chain, "10.28." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1), true);
      asks += "-A " + svc + " -m recent --rcheck --seconds 10800 --reap --name " + chain +
              " --mask 255.255.255.255 --rsource -j " + chain + "\n";
      std::string probability(32, '\0');
      probability.resize(static_cast<std::size_t>(
          std::snprintf(probability.data(), probability.size(), "%.*f", digits, 1.0 / (n - i))));
      const bool last = i == n - 1;
      picks += "-A " + svc + (last ? "" : " -m statistic --mode random --probability " + probability) + " -j " + chain +
               "\n";
    }
    chains += asks + picks;
  }
  return text + chains + "COMMIT\n";
}

TEST(Meaning, OfGeneratedDumps) {
  struct Case {
    int services, endpoints, digits;
  };
  for (const Case c :
       {Case{1, 1, 10}, Case{2, 2, 10}, Case{3, 7, 5}, Case{2, 64, 5}, Case{1, 500, 10}, Case{500, 3, 10}}) {
    SCOPED_TRACE(std::to_string(c.services) + " services of " + std::to_string(c.endpoints));
    const Meant meant(generated(c.services, c.endpoints, c.digits));
    EXPECT_THAT(meant.apart(), IsEmpty());
    ASSERT_EQ(meant.meaning.services.size(), static_cast<std::size_t>(c.services));
    for (const RuledService& service : meant.meaning.services) {
      ASSERT_THAT(service.frontends, SizeIs(1));
      ASSERT_THAT(service.frontends[0].routes, SizeIs(1));
      const Cascade& cascade = meant.meaning.balance.cascades[*service.frontends[0].routes[0].cascade];
      EXPECT_TRUE(cascade.even);
      EXPECT_EQ(cascade.rest, 0);
      ASSERT_EQ(cascade.picks.size(), static_cast<std::size_t>(c.endpoints));
      ASSERT_EQ(cascade.asks.size(), static_cast<std::size_t>(c.endpoints));
      // Each step is off by at most half a unit of its last digit (and 2^-32): so is the share, of all steps before.
      const double worst = c.endpoints * (0.5 * std::pow(10, -c.digits) + std::pow(2, -32));
      for (const Pick& pick : cascade.picks) EXPECT_NEAR(pick.share, 1.0 / c.endpoints, worst);
      for (const Ask& ask : cascade.asks) EXPECT_TRUE(ask.list.own);
      EXPECT_TRUE(affinity_of(meant.meaning.balance, cascade)->complete);
    }
  }
}

TEST(Meaning, ManyWaysEndSomewhere) {
  // 2^40 ways through a ladder of chains, and a loop: what cannot be followed to its end is literal.
  std::string text = "-A PREROUTING -j C0\n";
  for (int i = 0; i < 40; ++i) {
    const std::string from = "-A C" + std::to_string(i), to = " -j C" + std::to_string(i + 1) + "\n";
    text += from + " -s 10.0.0.1" + to + from + " -s 10.0.0.2" + to + from + " -s 10.0.0.1" + to;
  }
  const Meant meant(text + "-A C40 -j C0\n");
  EXPECT_THAT(meant.meaning.services, IsEmpty());
  EXPECT_THAT(meant.meaning.apart, SizeIs(122));
}

TEST(ServiceName, IsWhatCommentsBeginWith) {
  const std::pair<const char*, const char*> cases[] = {
      {"default/web:http", "default/web:http"},
      {"default/web cluster IP", "default/web"},
      {"a.b/c-d:1 x", "a.b/c-d:1"},
      {"kubernetes service portals", ""},
      {"masquerade traffic for a/b", ""},
      {"/web", ""},
      {"a/", ""},
      {"a/b:", ""},
      {"a/b/c", ""},
      {"", ""},
  };
  for (const auto& [comment, name] : cases) EXPECT_EQ(service_name(comment), name) << comment;
}

}  // namespace
}  // namespace limpet::rules
