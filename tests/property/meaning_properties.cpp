// Of any iptables program: what is concluded from rules holds for packets, and every rule has its place in the meaning.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lb/rules/diversion.h"
#include "lb/rules/facts.h"
#include "lb/rules/meaning.h"
#include "lb/rules/program.h"
#include "lb/rules/ruleset_text.h"
#include "tests/property/rules_generators.h"

namespace limpet::rules::properties {

/// Few addresses, ports, interfaces and protocols: rules overlap, and packets match.
net::Address near_address() {
  return net::Address::from_v4(0x0a000000 + between(0, 7));
}
MaskedAddress near_network() {
  return {near_address(), mask_of_length(Family::v4, between(29, 32))};
}
PortRange near_ports() {
  const std::uint32_t first = between(0, 7);
  return {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(between(first, 7))};
}
Rule near_rule() {
  Rule rule;
  const Protocol protocol = one_of<Protocol>({Protocol::tcp, Protocol::udp});
  rule.source = maybe<MaskedAddress>(near_network);
  rule.destination = maybe<MaskedAddress>(near_network);
  rule.in_interface = maybe<std::string>([] { return one_of<std::string>({"a", "a+", "ab", "ab+", "b"}); });
  rule.protocol = Condition<std::uint8_t>{static_cast<std::uint8_t>(protocol), false};
  TransportMatch ports{protocol, {}, {}};
  ports.source = maybe<PortRange>(near_ports);
  ports.destination = maybe<PortRange>(near_ports);
  rule.matches.emplace_back(ports);
  return rule;
}
bool holds(const Rule& rule, const Facts& packet) {
  return header_matches(rule, packet) && matches(std::get<TransportMatch>(rule.matches.front()), packet);
}

RC_GTEST_PROP(DemandsProperties, WhatFollowsHoldsForPackets, ()) {
  const Rule known = near_rule(), asked = near_rule();
  const Demands demands = dissect(known).demands, more = dissect(asked).demands;
  const bool implied = implies(demands, more);
  const bool contradicted = std::any_of(more.begin(), more.end(), [&](const Demand& demand) {
    return relation(demands, demand) == Relation::contradicted;
  });
  RC_TAG(implied ? "implied" : contradicted ? "contradicted" : "open");
  RC_LOG() << print(demands, Family::v4) << "   " << print(more, Family::v4);
  for (int i = 0; i < 200; ++i) {
    Facts packet;
    packet.tuple = {one_of<Protocol>({Protocol::tcp, Protocol::udp}),
                    {near_address(), static_cast<std::uint16_t>(between(0, 7))},
                    {near_address(), static_cast<std::uint16_t>(between(0, 7))}};
    const auto interface = one_of<std::string>({"a", "ab", "abc", "b", ""});
    packet.in_interface = interface;
    if (!holds(known, packet)) continue;
    if (implied) RC_ASSERT(holds(asked, packet));
    if (contradicted) RC_ASSERT(!holds(asked, packet));
  }
}

/// Any rules, behind every hook; chains that jump nowhere behind them.
Ruleset reached_ruleset() {
  Ruleset rules = any_ruleset();
  for (TableRules& table : rules.tables) {
    for (std::uint32_t left = between(0, 3); left > 0; --left) {
      Rule rule = any_rule(rules.family, table.table);
      const bool jumps = std::holds_alternative<Jump>(rule.target) || std::holds_alternative<Goto>(rule.target);
      if (!jumps) table.chain("OTHER").rules.push_back(std::move(rule));
    }
    for (const char* const hook : {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}) {
      if (!is_built_in(table.table, hook)) continue;
      Rule rule;
      rule.target = Jump{"MINE"};
      table.chain(hook).rules.push_back(std::move(rule));
    }
  }
  return rules;
}

RC_GTEST_PROP(MeaningProperties, RulesApartAreThereAndServicesAreWhole, ()) {
  const Ruleset rules = reached_ruleset();
  const Meaning meaning = find_meaning(rules);
  const ApartRule* before = nullptr;
  for (const ApartRule& rule : meaning.apart) {
    RC_ASSERT(rules.find(rule.table)->chains.at(rule.at.chain).rules.at(rule.at.rule).line == rule.line);
    RC_ASSERT(!rule.why.empty());
    RC_ASSERT((before == nullptr || before->table != rule.table || before->at < rule.at));
    before = &rule;
  }
  for (const RuledService& service : meaning.services) {
    RC_ASSERT(!service.frontends.empty());
    for (const RuledFrontend& frontend : service.frontends) {
      RC_ASSERT(!frontend.routes.empty());
      for (const Route& route : frontend.routes) {
        RC_ASSERT(route.cascade.has_value() == (route.outcome == Route::Outcome::balance));
        if (route.cascade) RC_ASSERT(*route.cascade < meaning.balance.cascades.size());
      }
    }
  }
}

RC_GTEST_PROP(MeaningProperties, CascadesLieApartAndShareEverything, ()) {
  const Ruleset rules = reached_ruleset();
  const Balance balance = find_balance(rules);
  RuleAt last{0, 0};  // the first that the next cascade may hold
  for (const Cascade& cascade : balance.cascades) {
    RC_ASSERT((RuleAt{cascade.chain, cascade.first}) >= last);
    last = {cascade.chain, cascade.end};
    RC_ASSERT(cascade.end <= rules.find(Table::nat)->chains.at(cascade.chain).rules.size());
    RC_ASSERT(cascade.asks.size() + cascade.picks.size() == cascade.end - cascade.first);
    double sum = cascade.rest;
    for (const Pick& pick : cascade.picks) {
      RC_ASSERT(pick.leaf < balance.leaves.size());
      sum += pick.share;
    }
    RC_ASSERT(std::abs(sum - 1) < 1e-12);
    for (const Ask& ask : cascade.asks) RC_ASSERT(ask.leaf < balance.leaves.size());
  }
}

/// Programs whose rules narrow the destination in every way, and translate. Drawn evenly: rapidcheck's ranges begin small,
/// and then nothing is translated.
class NarrowingRules {
 public:
  explicit NarrowingRules(std::uint64_t seed) : rng_(seed) {}

  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(rng_.uniform(n)); }
  net::Address address() { return net::Address::from_v4(0x0a000000 + below(8)); }
  Protocol protocol() { return below(2) == 0 ? Protocol::tcp : Protocol::udp; }
  std::uint16_t port() { return static_cast<std::uint16_t>(below(8)); }

