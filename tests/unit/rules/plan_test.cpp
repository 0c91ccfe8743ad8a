// Compiled programs against the same programs, walked rule by rule.
#include "lb/rules/plan.h"

#include <atomic>
#include <cmath>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/kube_rules.h"
#include "tests/unit/rules/program_bench.h"

namespace limpet::rules {
namespace {

using test::tcp;
using testing::ElementsAre;

TEST(Plan, ShareOfEachRuleIsThatOfBeingTheFirst) {
  const auto shares = [](std::vector<RandomMatch> run) {
    const pick::AliasTable table = choice_of(run);
    std::vector<double> all;
    for (std::uint32_t i = 0; i <= run.size(); ++i) {
      all.push_back(static_cast<double>(table.units(i)) / static_cast<double>(table.slots()) /
                    static_cast<double>(table.total()));
    }
    return all;
  };
  const auto p = [](const char* text, bool inverted = false) {
    return RandomMatch{*parse_probability(text), inverted};
  };
  const auto near = [](double value) { return testing::DoubleNear(value, 1e-8); };
  EXPECT_THAT(shares({p("0.25"), p("0.33333333349"), p("0.5")}),
              ElementsAre(near(.25), near(.25), near(.25), near(.25)));
  EXPECT_THAT(shares({p("0.1"), p("0.5")}), ElementsAre(near(.1), near(.45), near(.45)));
  EXPECT_THAT(shares({p("0.1", true), p("1")}), ElementsAre(near(.9), near(.1), near(0)));
  EXPECT_THAT(shares({p("0"), p("0")}), ElementsAre(near(0), near(0), near(1)));
}

TEST(Plan, PeriodOfNthRulesByHand) {
  std::size_t steps = 1'000'000;
  // 3, 2, 1 with --packet 0: packet 0 to the first; of those left every other to the second, from the first one on.
  EXPECT_THAT(*period_of({{3, 0}, {2, 0}, {1, 0}}, steps), ElementsAre(0, 1, 2));
  EXPECT_THAT(*period_of({{2, 1}, {2, 0}}, steps), ElementsAre(1, 0, 2, 0));
  EXPECT_THAT(*period_of({{2, 0, true}}, steps), ElementsAre(1, 0));
  EXPECT_EQ(period_of({{65537, 0}}, steps), std::nullopt);
  // Three packets look at 1, 2 and 3 counters.
  steps = 8;
  EXPECT_NE(period_of({{3, 0}, {2, 0}, {1, 0}}, steps), std::nullopt);
  EXPECT_EQ(steps, 2U);
  EXPECT_EQ(period_of({{3, 0}, {2, 0}, {1, 0}}, steps), std::nullopt);
}

TEST(Plan, UnitKeys) {
  const auto key = [](const std::string& rule) {
    return unit_key(test::parsed("-A X " + rule + "\n", {.bare_rules = Table::raw}).tables[0].chains[0].rules[0]);
  };
  const net::Address vip = *net::Address::parse("10.0.0.1");
  EXPECT_EQ(key("-d 10.0.0.1 -p tcp --dport 80"), (UnitKey{vip, 6, 80}));
  EXPECT_EQ(key("-p udp --dport 53"), (UnitKey{{}, 17, 53}));
  EXPECT_EQ(key("-d 10.0.0.1"), (UnitKey{vip, {}, {}}));
  EXPECT_EQ(key("-d 10.0.0.0/24"), std::nullopt);
  EXPECT_EQ(key("! -d 10.0.0.1"), std::nullopt);
  EXPECT_EQ(key("-p tcp --dport 80:81"), (UnitKey{{}, 6, {}}));
  EXPECT_EQ(key("-p tcp -m tcp ! --dport 80"), (UnitKey{{}, 6, {}}));
  // The list remembers whatever the port is.
  EXPECT_EQ(key("-p tcp -m recent --set --name L -m tcp --dport 80"), (UnitKey{{}, 6, {}}));
}

/// "OUTPUT:1 random 3", "X:2 literal: why": bare rules belong to raw.
std::vector<std::string> treatments(const std::string& text, NthOnReload on_reload = NthOnReload::reset) {
  RuleMemory memory({}, on_reload);
  LinkedRuleset linked = link(test::parsed(text, {.bare_rules = Table::raw}), memory, {.compiled = true});
  std::vector<std::string> words;
  for (const TreatedRule& one : linked.find(Table::raw)->treated()) {
    words.push_back(*one.chain + ":" + std::to_string(one.number) + " " + std::string(to_string(one.treatment.how)));
    if (one.treatment.run > 1) words.back() += " " + std::to_string(one.treatment.run);
    if (!one.treatment.why.empty()) words.back() += ": " + std::string(one.treatment.why);
  }
  return words;
}
std::string repeat(int times, const std::string& rule) {
  std::string text;
  for (int i = 0; i < times; ++i) text += rule;
  return text;
}

TEST(Plan, TellsWhatBecomesOfEachRule) {
  using testing::Contains;
  using testing::Each;
  using testing::EndsWith;
  using testing::HasSubstr;
  using testing::SizeIs;
  EXPECT_THAT(treatments("-A OUTPUT -m statistic --mode random --probability 0.3 -j ACCEPT\n"
                         "-A OUTPUT -m comment --comment x -m statistic --mode random --probability 0.5 -j ACCEPT\n"
                         "-A OUTPUT -j ACCEPT\n-A OUTPUT -p udp -j ACCEPT\n"),
              ElementsAre("OUTPUT:1 random 3", "OUTPUT:2 random 3", "OUTPUT:3 random 3",
                          "OUTPUT:4 literal: one of few: looked at as fast as looked up"));
  const std::string nth = "-A OUTPUT -m statistic --mode nth --every 2 --packet 0 -j ";
  EXPECT_THAT(treatments(nth + "ACCEPT\n-A OUTPUT -j ACCEPT\n"), ElementsAre("OUTPUT:1 nth 2", "OUTPUT:2 nth 2"));
  EXPECT_THAT(treatments(nth + "ACCEPT\n-A OUTPUT\n"), Contains(HasSubstr("OUTPUT:1 literal: alone")));
  EXPECT_THAT(treatments(nth + "X\n" + nth + "X\n-A X -p udp -j ACCEPT\n"),
              Contains(HasSubstr("OUTPUT:1 literal: packets may come back")));
  EXPECT_THAT(treatments(nth + "X\n" + nth + "X\n-A X -p udp -j ACCEPT\n-A X -j DROP\n"), Contains("OUTPUT:1 nth 2"));
  EXPECT_THAT(treatments(nth + "ACCEPT\n" + nth + "ACCEPT\n", NthOnReload::persist),
              Each(EndsWith("literal: its counter outlives the program")));
  const std::string list = "-A OUTPUT -m recent --rcheck --name L -j ACCEPT\n";
  EXPECT_THAT(treatments(repeat(2, list)), Each(EndsWith("recent 2")));
  EXPECT_THAT(treatments("-A OUTPUT -m recent --set --name L\n"),
              ElementsAre("OUTPUT:1 literal: remembers whoever comes"));
  const std::vector<std::string> keyed =
      treatments(repeat(8, "-A OUTPUT -p udp -m udp --dport 53 -j ACCEPT\n") + "-A OUTPUT -s 10.0.0.1 -j ACCEPT\n");
  EXPECT_THAT(keyed, SizeIs(9));
  EXPECT_EQ(keyed[7], "OUTPUT:8 keyed");
  EXPECT_EQ(keyed[8], "OUTPUT:9 literal: asks for no exact destination, protocol or port");
}

// Whether packets come back from a jump is found once for each chain: 2^50 ways lead through these.
TEST(Plan, ChainsThatCallEachOtherTwice) {
  std::string text = repeat(2, "-A OUTPUT -p udp -m statistic --mode nth --every 2 --packet 0 -j C0\n");
  for (int i = 0; i < 50; ++i) {
    const std::string chain = "-A C" + std::to_string(i), next = " -j C" + std::to_string(i + 1) + "\n";
    text += chain + " -p udp" + next + chain + " -p tcp" + next;
  }
  const auto words = treatments(text + "-A C50 -p tcp -j ACCEPT\n");
  EXPECT_THAT(words, testing::Contains(testing::HasSubstr("OUTPUT:1 literal: packets may come back")));
  EXPECT_THAT(treatments(text + "-A C50 -p udp -j ACCEPT\n"), testing::Contains("OUTPUT:1 nth 2"));
}

// A run that cannot be played is looked at once, not once for each of its rules.
TEST(Plan, LongRunsOfNthAreSingleRules) {
  std::string text;
  for (int i = 0; i < 4000; ++i) {
    text += "-A OUTPUT -m statistic --mode nth --every " + std::to_string(60'000 + i) + " --packet 7 -j ACCEPT\n";
  }
  EXPECT_THAT(treatments(text),
              testing::Each(testing::EndsWith("literal: its run takes too many packets until it repeats")));
}

/// The same program twice, over the same lists.
struct Twins {
  explicit Twins(const std::string& text)
      : literal(slots, link(test::parsed(text), memory), memory),
        compiled(slots, link(test::parsed(text), memory, {.compiled = true}), memory) {}

  RuleMemory memory{affinity::RecentOptions{}, NthOnReload::reset};
  datapath::EndpointSlots slots{1};
  Program literal, compiled;
  pick::Rng rng{5};
  flow::Instant now{std::chrono::hours(24)};

  datapath::Decision decide(Program& program, const net::Tuple& tuple, bool known_clients_only = false) {
    return program.decide({.tuple = tuple, .in_interface = 2, .ttl = 64, .known_clients_only = known_clients_only},
                          test::node_of_bench(), now, rng);
  }
};

std::string client(std::uint64_t i) {
  return "203.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) + ":40000";
}

// Two programs that share their lists: whatever the lists hold, both know the same clients and send them to the same
// endpoint. Each event is carried out by either in turn; now and then time passes, a list is written to or emptied.
TEST(Plan, KnowsTheSameClients) {
  for (const int endpoints : {2, 4, 10, 50, 500}) {
    SCOPED_TRACE(endpoints);
    Twins twins(limpet::test::kube_rules(3, endpoints));
    int known = 0, unknown = 0, expired = 0;
    for (int event = 0; event < 3000 && !testing::Test::HasFailure(); ++event) {
      const int service = static_cast<int>(twins.rng.uniform(3));
      const bool by_node_port = twins.rng.uniform(2) == 0;
      const net::Tuple tuple =
          tcp(client(twins.rng.uniform(300)), by_node_port ? "10.128.0.5:" + std::to_string(30000 + service)
                                                           : limpet::test::kube_service(service) + ":80");
      const datapath::Decision a = twins.decide(twins.literal, tuple, true);
      const datapath::Decision b = twins.decide(twins.compiled, tuple, true);
      ASSERT_EQ(a.affinity, b.affinity);
      ASSERT_EQ(a.action, b.action);
      ASSERT_EQ(a.endpoint.to_string(), b.endpoint.to_string());
      ASSERT_EQ(a.masquerade, b.masquerade);
      const datapath::Decision done = twins.decide(event % 2 == 0 ? twins.literal : twins.compiled, tuple);
      ASSERT_EQ(done.action, datapath::Action::dnat);
      if (a.action == datapath::Action::dnat) {
        ASSERT_EQ(done.endpoint.to_string(), a.endpoint.to_string());
      }
      ++(a.affinity == datapath::AffinityOutcome::hit    ? known
         : a.affinity == datapath::AffinityOutcome::miss ? unknown
                                                         : expired);
      if (twins.rng.uniform(500) == 0) twins.now += std::chrono::seconds(10801);
      if (twins.rng.uniform(200) == 0) {
        const std::string list =
            "KUBE-SEP-0-" + std::to_string(twins.rng.uniform(static_cast<std::uint64_t>(endpoints)));
        twins.memory.lists.find(list)->flush();
      }
    }
    EXPECT_GT(known, 500);
    EXPECT_GT(unknown, 300);
    EXPECT_GT(expired, 50);
  }
}

// New clients: 60 an endpoint. The statistic has endpoints - 1 degrees of freedom: mean d, sigma sqrt(2 d); 6 sigma.
TEST(Plan, ChoosesWithTheSameShares) {
  for (const int endpoints : {2, 4, 10, 50, 500}) {
    for (const bool compiled : {false, true}) {
      Twins twins(limpet::test::kube_rules(1, endpoints, 0));
      std::map<std::string, int> counts;
      for (int i = 0; i < 60 * endpoints; ++i) {
        const net::Tuple tuple = tcp(client(static_cast<std::uint64_t>(i)), limpet::test::kube_service(0) + ":80");
        ++counts[twins.decide(compiled ? twins.compiled : twins.literal, tuple).endpoint.to_string()];
      }
      double chi_square = 0;
      for (int i = 0; i < endpoints; ++i) {
        const double off = counts[limpet::test::kube_endpoint(0, i)] - 60;
        chi_square += off * off / 60;
      }
      const double freedom = endpoints - 1;
      EXPECT_EQ(counts.size(), static_cast<std::size_t>(endpoints));
      EXPECT_LT(chi_square, freedom + 6 * std::sqrt(2 * freedom)) << endpoints << (compiled ? " compiled" : " literal");
    }
  }
}

// Rules of one's own: cascades in a built-in chain, any probabilities, nth in turn; the same hits, packet by packet.
TEST(Plan, WalksHandWrittenRulesAlike) {
  const std::string text =
      "-A PREROUTING -d 192.0.2.1 -p tcp --dport 80 -m statistic --mode nth --every 3 --packet 0 -j DNAT "
      "--to-destination 10.0.0.1\n"
      "-A PREROUTING -d 192.0.2.1 -p tcp --dport 80 -m statistic --mode nth --every 2 --packet 0 -j DNAT "
      "--to-destination 10.0.0.2\n"
      "-A PREROUTING -d 192.0.2.1 -p tcp --dport 80 -m statistic --mode nth --every 1 --packet 0 -j DNAT "
      "--to-destination 10.0.0.3\n"
      "-A PREROUTING -d 192.0.2.2 -j A\n"
      "-A A -p tcp -m statistic --mode nth --every 2 --packet 1 -j B\n"
      "-A A -p tcp -m statistic --mode nth --every 2 --packet 0 -j C\n"
      "-A A -p tcp -j DNAT --to-destination 10.0.1.9\n"
      "-A B -p tcp -m recent --set --name B -j DNAT --to-destination 10.0.1.1\n"
      "-A C -p tcp -m tcp --sport 2:65535 -j DNAT --to-destination 10.0.1.2\n"
      // They count before they look at the port.
      "-A PREROUTING -d 192.0.2.3 -p tcp -m statistic --mode nth --every 2 --packet 0 -m tcp --sport 1 -j DNAT "
      "--to-destination 10.0.2.1\n"
      "-A PREROUTING -d 192.0.2.3 -p tcp -m statistic --mode nth --every 2 --packet 1 -m tcp --sport 1 -j DNAT "
      "--to-destination 10.0.2.2\n";
  RuleMemory one({}, NthOnReload::reset), other({}, NthOnReload::reset);
  pick::Rng rng(3);
  LinkedRuleset literal = link(test::parsed(text), one);
  LinkedRuleset compiled = link(test::parsed(text), other, {.compiled = true});
  int walked = 0;
  for (int i = 0; i < 500; ++i) {
    const std::string port = std::to_string(1 + rng.uniform(3));
    const net::Tuple tuple = tcp("203.0.113.9:" + port, "192.0.2." + std::to_string(1 + rng.uniform(3)) + ":80");
    std::vector<std::string> paths[2];
    int side = 0;
    for (LinkedRuleset* const program : {&literal, &compiled}) {
      std::vector<Hit> hits;
      Facts facts{.tuple = tuple, .ttl = 64};
      program->find(Table::nat)->walk("PREROUTING", facts, {1000, rng}, &hits);
      for (const Hit& hit : hits) paths[side].push_back(*hit.chain + ":" + std::to_string(hit.number));
      ++side;
    }
    ASSERT_EQ(paths[0], paths[1]) << i << " " << tuple.to_string();
    walked += !paths[0].empty();
  }
  EXPECT_GT(walked, 300) << "nothing matches only what goes to 192.0.2.3 from another port: two in nine";
}

// A jump that returns from a random run: the rest is drawn rule by rule. X takes half, and lets port 1 go on.
TEST(Plan, GoesOnBehindAJumpThatReturns) {
  const std::string text =
      "-A PREROUTING -m statistic --mode random --probability 0.5 -j X\n"
      "-A PREROUTING -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.2\n"
      "-A X -p tcp -m tcp ! --sport 1 -j DNAT --to-destination 10.0.0.1\n";
  for (const bool compiled : {false, true}) {
    Twins twins(text);
    std::map<std::string, int> counts;
    for (int i = 0; i < 8000; ++i) {
      const net::Tuple tuple = tcp("203.0.113.9:1", "192.0.2.1:80");
      const auto decision = twins.decide(compiled ? twins.compiled : twins.literal, tuple);
      ++counts[decision.action == datapath::Action::none ? "none" : decision.endpoint.address.to_string()];
    }
    // Half of all packets match the second rule, whichever way they come there; 5 sigma are 224.
    EXPECT_NEAR(counts["10.0.0.2"], 4000, 224) << compiled;
    EXPECT_NEAR(counts["none"], 4000, 224) << compiled;
  }
}

// Four workers over lists that are full and emptied: nobody is lost, and afterwards both ways of walking agree.
TEST(Plan, WorkersShareItsLists) {
  Twins twins(limpet::test::kube_rules(1, 10));
  std::vector<std::thread> workers;
  std::atomic<int> translated{0};
  for (std::uint64_t worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&, worker] {
      pick::Rng rng(worker);
      for (int i = 0; i < 3000; ++i) {
        const net::Tuple tuple = tcp(client(rng.uniform(900)), limpet::test::kube_service(0) + ":80");
        const auto decision = twins.compiled.decide({.tuple = tuple, .in_interface = 2, .ttl = 64},
                                                    test::node_of_bench(), twins.now, rng);
        if (decision.action == datapath::Action::dnat) ++translated;
        if (rng.uniform(500) == 0) twins.memory.lists.find("KUBE-SEP-0-1")->flush();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(translated, 4 * 3000);
  int known = 0;
  for (std::uint64_t i = 0; i < 900; ++i) {
    const net::Tuple tuple = tcp(client(i), limpet::test::kube_service(0) + ":80");
    const auto a = twins.decide(twins.literal, tuple, true), b = twins.decide(twins.compiled, tuple, true);
    ASSERT_EQ(a.affinity, b.affinity) << i;
    ASSERT_EQ(a.endpoint.to_string(), b.endpoint.to_string()) << i;
    known += a.affinity == datapath::AffinityOutcome::hit ? 1 : 0;
  }
  EXPECT_GT(known, 300);  // of at most 100 in each of ten lists
}

}  // namespace
}  // namespace limpet::rules
