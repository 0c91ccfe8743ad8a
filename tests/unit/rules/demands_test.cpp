// What rules ask, and what follows from it. Expected relations follow from the sets that the options stand for.
#include "lb/rules/demands.h"

#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

Rule rule(const std::string& options) {
  return test::parsed("-A PREROUTING " + options + " -j RETURN\n").tables.at(0).chains.at(0).rules.at(0);
}
Demands demands(const std::string& options) {
  return dissect(rule(options)).demands;
}

TEST(Demands, AreWhatARuleAsks) {
  const std::pair<const char*, const char*> cases[] = {
      {"-p tcp -m comment --comment x -m tcp --dport 80", "-p tcp --dport 80"},
      {"-p tcp -m tcp", "-p tcp"},
      {"-s 10.0.0.0/8 ! -d 10.1.0.0/16 -i eth+", "-s 10.0.0.0/8 ! -d 10.1.0.0/16 -i eth+"},
      {"-m conntrack --ctstate NEW", ""},
      {"-m conntrack --ctstate RELATED,ESTABLISHED", "--ctstate RELATED,ESTABLISHED"},
      {"-m addrtype --dst-type LOCAL", "--dst-type LOCAL"},
      {"-m addrtype ! --src-type LOCAL", "! --src-type LOCAL"},
      {"-m mark ! --mark 0x4000/0x4000", "! --mark 0x4000/0x4000"},
      {"-p udp -m multiport --dports 53", "-p udp --dport 53"},
      {"-p udp -m multiport --dports 53,54", "-p udp --dports 53,54"},
      {"-p udp ! --sport 53", "-p udp ! --sport 53"},
      {"-m statistic --mode random --probability 0.5 -m recent --rcheck --name a", ""},
  };
  for (const auto& [options, text] : cases) {
    EXPECT_EQ(print(demands(options), net::Family::v4), text) << options;
  }
}

TEST(Demands, EventsKnowWhetherEverythingWasDemandedBefore) {
  const std::tuple<const char*, std::size_t, bool> cases[] = {
      {"-p tcp --dport 80", 0, true},
      {"-p tcp --dport 80 -m recent --set --name a", 1, true},
      {"-p tcp -m recent --set --name a -m tcp --dport 80", 1, false},
      {"-p tcp -m recent --set --name a -m tcp", 1, true},
      {"-p tcp -m recent --rcheck --name a -m tcp --dport 80", 1, true},
      {"-p tcp -m recent --rcheck --seconds 9 --reap --name a -m tcp --dport 80", 1, false},
      {"-p tcp -m statistic --mode random --probability .5 -m tcp --dport 80", 1, true},
      {"-p tcp -m statistic --mode nth --every 2 --packet 0 -m tcp --dport 80", 1, false},
      {"-m statistic --mode nth --every 2 --packet 0 -m recent --set --name a", 2, true},
  };
  for (const auto& [options, events, first] : cases) {
    const Dissected parts = dissect(rule(options));
    EXPECT_EQ(parts.events.size(), events) << options;
    EXPECT_EQ(parts.demands_first, first) << options;
  }
}

TEST(Demands, FollowOrContradict) {
  using enum Relation;
  const std::tuple<const char*, const char*, Relation> cases[] = {
      {"-s 10.1.0.0/16", "-s 10.0.0.0/8", implied},
      {"-s 10.1.0.0/16", "! -s 10.0.0.0/8", contradicted},
      {"-s 10.0.0.0/8", "-s 10.1.0.0/16", open},
      {"-s 10.0.0.0/8", "-s 11.0.0.0/8", contradicted},
      {"-s 10.0.0.0/8", "! -s 11.0.0.0/8", implied},
      {"! -s 10.0.0.0/8", "-s 10.1.0.0/16", contradicted},
      {"! -s 10.0.0.0/8", "! -s 10.1.0.0/16", implied},
      {"! -s 10.1.0.0/16", "-s 10.0.0.0/8", open},
      {"! -s 10.0.0.0/8", "-s 11.0.0.0/8", open},
      {"-s 10.0.0.0/8", "-d 10.0.0.0/8", open},
      {"-d 10.9.9.9", "-d 10.9.9.8", contradicted},
      {"-p tcp", "-p tcp", implied},
      {"-p tcp", "-p udp", contradicted},
      {"-p tcp", "! -p udp", implied},
      {"-p tcp --dport 80", "-p tcp --dport 1:1024", implied},
      {"-p tcp --dport 80", "-p tcp --dport 81", contradicted},
      {"-p tcp --dport 1:1024", "-p tcp --dport 80", open},
      {"-p tcp --dport 80", "-p tcp --sport 81", open},
      {"-i eth0", "-i eth+", implied},
      {"-i eth0", "-i lo", contradicted},
      {"-i eth+", "-i eth0", open},
      {"-i eth+", "-i lo", contradicted},
      {"-m addrtype --src-type LOCAL", "-m addrtype --src-type LOCAL", implied},
      {"-m addrtype --src-type LOCAL", "-m addrtype ! --src-type LOCAL", contradicted},
      {"-m addrtype --src-type LOCAL", "-m addrtype --dst-type LOCAL", open},
      {"-m addrtype --src-type LOCAL", "-m addrtype --src-type UNICAST", open},
      {"-m mark --mark 1", "-m mark --mark 1", open},  // a rule between may have changed it
      {"-m set --match-set a src", "-m set --match-set a src", implied},
      {"-m set --match-set a src", "-m set ! --match-set a src", contradicted},
      {"-m set --match-set a src", "-m set --match-set b src", open},
  };
  for (const auto& [known, asked, expected] : cases) {
    const Demand demand = demands(asked).back();
    EXPECT_EQ(relation(demands(known), demand), expected) << known << "   " << asked;
    if (std::holds_alternative<MarkMatch>(demand)) continue;
    const Relation turned = relation(demands(known), opposite(demand));
    const Relation expected_turned = expected == implied ? contradicted : expected == contradicted ? implied : open;
    EXPECT_EQ(turned, expected_turned) << known << "   opposite of " << asked;
  }
}

}  // namespace
}  // namespace limpet::rules
