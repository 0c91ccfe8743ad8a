#include "lb/rules/route_finder.h"

#include <algorithm>
#include <utility>

#include "lb/rules/chains.h"

namespace limpet::rules {
namespace {

using Outcome = Route::Outcome;
using Role = Frontend::Role;

constexpr std::size_t kMostDerived = 32;  // of what follows from not having matched; to know less is never wrong

/// What of `asked` is not known yet; nullopt: it cannot be.
std::optional<Demands> open_of(const Demands& known, const Demands& asked) {
  Demands open;
  for (const Demand& demand : asked) {
    const Relation found = relation(known, demand);
    if (found == Relation::contradicted) return std::nullopt;
    if (found == Relation::open) open.push_back(demand);
  }
  return open;
}

Demands both(Demands first, const Demands& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool is_local_destination(const Demand& demand) {
  const auto* const kind = std::get_if<KindIs>(&demand);
  return kind != nullptr && kind->destination && !kind->kinds.inverted && kind->kinds.value == kLocal;
}

/// Does the frontend itself say so?
bool is_of(const Frontend& frontend, const Demand& demand) {
  const Demands alone{demand};
  if (frontend.address && destination_of(alone) == frontend.address) return true;
  if (frontend.protocol && protocol_of(alone) == frontend.protocol) return true;
  if (frontend.port && destination_port_of(alone) == frontend.port) return true;
  return frontend.local && is_local_destination(demand);
}

std::string_view comment_of(const Rule& rule) {
  for (const Match& match : rule.matches) {
    if (const auto* const comment = std::get_if<CommentMatch>(&match)) return comment->text;
  }
  return {};
}

Role role_of(std::string_view comment) {
  if (comment.ends_with(" cluster IP")) return Role::cluster_ip;
  if (comment.ends_with(" external IP")) return Role::external_ip;
  return comment.ends_with(" loadbalancer IP") ? Role::load_balancer : Role::address;
}

/// Rules that mark for masquerading, by where packets must be going: few of thousands of services concern one route.
class Markings {
 public:
  void add(Demands when) {
    Key key{destination_port_of(when), destination_of(when)};
    by_key_[key].push_back(std::move(when));
  }
  void add_all(const Markings& others) {
    for (const auto& [key, list] : others.by_key_) {
      std::vector<Demands>& own = by_key_[key];
      own.insert(own.end(), list.begin(), list.end());
    }
  }
  /// Under what else than `known` packets are marked, appended.
  void find(const Demands& known, std::vector<Demands>& result) const {
    const auto port = destination_port_of(known);
    const auto address = destination_of(known);
    if (!port) return collect(by_key_.begin(), by_key_.end(), known, result);
    for (const auto& one : {std::optional<std::uint16_t>(), port}) {
      if (!address) {
        collect(by_key_.lower_bound({one, {}}), end_of(one), known, result);
        continue;
      }
      for (const auto& at : {std::optional<net::Address>(), address}) {
        const auto found = by_key_.find({one, at});
        if (found != by_key_.end()) collect(found, std::next(found), known, result);
      }
    }
  }

 private:
  using Key = std::pair<std::optional<std::uint16_t>, std::optional<net::Address>>;
  using Lists = std::map<Key, std::vector<Demands>>;

  Lists::const_iterator end_of(std::optional<std::uint16_t> port) const {
    return std::find_if(by_key_.lower_bound({port, {}}), by_key_.end(),
                        [&](const auto& entry) { return entry.first.first != port; });
  }
  static void collect(Lists::const_iterator from, Lists::const_iterator to, const Demands& known,
                      std::vector<Demands>& result) {
    for (; from != to; ++from) {
      for (const Demands& when : from->second) {
        if (auto open = open_of(known, when)) result.push_back(std::move(*open));
      }
    }
  }

  Lists by_key_;
};

}  // namespace

/// From a hook to a chain, and on in it.
struct RouteFinder::Way {
  const Way* from = nullptr;
  std::size_t depth = 0;
  Demands known;                                   // of every packet that is still here
  Demands shown;                                   // the part of it that rules asked for, or routes would have to
  std::vector<RuleAt> path;                        // the jumps
  std::string service;                             // as a comment on the way said
  Role role = Role::address;                       // the same
  std::optional<std::size_t> address_at, port_at;  // the depth at which they were asked for
  Markings markings;
  std::vector<RuleAt> returns;  // that were followed to the letter
  bool comes_back = false;      // some did, so far
};

/// A rule on a way.
struct RouteFinder::Step {
  const Rule& rule;
  RuleAt at;
  Demands more;  // that it asks for, and that was not known