  Ruleset program() {
    Ruleset rules;
    TableRules& nat = rules.table(Table::nat);
    std::size_t line = 0;
    for (const std::string chain : {"PREROUTING", "OUTPUT", "A", "B"}) {
      nat.chain(chain);
      for (std::uint32_t left = below(5); left > 0; --left) {
        Rule made = rule();
        const bool jumps = std::holds_alternative<Jump>(made.target) || std::holds_alternative<Goto>(made.target);
        if (jumps && chain == "A") made.target = Jump{"B"};  // no loops
        if (jumps && chain == "B") made.target = Return{};
        made.line = ++line;
        nat.chain(chain).rules.push_back(std::move(made));
      }
    }
    return rules;
  }

 private:
  bool once_in(std::uint32_t n) { return below(n) == 0; }
  PortRange ports() {
    const std::uint16_t a = port(), b = port();
    return {std::min(a, b), std::max(a, b)};
  }
  Rule rule() {
    Rule rule;
    if (!once_in(3)) {
      rule.destination = Condition<MaskedAddress>{{address(), mask_of_length(Family::v4, 29 + below(4))}, once_in(4)};
    }
    if (!once_in(4)) {
      const Protocol of = protocol();
      rule.protocol = Condition<std::uint8_t>{static_cast<std::uint8_t>(of), false};
      TransportMatch transport{of, {}, {}};
      if (once_in(2)) transport.destination = Condition<PortRange>{ports(), once_in(4)};
      rule.matches.emplace_back(transport);
      if (once_in(5)) {
        rule.matches.emplace_back(MultiportMatch{MultiportMatch::Side::destination, {ports(), ports()}, once_in(3)});
      }
    }
    if (once_in(4)) rule.matches.emplace_back(AddrtypeMatch{{}, Condition<std::uint8_t>{kLocal, once_in(2)}});
    if (once_in(4)) rule.matches.emplace_back(RandomMatch{1U << 30, false});
    rule.target = target();
    return rule;
  }
  Target target() {
    const net::Address a = address(), b = address();
    const NatRange::Addresses addresses{std::min(a, b), std::max(a, b)};
    const Target targets[] = {Return{},
                              Accept{},
                              Jump{"A"},
                              Jump{"B"},
                              Goto{"B"},
                              Dnat{{addresses, std::nullopt, std::nullopt}},
                              Dnat{{addresses, PortRange{3, 4}, std::nullopt}},
                              Dnat{{std::nullopt, PortRange{3, 4}, std::nullopt}},
                              Redirect{},
                              Redirect{PortRange{9, 9}}};
    return targets[below(std::size(targets))];
  }

  pick::Rng rng_;
};

RC_GTEST_PROP(DiversionProperties, WhatIsTranslatedIsDiverted, ()) {
  const std::uint64_t seed = (std::uint64_t{word()} << 32) + word();
  NarrowingRules drawn(seed);
  const Ruleset rules = drawn.program();
  const node::NodeView node(
      {{.interface = 1, .address = net::Address::from_v4(0x0a000001), .prefix_length = 29},
       {.interface = 1, .address = net::Address::from_v4(0x0a000006), .prefix_length = 29, .secondary = true}},
      {}, {{1, "a"}});
  const Diversion diversion(rules, "f");
  const datapath::DiversionPlan plan = diversion.plan(node, true);
  RuleMemory memory({}, NthOnReload::reset);
  const datapath::EndpointSlots slots(1);
  Program program(slots, link(rules, memory), memory);
  pick::Rng rng(seed);
  std::size_t translated = 0;
  for (int i = 0; i < 300; ++i) {
    datapath::NewConnection connection;
    connection.tuple = {drawn.protocol(), {drawn.address(), 1000}, {drawn.address(), drawn.port()}};
    if (drawn.below(2) == 0) connection.hook = datapath::Hook::output;
    connection.in_interface = connection.hook == datapath::Hook::output ? 0 : 1;
    std::vector<Hit> hits;
    const datapath::Decision decision = program.decide(connection, node, {}, rng, &hits);
    if (decision.action != datapath::Action::dnat) continue;
    const std::size_t by = hits.back().rule->line;
    if (std::ranges::any_of(diversion.errors(), [&](const auto& error) { return error.line == by; })) continue;
    ++translated;
    const auto holds = [&](const auto& list, const net::AddressPort& at) {
      return std::ranges::binary_search(list, datapath::L4Address{connection.tuple.protocol, at});
    };
    RC_LOG() << connection.tuple.to_string() << " by line " << by << " to " << decision.endpoint.to_string() << "\n"
             << print(rules);
    RC_ASSERT(holds(plan.services, connection.tuple.destination));
    RC_ASSERT(holds(plan.endpoints, decision.endpoint));
  }
  RC_TAG(translated == 0 ? "none" : "some");
}

}  // namespace limpet::rules::properties
