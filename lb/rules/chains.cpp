#include "lb/rules/chains.h"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace limpet::rules {

using affinity::RecentOperation;

class Chains::Walker {
 public:
  Walker(const Chains& chains, Facts& facts, const Moment& moment, std::vector<Hit>* hits)
      : paths_(chains.paths_),
        table_(chains.table_),
        nth_turns_(chains.nth_turns_->count),
        facts_(facts),
        moment_(moment),
        hits_(hits) {}

  Walk walk(std::uint32_t chain) {
    at_ = {chain, 0, false};
    base_ = chain;
    while (!ended_) {
      const Path& path = paths_[at_.chain];
      if (at_.step == path.steps.size()) {
        leave();
        continue;
      }
      bool settled = false;  // the plan knows that it matches
      if (path.plan && !follow(path, settled)) continue;
      const Step& step = path.steps[at_.step++];
      known_here_ = false;
      if (!settled && !(header_matches(*step.rule, facts_) && hold(step))) continue;
      if (hits_ != nullptr) hits_->push_back({table_, path.name, step.number, step.rule});
      std::visit([&](const auto& target) { obey(target, step); }, step.rule->target);
    }
    return walk_;
  }

 private:
  bool hold(const Step& step) {
    return std::all_of(step.matches.begin(), step.matches.end(), [this](const Linked& match) {
      return std::visit([this](const auto& m) { return holds(m); }, match);
    });
  }
  /// To the next step that may match. False: to one behind, or to the end; look again.
  bool follow(const Path& path, bool& settled) {
    const Plan& plan = *path.plan;
    std::uint32_t at = plan.unit_of[at_.step];
    const bool begins = at_.step == plan.units[at].first;
    if (begins && plan.keyed) {
      at = plan.dispatch.next(at, facts_.tuple);
      if (at == UnitIndex::kNone) return at_.step = static_cast<std::uint32_t>(path.steps.size()), false;
      at_.step = plan.units[at].first;
    }
    const Unit& unit = plan.units[at];
    if (unit.kind == Unit::Kind::rule) return true;
    if (begins && !conditions_hold(path.steps[unit.first])) return at_.step = unit.last, false;
    if (unit.kind == Unit::Kind::recent) return ask_index(unit);
    if (!begins) return true;  // a jump has returned: rule by rule
    at_.step = unit.first + (unit.kind == Unit::Kind::random ? unit.choice.pick(moment_.rng) : take_turn(*unit.period));
    settled = true;
    return at_.step != unit.last;
  }
  /// What the rules of a run have in common: all but what remembers, counts or draws, and what follows a list.
  bool conditions_hold(const Step& step) {
    if (!header_matches(*step.rule, facts_)) return false;
    for (const Linked& match : step.matches) {
      if (std::holds_alternative<Recent>(match)) return true;
      const bool special =
          std::holds_alternative<RandomMatch>(match) || std::holds_alternative<std::shared_ptr<NthMatch>>(match);
      if (!special && !std::visit([this](const auto& m) { return holds(m); }, match)) return false;
    }
    return true;
  }
  bool ask_index(const Unit& unit) {
    walk_.asked = true;
    const net::Tuple& tuple = facts_.tuple;
    const net::Address& address = unit.by_destination ? tuple.destination.address : tuple.source.address;
    const std::uint32_t list = unit.index->first(unit.mask.apply(address), at_.step - unit.first);
    at_.step = list == affinity::RecentIndex::kNone ? unit.last : unit.first + list;
    return at_.step != unit.last;
  }
  std::uint32_t take_turn(Unit::Period& period) {
    if (!moment_.without_consequences) nth_turns_.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t packet = moment_.without_consequences ? period.packets.load(std::memory_order_relaxed)
                                                              : period.packets.fetch_add(1, std::memory_order_relaxed);
    return period.takers[packet % period.takers.size()];
  }