  /// Those who fulfil it are gone. Is that everybody?
  bool ends(Way& way, bool shown = false) const {
    if (more.size() != 1) return more.empty();
    if (way.known.size() > way.shown.size() + kMostDerived) return false;
    way.known.push_back(opposite(more.front()));
    if (shown) way.shown.push_back(opposite(more.front()));
    return false;
  }
};

Coverage::Coverage(const TableRules& table) {
  for (const Chain& chain : table.chains) states_.emplace_back(chain.rules.size());
}

void Coverage::walk(RuleAt at, std::string_view why) {
  states_[at.chain][at.rule].why = why;
}

void Coverage::take(RuleAt at) {
  State& state = states_[at.chain][at.rule];
  if (!state.taken) ++taken_;
  state.taken = true;
}

RouteFinder::RouteFinder(const Context& context) : context_(context) {
  for (std::uint32_t i = 0; i < context.table.chains.size(); ++i) numbers_.emplace(context.table.chains[i].name, i);
}

void RouteFinder::follow(std::string_view chain, std::uint8_t hook) {
  const auto found = numbers_.find(chain);
  if (found == numbers_.end()) return;
  hook_ = hook;
  Way way;
  follow(found->second, way);
}

/// May packets come back from the chain?
bool RouteFinder::follow(std::uint32_t chain, Way& way) {
  const std::size_t rules = context_.table.chains[chain].rules.size();
  const std::size_t before = context_.coverage.taken();
  bool over = false;
  for (std::uint32_t i = 0; i < rules && !over && context_.steps > 0; ++i) {
    --context_.steps;
    const RuleAt at{chain, i};
    if (const Cascade* const cascade = context_.balance.beginning_at(at)) {
      over = follow_cascade(*cascade, way);
      i = cascade->end - 1;
      continue;
    }
    const Rule& rule = context_.table.chains[chain].rules[i];
    Dissected parts = dissect(rule);
    const bool eventful = !parts.events.empty();
    context_.coverage.walk(at, eventful ? "recent or statistic, but not as part of a cascade over endpoints"
                                        : "takes no part in a service");
    auto more = open_of(way.known, parts.demands);
    if (more && !eventful) over = follow_rule({rule, at, std::move(*more)}, way);
  }
  if (context_.coverage.taken() != before) {
    for (const RuleAt at : way.returns) context_.coverage.take(at);
  }
  return !over || way.comes_back;
}

/// Is nobody left?
bool RouteFinder::follow_rule(const Step& step, Way& way) {
  const Target& target = step.rule.target;
  if (const auto mark = context_.marks.of(step.rule)) return follow_mark(step, *mark, way);
  if (const auto* const jump = std::get_if<Jump>(&target)) {
    const auto chain = numbers_.find(jump->chain);
    return chain != numbers_.end() && !follow_jump(step, chain->second, way) && step.ends(way);
  }
  if (const auto* const go = std::get_if<Goto>(&target)) {
    const auto chain = numbers_.find(go->chain);
    if (chain == numbers_.end()) return false;
    if (follow_jump(step, chain->second, way)) way.comes_back = true;
    return step.ends(way);
  }
  if (std::holds_alternative<Return>(target)) {
    way.comes_back = true;
    if (step.more.size() < 2) way.returns.push_back(step.at);
    return step.ends(way, true);
  }
  if (std::holds_alternative<Accept>(target)) return follow_verdict(step, way, Outcome::leave);
  if (std::holds_alternative<Drop>(target)) return follow_verdict(step, way, Outcome::drop);
  if (std::holds_alternative<Reject>(target)) return follow_verdict(step, way, Outcome::reject);
  return false;
}

bool RouteFinder::follow_cascade(const Cascade& cascade, Way& way) {
  const auto& rules = context_.table.chains[cascade.chain].rules;
  auto more = open_of(way.known, cascade.demands);
  const Demands known = more ? both(way.known, *more) : Demands();
  const auto fits = [&](std::uint32_t leaf) { return implies(known, context_.balance.leaves[leaf].demands); };
  const bool all_fit =
      std::all_of(cascade.asks.begin(), cascade.asks.end(), [&](auto& ask) { return fits(ask.leaf); }) &&
      std::all_of(cascade.picks.begin(), cascade.picks.end(), [&](auto& pick) { return fits(pick.leaf); });
  for (std::uint32_t i = cascade.first; i < cascade.end; ++i) {
    context_.coverage.walk({cascade.chain, i}, "balances, but its endpoints take only some of the packets");
  }
  if (!more || !all_fit) return false;
  const Step step{rules[cascade.first], {cascade.chain, cascade.first}, std::move(*more)};
  Route route;
  route.cascade = static_cast<std::uint32_t>(&cascade - context_.balance.cascades.data());
  add(std::move(route), step, way);
  take(cascade);
  return cascade.rest <= 0 && step.ends(way);
}

/// May packets come back from there?
bool RouteFinder::follow_jump(const Step& step, std::uint32_t chain, Way& way) {
  if (way.depth == Chains::kDeepest) return true;
  Way there;
  there.from = &way;
  there.depth = way.depth + 1;
  there.known = both(way.known, step.more);
  there.shown = both(way.shown, step.more);
  there.path = way.path;
  there.path.push_back(step.at);
  there.service = way.service;
  there.role = way.role;
  if (there.service.empty()) {
    there.service = service_name(comment_of(step.rule));
    there.role = role_of(comment_of(step.rule));
  }
  there.address_at = way.address_at              ? way.address_at
                     : destination_of(step.more) ? std::optional(way.depth)
                                                 : std::nullopt;
  there.port_at = way.port_at ? way.port_at : destination_port_of(step.more) ? std::optional(way.depth) : std::nullopt;
  const bool comes_back = follow(chain, there);
  if (comes_back) way.markings.add_all(there.markings);
  return comes_back;
}

bool RouteFinder::follow_verdict(const Step& step, Way& way, Outcome outcome) {
  const Demands known = both(way.known, step.more);
  const bool of_service = destination_port_of(known) &&
                          (destination_of(known) || std::any_of(known.begin(), known.end(), is_local_destination));
  if (of_service) {
    Route route;
    route.outcome = outcome;
    add(std::move(route), step, way);
    context_.coverage.take(step.at);
  }
  return step.ends(way, !of_service);
}

bool RouteFinder::follow_mark(const Step& step, const SetMark& mark, Way& way) {
  const std::uint32_t set = mark.value & mark.mask;
  if ((set & context_.drop_bits) != 0 && destination_port_of(both(way.known, step.more))) {
    Route route;
    route.outcome = Outcome::drop;
    add(std::move(route), step, way);
    take_mark(step.at);
    return step.ends(way);
  }
  if ((set & context_.masquerade_bits) != 0) {
    way.markings.add(both(way.known, step.more));
    take_mark(step.at);
  }
  return false;
}

void RouteFinder::add(Route route, const Step& step, const Way& way) {
  const Demands known = both(way.known, step.more);
  FoundRoute found;
  Frontend& at = found.frontend;
  at.address = destination_of(known);
  at.protocol = protocol_of(known);
  at.port = destination_port_of(known);
  at.local = std::any_of(known.begin(), known.end(), is_local_destination);
  at.role = way.role == Role::address ? role_of(comment_of(step.rule)) : way.role;
  const std::size_t address_at = way.address_at.value_or(way.depth), port_at = way.port_at.value_or(way.depth);
  // An address in one rule, the port in a later one: node ports on some of the node's addresses.
  if (at.role == Role::address && (at.local || (at.address && address_at < port_at))) at.role = Role::node_port;
  found.service = way.service.empty() ? std::string(service_name(comment_of(step.rule))) : way.service;
  for (const Demand& demand : both(way.shown, step.more)) {
    if (!is_of(at, demand)) route.when.push_back(demand);
  }
  for (const Way* one = &way; one != nullptr; one = one->from) one->markings.find(known, route.masquerade);
  if (route.always_masquerades()) route.masquerade = {Demands()};
  route.hooks = hook_;
  route.line = step.rule.line;
  found.route = std::move(route);
  routes_.push_back(std::move(found));
  for (const RuleAt at_jump : way.path) context_.coverage.take(at_jump);
}

/// A rule that marks, and the chain that does it for it.
void RouteFinder::take_mark(RuleAt at) {
  context_.coverage.take(at);
  const auto* const jump = std::get_if<Jump>(&context_.table.chains[at.chain].rules[at.rule].target);
  if (jump == nullptr) return;
  const std::uint32_t chain = numbers_.at(jump->chain);
  for (std::uint32_t i = 0; i < context_.table.chains[chain].rules.size(); ++i) context_.coverage.take({chain, i});
}

void RouteFinder::take(const Cascade& cascade) {
  for (std::uint32_t i = cascade.first; i < cascade.end; ++i) context_.coverage.take({cascade.chain, i});
  const auto take_leaf = [&](std::uint32_t number) {
    const Leaf& leaf = context_.balance.leaves[number];
    context_.coverage.take(leaf.rule);
    for (const RecentAt& set : leaf.remembers) context_.coverage.take(set.at);
    for (const MarkStep& mark : leaf.marks) take_mark(mark.at);
  };
  for (const Ask& ask : cascade.asks) take_leaf(ask.leaf);
  for (const Pick& pick : cascade.picks) take_leaf(pick.leaf);
}

}  // namespace limpet::rules
