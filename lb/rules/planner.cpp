#include "lb/rules/planner.h"

#include <algorithm>
#include <utility>

namespace limpet::rules {
namespace {

using affinity::RecentMatch;
using affinity::RecentOperation;

constexpr std::size_t kShortestRun = 2;
constexpr std::size_t kFewestKeyed = 8;  // units: so many are looked at as fast as a key is looked up

bool may_be_skipped(const RecentMatch& match) {
  const bool asks = match.operation == RecentOperation::rcheck || match.operation == RecentOperation::update;
  return asks && !match.inverted;
}

bool is_pure(const Match& match) {
  return !std::holds_alternative<RecentMatch>(match) && !std::holds_alternative<RandomMatch>(match) &&
         !std::holds_alternative<NthRule>(match);
}

bool is_terminal(const Target& target) {
  return !std::holds_alternative<NoTarget>(target) && !std::holds_alternative<SetMark>(target) &&
         !std::holds_alternative<Jump>(target) && !std::holds_alternative<Goto>(target) &&
         !std::holds_alternative<Return>(target);
}

}  // namespace

Planner::Protocols Planner::protocols_of(const Rule& rule) {
  constexpr Protocols kAll = 15;
  if (!rule.protocol || rule.protocol->inverted) return kAll;
  switch (static_cast<net::Protocol>(rule.protocol->value)) {
    case net::Protocol::tcp:
      return 1;
    case net::Protocol::udp:
      return 2;
    case net::Protocol::sctp:
      return 4;
    default:
      return 8;
  }
}

/// A run's rules may differ in comments, counters and targets, and in what makes them a run.
Planner::Shape Planner::shape_of(const Chains::Step& step) const {
  const Rule& rule = *step.rule;
  Shape shape;
  shape.conditions = rule;
  shape.conditions.counters.reset();
  shape.conditions.target = NoTarget{};
  std::vector<Match>& matches = shape.conditions.matches;
  std::erase_if(matches, [](const Match& match) { return std::holds_alternative<CommentMatch>(match); });
  const auto special = std::find_if_not(matches.begin(), matches.end(), is_pure);
  if (special == matches.end()) return shape;
  if (const auto* const recent = std::get_if<RecentMatch>(&*special)) {
    if (!may_be_skipped(*recent)) return shape;
    const auto at = static_cast<std::size_t>(special - matches.begin());
    shape.kind = Unit::Kind::recent;
    shape.mask = std::get<Chains::Recent>(step.matches[at]).list->mask();
    shape.by_destination = recent->by_destination;
    matches.erase(special, matches.end());
    return shape;
  }
  if (!std::all_of(std::next(special), matches.end(), is_pure)) return shape;
  const bool counts = !std::holds_alternative<RandomMatch>(*special);
  // What stands behind it decides after it has counted: not a condition of the run.
  if (counts && std::next(special) != matches.end()) return shape;
  shape.kind = counts ? Unit::Kind::nth : Unit::Kind::random;
  matches.erase(special);
  return shape;
}

/// From the built-in chains, and from every chain that nothing jumps to: those may be entered directly.
void Planner::find_reach() {
  reach_.assign(chains_.paths_.size(), 0);
  std::vector<bool> called(chains_.paths_.size(), false);
  const auto each_jump = [&](const Chains::Path& path, const auto& act) {
    for (const Chains::Step& step : path.steps) {
      const bool jumps =
          std::holds_alternative<Jump>(step.rule->target) || std::holds_alternative<Goto>(step.rule->target);
      if (jumps) act(step);
    }
  };
  for (const Chains::Path& path : chains_.paths_) each_jump(path, [&](const auto& step) { called[step.chain] = true; });
  std::vector<std::uint32_t> to_do;
  for (std::uint32_t i = 0; i < reach_.size(); ++i) {
    if (called[i]) continue;
    reach_[i] = 15;
    to_do.push_back(i);
  }
  while (!to_do.empty()) {
    const std::uint32_t chain = to_do.back();
    to_do.pop_back();
    each_jump(chains_.paths_[chain], [&](const Chains::Step& step) {
      const auto more = static_cast<Protocols>(reach_[step.chain] | (reach_[chain] & protocols_of(*step.rule)));
      if (std::exchange(reach_[step.chain], more) != more) to_do.push_back(step.chain);
    });
  }
}

/// Does every packet of these protocols that comes into the chain end there?
bool Planner::always_ends(std::uint32_t chain, Protocols protocols) const {
  for (const Chains::Step& step : chains_.paths_[chain].steps) {
    if (step_always_ends(step, protocols)) return true;
    if (std::holds_alternative<Return>(step.rule->target) || std::holds_alternative<Goto>(step.rule->target))
      return false;
  }
  return false;
}

bool Planner::step_always_ends(const Chains::Step& step, Protocols protocols) const {
  const Rule& rule = *step.rule;
  const bool header = !rule.source && !rule.destination && !rule.in_interface && !rule.out_interface &&
                      (protocols_of(rule) & protocols) == protocols && protocols_of(rule) != 8;
  const bool matches = std::all_of(rule.matches.begin(), rule.matches.end(), [](const Match& match) {
    if (const auto* const recent = std::get_if<RecentMatch>(&match)) {
      return recent->operation == RecentOperation::set && !recent->inverted;
    }
    const auto* const transport = std::get_if<TransportMatch>(&match);
    return std::holds_alternative<CommentMatch>(match) ||
           (transport != nullptr && !transport->source && !transport->destination);
  });
  if (!header || !matches) return false;
  const bool jumps = std::holds_alternative<Jump>(rule.target) || std::holds_alternative<Goto>(rule.target);
  return is_terminal(rule.target) || (jumps && always_ends(step.chain, protocols));
}

bool Planner::make_period(std::uint32_t chain, Unit& unit) const {
  if (memory_.counters.on_reload() != NthOnReload::reset) return false;
  const auto& steps = chains_.paths_[chain].steps;
  std::vector<NthRule> run;
  for (std::uint32_t i = unit.first; i < unit.last; ++i) {
    const Rule& rule = *steps[i].rule;
    const auto protocols = static_cast<Protocols>(reach_[chain] & protocols_of(rule));
    const bool jumps = std::holds_alternative<Jump>(rule.target) || std::holds_alternative<Goto>(rule.target);
    if (!is_terminal(rule.target) && !(jumps && always_ends(steps[i].chain, protocols))) return false;
    for (const Match& match : rule.matches) {
      if (const auto* const nth = std::get_if<NthRule>(&match)) run.push_back(*nth);
    }
  }
  auto takers = period_of(run);
  if (!takers) return false;
  unit.period = std::make_unique<Unit::Period>();
  unit.period->takers = std::move(*takers);
  return true;
}

Unit Planner::make_unit(std::uint32_t chain, const Shape& shape, std::uint32_t first, std::uint32_t last) const {
  const auto& steps = chains_.paths_[chain].steps;
  Unit unit;
  unit.kind = shape.kind;
  unit.first = first;
  unit.last = last;
  if (shape.kind == Unit::Kind::nth && !make_period(chain, unit)) unit.kind = Unit::Kind::rule;
  if (shape.kind == Unit::Kind::random) {
    std::vector<RandomMatch> run;
    for (std::uint32_t i = first; i < last; ++i) {
      for (const Match& match : steps[i].rule->matches) {
        if (const auto* const random = std::get_if<RandomMatch>(&match)) run.push_back(*random);
      }
    }
    unit.choice = choice_of(run);
  }
  if (shape.kind == Unit::Kind::recent) {
    std::vector<std::shared_ptr<affinity::RecentTable>> lists;
    const std::size_t at = shape.conditions.matches.size();  // behind the conditions
    for (std::uint32_t i = first; i < last; ++i) lists.push_back(std::get<Chains::Recent>(steps[i].matches[at]).list);
    unit.index = std::make_unique<affinity::RecentIndex>(std::move(lists), memory_.lists.options().key);
    unit.mask = shape.mask;
    unit.by_destination = shape.by_destination;
  }
  return unit;
}

void Planner::plan(std::uint32_t chain) {
  const auto& steps = chains_.paths_[chain].steps;
  auto plan = std::make_unique<Plan>();
  std::vector<std::optional<UnitKey>> keys;
  std::uint32_t first = 0;
  while (first < steps.size()) {
    const Shape shape = shape_of(steps[first]);
    std::uint32_t last = first + 1;
    if (shape.kind != Unit::Kind::rule) {
      while (last < steps.size() && shape_of(steps[last]) == shape) ++last;
    }
    Unit unit;
    if (last - first >= kShortestRun) unit = make_unit(chain, shape, first, last);
    unit.first = first;
    if (unit.kind == Unit::Kind::rule) unit.last = last = first + 1;
    keys.push_back(unit_key(shape.conditions));
    plan->unit_of.insert(plan->unit_of.end(), last - first, static_cast<std::uint32_t>(plan->units.size()));
    plan->units.push_back(std::move(unit));
    first = last;
  }
  const bool few = keys.size() < kFewestKeyed;
  const bool runs = std::any_of(plan->units.begin(), plan->units.end(),
                                [](const Unit& unit) { return unit.kind != Unit::Kind::rule; });
  if (few && !runs) return;
  for (std::uint32_t i = 0; i < keys.size(); ++i) plan->dispatch.add(i, few ? std::nullopt : keys[i]);
  chains_.paths_[chain].plan = std::move(plan);
}

void Planner::plan() {
  find_reach();
  for (std::uint32_t i = 0; i < chains_.paths_.size(); ++i) plan(i);
}

}  // namespace limpet::rules
