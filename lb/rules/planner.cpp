#include "lb/rules/planner.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace limpet::rules {
namespace {

using affinity::RecentMatch;
using affinity::RecentOperation;
using How = Treatment::How;

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

bool leads_on(const Target& target) {
  return std::holds_alternative<Jump>(target) || std::holds_alternative<Goto>(target);
}

bool is_terminal(const Target& target) {
  return !std::holds_alternative<NoTarget>(target) && !std::holds_alternative<SetMark>(target) && !leads_on(target) &&
         !std::holds_alternative<Return>(target);
}

bool always_holds(const Match& match) {
  if (const auto* const recent = std::get_if<RecentMatch>(&match)) {
    return recent->operation == RecentOperation::set && !recent->inverted;
  }
  const auto* const transport = std::get_if<TransportMatch>(&match);
  return std::holds_alternative<CommentMatch>(match) ||
         (transport != nullptr && !transport->source && !transport->destination);
}

/// Of the rules [first, last), one each; what has none takes everybody: `whole`.
template <typename Draw>
std::vector<Draw> draws_of(const auto& steps, std::uint32_t first, std::uint32_t last, const Draw& whole) {
  std::vector<Draw> draws;
  for (std::uint32_t i = first; i < last; ++i) {
    draws.push_back(whole);
    for (const Match& match : steps[i].rule->matches) {
      if (const auto* const draw = std::get_if<Draw>(&match)) draws.back() = *draw;
    }
  }
  return draws;
}

How how(Unit::Kind kind) {
  constexpr How kHow[] = {How::literal, How::random, How::nth, How::recent};
  return kHow[static_cast<std::size_t>(kind)];
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
Planner::Shape Planner::shape_of(std::uint32_t chain, const Chains::Step& step) const {
  const Rule& rule = *step.rule;
  Shape shape;
  shape.conditions = rule;
  shape.conditions.counters.reset();
  shape.conditions.target = NoTarget{};
  std::vector<Match>& matches = shape.conditions.matches;
  std::erase_if(matches, [](const Match& match) { return std::holds_alternative<CommentMatch>(match); });
  const auto special = std::find_if_not(matches.begin(), matches.end(), is_pure);
  if (special == matches.end()) return shape;
  const auto at = static_cast<std::size_t>(special - matches.begin());
  if (std::holds_alternative<RecentMatch>(*special)) return shape_of_recent(step, at, std::move(shape));
  if (!std::all_of(std::next(special), matches.end(), is_pure)) {
    shape.why = "remembers, counts or draws more than once";
    return shape;
  }
  const bool counts = std::holds_alternative<NthRule>(*special);
  if (counts && std::next(special) != matches.end()) {
    shape.why = "counts before it has asked all that it asks for";
  } else if (counts && memory_.counters.on_reload() != NthOnReload::reset) {
    shape.why = "its counter outlives the program";
  } else if (counts && !always_ends(chain, step)) {
    shape.why = "packets may come back from its target, and be counted again";
  } else {
    shape.kind = counts ? Unit::Kind::nth : Unit::Kind::random;
    matches.erase(special);
  }
  return shape;
}

/// `at`: of the match, among those without comments, as steps have them.
Planner::Shape Planner::shape_of_recent(const Chains::Step& step, std::size_t at, Shape shape) const {
  std::vector<Match>& matches = shape.conditions.matches;
  const auto& recent = std::get<RecentMatch>(matches[at]);
  if (!may_be_skipped(recent)) {
    shape.why = recent.operation == RecentOperation::set && !recent.inverted
                    ? "remembers whoever comes"
                    : "changes a list, or asks for who is not on it";
    return shape;
  }
  shape.kind = Unit::Kind::recent;
  shape.mask = std::get<Chains::Recent>(step.matches[at]).list->mask();
  shape.by_destination = recent.by_destination;
  matches.resize(at);
  return shape;
}

bool Planner::belongs(const Shape& first, const Shape& next) {
  return next.kind == first.kind && next.conditions == first.conditions && next.mask == first.mask &&
         next.by_destination == first.by_destination;
}

Planner::Run Planner::find_run(std::uint32_t chain, std::uint32_t first) const {
  const auto& steps = chains_.paths_[chain].steps;
  Run run{shape_of(chain, steps[first]), first, first + 1};
  if (run.shape.kind == Unit::Kind::rule) return run;
  for (; run.last < steps.size(); ++run.last) {
    Shape next = shape_of(chain, steps[run.last]);
    if (belongs(run.shape, next)) continue;
    const bool plain = next.kind == Unit::Kind::rule && next.conditions == run.shape.conditions && next.why.empty();
    run.closed = plain && run.shape.kind != Unit::Kind::recent &&
                 (run.shape.kind == Unit::Kind::random || always_ends(chain, steps[run.last]));
    if (run.closed) ++run.last;
    break;
  }
  return run;
}

/// From the built-in chains, and from every chain that nothing jumps to: those may be entered directly.
void Planner::find_reach() {
  std::vector<bool> called(chains_.paths_.size(), false);
  for (const Chains::Path& path : chains_.paths_) {
    for (const Chains::Step& step : path.steps) {
      if (leads_on(step.rule->target)) called[step.chain] = true;
    }
  }
  reach_.assign(called.size(), 0);
  for (auto chain = order_.rbegin(); chain != order_.rend(); ++chain) {
    if (!called[*chain]) reach_[*chain] = 15;
    for (const Chains::Step& step : chains_.paths_[*chain].steps) {
      if (!leads_on(step.rule->target)) continue;
      reach_[step.chain] = static_cast<Protocols>(reach_[step.chain] | (reach_[*chain] & protocols_of(*step.rule)));
    }
  }
}

void Planner::find_ends() {
  ends_.assign(chains_.paths_.size(), 0);
  for (const std::uint32_t chain : order_) {
    unsigned open = 15;  // of which nobody has gone back so far
    for (const Chains::Step& step : chains_.paths_[chain].steps) {
      const unsigned ended = open & ending(step);
      ends_[chain] = static_cast<Protocols>(ends_[chain] | ended);
      open &= ~ended;
      const bool go = std::holds_alternative<Goto>(step.rule->target);
      if (go) open &= ~(protocols_of(*step.rule) & ~unsigned{ends_[step.chain]});
      if (std::holds_alternative<Return>(step.rule->target)) open &= ~unsigned{protocols_of(*step.rule)};
    }
  }
}

/// The protocols whose packets all match this rule, and end by it.
Planner::Protocols Planner::ending(const Chains::Step& step) const {
  const Rule& rule = *step.rule;
  const bool everybody = !rule.source && !rule.destination && !rule.in_interface && !rule.out_interface &&
                         std::all_of(rule.matches.begin(), rule.matches.end(), always_holds);
  const Protocols other = rule.protocol ? 8 : 0;  // one of these is not all of them
  if (!everybody || (rule.protocol && rule.protocol->inverted)) return 0;
  const auto matching = static_cast<Protocols>(protocols_of(rule) & ~other);
  if (is_terminal(rule.target)) return matching;
  return leads_on(rule.target) ? static_cast<Protocols>(matching & ends_[step.chain]) : Protocols{0};
}

/// Do all packets that match this rule of the chain end by it?
bool Planner::always_ends(std::uint32_t chain, const Chains::Step& step) const {
  if (is_terminal(step.rule->target)) return true;
  return leads_on(step.rule->target) && (reach_[chain] & protocols_of(*step.rule) & ~ends_[step.chain]) == 0;
}

std::optional<Unit> Planner::make_unit(std::uint32_t chain, const Run& run, std::string_view& why) {
  const std::size_t rules = run.last - run.first;
  why = run.shape.why;
  if (run.shape.kind == Unit::Kind::rule) return std::nullopt;
  if (rules < kShortestRun) {
    why = "alone: no rule beside it has the same conditions";
    return std::nullopt;
  }
  if (run.shape.kind == Unit::Kind::nth) return make_nth(chain, run, why);
  if (run.shape.kind == Unit::Kind::recent) return make_recent(chain, run);
  Unit unit;
  unit.kind = Unit::Kind::random;
  const auto& steps = chains_.paths_[chain].steps;
  unit.choice = choice_of(draws_of(steps, run.first, run.last, RandomMatch{RandomMatch::kAlways, false}));
  return unit;
}

std::optional<Unit> Planner::make_nth(std::uint32_t chain, const Run& run, std::string_view& why) {
  auto takers = period_of(draws_of(chains_.paths_[chain].steps, run.first, run.last, NthRule{1, 0, false}), steps_);
  if (!takers) {
    why = "its run takes too many packets until it repeats";
    return std::nullopt;
  }
  Unit unit;
  unit.kind = Unit::Kind::nth;
  unit.period = std::make_unique<Unit::Period>();
  unit.period->takers = std::move(*takers);
  return unit;
}

Unit Planner::make_recent(std::uint32_t chain, const Run& run) const {
  Unit unit;
  unit.kind = Unit::Kind::recent;
  std::vector<std::shared_ptr<affinity::RecentTable>> lists;
  const std::size_t at = run.shape.conditions.matches.size();  // behind the conditions
  for (std::uint32_t i = run.first; i < run.last; ++i) {
    lists.push_back(std::get<Chains::Recent>(chains_.paths_[chain].steps[i].matches[at]).list);
  }
  unit.index = std::make_unique<affinity::RecentIndex>(std::move(lists), memory_.lists.options().key);
  unit.mask = run.shape.mask;
  unit.by_destination = run.shape.by_destination;
  return unit;
}

void Planner::plan(std::uint32_t chain) {
  Chains::Path& path = chains_.paths_[chain];
  auto plan = std::make_unique<Plan>();
  std::vector<std::optional<UnitKey>> keys;
  bool runs = false;
  for (std::uint32_t first = 0; first < path.steps.size();) {
    const Run run = find_run(chain, first);
    std::string_view why;
    std::optional<Unit> made = make_unit(chain, run, why);
    const std::uint32_t size = made ? run.last - run.first : 1;
    runs = runs || made;
    for (; first < run.last; first += size) {
      Unit unit = made ? std::move(*made) : Unit();
      unit.first = first;
      unit.last = first + size;
      path.treatments.insert(path.treatments.end(), size, Treatment{how(unit.kind), size, why});
      plan->unit_of.insert(plan->unit_of.end(), size, static_cast<std::uint32_t>(plan->units.size()));
      keys.push_back(unit_key(run.shape.conditions));
      plan->units.push_back(std::move(unit));
    }
  }
  plan->keyed = keys.size() >= kFewestKeyed;
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    if (plan->keyed) plan->dispatch.add(i, keys[i]);
    Treatment& treatment = path.treatments[plan->units[i].first];
    if (treatment.how != How::literal) continue;
    if (plan->keyed && keys[i]) treatment = {How::keyed, 1, {}};
    if (treatment.how == How::literal && treatment.why.empty()) {
      treatment.why = plan->keyed ? "asks for no exact destination, protocol or port"
                                  : "one of few: looked at as fast as looked up";
    }
  }
  if (plan->keyed || runs) path.plan = std::move(plan);
}

void Planner::plan() {
  find_reach();
  find_ends();
  for (std::uint32_t i = 0; i < chains_.paths_.size(); ++i) plan(i);
}

}  // namespace limpet::rules