  bool holds(const auto& match) { return matches(match, facts_); }
  bool holds(const Set& match) { return match.set->contains(facts_.tuple, match.match.sides) != match.match.inverted; }
  bool holds(const RandomMatch& match) { return match.match(moment_.rng); }
  bool holds(const std::shared_ptr<NthMatch>& match) {
    if (!moment_.without_consequences) {
      nth_turns_.fetch_add(1, std::memory_order_relaxed);
      return match->match();
    }
    const std::uint32_t last = match->rule().every - 1;
    const bool next_is_first = match->counter()->value.load(std::memory_order_relaxed) == last;
    return next_is_first != match->rule().inverted;
  }
  bool holds(const Recent& match) {
    const affinity::RecentPacket packet{facts_.tuple.source.address, facts_.tuple.destination.address, facts_.ttl};
    const affinity::RecentAnswer answer = moment_.without_consequences
                                              ? match.list->peek(match.rule, packet, moment_.jiffies)
                                              : match.list->ask(match.rule, packet, moment_.jiffies);
    const RecentOperation operation = match.rule.operation;
    const bool asks = operation == RecentOperation::rcheck || operation == RecentOperation::update;
    if (asks && !match.rule.inverted) {
      walk_.asked = true;
      if (answer.known && !answer.matches) walk_.expired = true;
      if (answer.matches) known_here_ = true;
    }
    return answer.matches;
  }

  void obey(NoTarget, const Step&) {}
  void obey(const SetMark& mark, const Step&) { facts_.mark = (facts_.mark & ~mark.mask) ^ mark.value; }
  void obey(const Jump&, const Step& step) {
    callers_[depth_++] = at_;
    at_ = {step.chain, 0, at_.known || known_here_};
  }
  void obey(const Goto&, const Step& step) { at_ = {step.chain, 0, at_.known || known_here_}; }
  void obey(Return, const Step&) { leave(); }
  void obey(Accept, const Step& step) { end(End::accept, step); }
  void obey(Drop, const Step& step) { end(End::drop, step); }
  void obey(const Reject&, const Step& step) { end(End::reject, step); }
  void obey(const Dnat&, const Step& step) { end(End::dnat, step); }
  void obey(const Redirect&, const Step& step) { end(End::redirect, step); }
  void obey(const Snat&, const Step& step) { end(End::snat, step); }
  void obey(const Masquerade&, const Step& step) { end(End::masquerade, step); }

  void end(End how, const Step& step) {
    walk_.end = how;
    walk_.by = step.rule;
    walk_.known = at_.known || known_here_;
    ended_ = true;
  }
  void leave() {
    if (depth_ != 0) {
      at_ = callers_[--depth_];
      return;
    }
    walk_.end = paths_[base_].policy == Policy::drop ? End::drop : End::policy;
    ended_ = true;
  }

  const std::vector<Path>& paths_;
  const Table table_;
  std::atomic<std::uint64_t>& nth_turns_;
  Facts& facts_;
  const Moment& moment_;
  std::vector<Hit>* const hits_;
  std::array<Place, kDeepest> callers_{};
  std::size_t depth_ = 0;
  std::uint32_t base_ = 0;
  Place at_{};
  bool known_here_ = false;
  bool ended_ = false;
  Walk walk_;
};

std::optional<Walk> Chains::walk(std::string_view chain, Facts& facts, const Moment& moment,
                                 std::vector<Hit>* hits) const {
  const auto found = names_.find(chain);
  if (found == names_.end()) return std::nullopt;
  return Walker(*this, facts, moment, hits).walk(found->second);
}

std::vector<TreatedRule> Chains::treated() const {
  std::vector<TreatedRule> all;
  for (const Path& path : paths_) {
    for (std::size_t i = 0; i < path.treatments.size(); ++i) {
      all.push_back({table_, path.name, path.steps[i].number, path.steps[i].rule, path.treatments[i]});
    }
  }
  return all;
}

std::vector<std::uint32_t> Chains::counted() const {
  std::vector<std::uint32_t> all;
  for (const Path& path : paths_) {
    for (const Step& step : path.steps) {
      for (const Linked& match : step.matches) {
        const auto* const nth = std::get_if<std::shared_ptr<NthMatch>>(&match);
        if (nth != nullptr) all.push_back((*nth)->counter()->value.load(std::memory_order_relaxed));
      }
    }
  }
  return all;
}

}  // namespace limpet::rules
