#include "lb/rules/balance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace limpet::rules {
namespace {

using affinity::RecentMatch;
using affinity::RecentOperation;

bool same_demands(const Demands& a, const Demands& b) {
  const auto within = [](const Demands& some, const Demands& all) {
    return std::all_of(some.begin(), some.end(),
                       [&](const Demand& d) { return std::find(all.begin(), all.end(), d) != all.end(); });
  };
  return within(a, b) && within(b, a);
}

bool translates(const Target& target) {
  return std::holds_alternative<Dnat>(target) || std::holds_alternative<Redirect>(target);
}

/// The chain that it goes to; "" if it goes to none.
std::string_view goal_of(const Rule& rule) {
  if (const auto* const jump = std::get_if<Jump>(&rule.target)) return jump->chain;
  if (const auto* const go = std::get_if<Goto>(&rule.target)) return go->chain;
  return {};
}

/// One after the other.
SetMark then(const SetMark& first, const SetMark& second) {
  return {(first.value & ~second.mask) ^ second.value, first.mask | second.mask};
}

/// The `recent --set` events from `from` on; nullopt: there are others.
std::optional<std::vector<RecentAt>> sets_of(const Rule& rule, RuleAt at, const Dissected& parts, std::size_t from) {
  std::vector<RecentAt> sets;
  for (std::size_t i = from; i < parts.events.size(); ++i) {
    const auto* const recent = std::get_if<RecentMatch>(&rule.matches[parts.events[i]]);
    if (recent == nullptr || recent->operation != RecentOperation::set || recent->inverted) return std::nullopt;
    sets.push_back({at, static_cast<std::uint32_t>(parts.events[i]), *recent});
  }
  return sets;
}

/// The chance that a draw lets a packet in.
double chance(const auto& draw) {
  if (const auto* const random = std::get_if<RandomMatch>(&draw)) {
    const double chance = static_cast<double>(random->threshold) / RandomMatch::kAlways;
    return random->inverted ? 1 - chance : chance;
  }
  if (const auto* const nth = std::get_if<NthRule>(&draw)) {
    const double chance = 1.0 / nth->every;
    return nth->inverted ? 1 - chance : chance;
  }
  return 1;
}

class Finder {
 public:
  explicit Finder(const TableRules& nat) : nat_(nat), marks_(nat) {
    for (std::uint32_t i = 0; i < nat.chains.size(); ++i) numbers_.emplace(nat.chains[i].name, i);
  }

  Balance run() {
    for (std::uint32_t i = 0; i < nat_.chains.size(); ++i) find_leaf(i);
    for (std::uint32_t i = 0; i < nat_.chains.size(); ++i) {
      if (!leaf_of_chain_.contains(i)) find_cascades(i);
    }
    return std::move(balance_);
  }

 private:
  /// A rule that may belong to a cascade.
  struct Member {
    Demands demands;
    std::optional<Ask> ask;
    std::optional<Pick> pick;  // its share: its chance
  };

  void find_leaf(std::uint32_t number) {
    const Chain& chain = nat_.chains[number];
    if (is_built_in(Table::nat, chain.name)) return;
    Leaf leaf;
    leaf.chain = number;
    std::vector<Demands> remembering;  // demands of rules that remember without translating
    for (std::uint32_t i = 0; i < chain.rules.size(); ++i) {
      const Rule& rule = chain.rules[i];
      const RuleAt at{number, i};
      Dissected parts = dissect(rule);
      if (const auto mark = marks_.of(rule); mark && parts.events.empty()) {
        leaf.marks.push_back({at, std::move(parts.demands), *mark});
        continue;
      }
      const bool ends = translates(rule.target);
      auto sets = sets_of(rule, at, parts, 0);
      if (!sets || !parts.demands_first || (!ends && !std::holds_alternative<NoTarget>(rule.target))) return;
      leaf.remembers.insert(leaf.remembers.end(), sets->begin(), sets->end());
      if (!ends) {
        if (!sets->empty()) remembering.push_back(std::move(parts.demands));
        continue;
      }
      leaf.rule = at;
      leaf.to = rule.target;
      leaf.demands = std::move(parts.demands);
      // Whoever is translated was remembered by all of them.
      if (!std::all_of(remembering.begin(), remembering.end(),
                       [&](const Demands& demands) { return implies(leaf.demands, demands); })) {
        return;
      }
      leaf_of_chain_.emplace(number, static_cast<std::uint32_t>(balance_.leaves.size()));
      balance_.leaves.push_back(std::move(leaf));
      return;
    }
  }

  /// The endpoint that a rule leads to, having remembered `sets`.
  std::optional<std::uint32_t> leaf_of_rule(const Rule& rule, RuleAt at, std::vector<RecentAt> sets) {
    Leaf leaf;
    if (translates(rule.target)) {
      leaf.rule = at;
      leaf.to = rule.target;
    } else {
      const auto chain = numbers_.find(goal_of(rule));
      const auto found = chain == numbers_.end() ? leaf_of_chain_.end() : leaf_of_chain_.find(chain->second);
      if (found == leaf_of_chain_.end()) return std::nullopt;
      if (sets.empty()) return found->second;
      leaf = balance_.leaves[found->second];
    }
    leaf.remembers.insert(leaf.remembers.begin(), sets.begin(), sets.end());
    balance_.leaves.push_back(std::move(leaf));
    return static_cast<std::uint32_t>(balance_.leaves.size() - 1);
  }

  std::optional<Member> member(RuleAt at) {
    const Rule& rule = nat_.chains[at.chain].rules[at.rule];
    if (!translates(rule.target) && goal_of(rule).empty()) return std::nullopt;
    Dissected parts = dissect(rule);
    if (!parts.demands_first) return std::nullopt;
    Member member{std::move(parts.demands), {}, {}};
    std::size_t questions = 0;
    Pick pick{at, {}, 0, 1};
    if (!parts.events.empty()) {
      const Match& first = rule.matches[parts.events.front()];
      const auto* const recent = std::get_if<RecentMatch>(&first);
      const bool asks = recent != nullptr && !recent->inverted &&
                        (recent->operation == RecentOperation::rcheck || recent->operation == RecentOperation::update);
      if (asks) member.ask = Ask{{at, static_cast<std::uint32_t>(parts.events.front()), *recent}, 0};
      if (const auto* const random = std::get_if<RandomMatch>(&first)) pick.draw = *random;
      if (const auto* const nth = std::get_if<NthRule>(&first)) pick.draw = *nth;
      questions = asks || recent == nullptr ? 1 : 0;
    }
    auto sets = sets_of(rule, at, parts, questions);
    if (!sets) return std::nullopt;
    const auto leaf = leaf_of_rule(rule, at, std::move(*sets));
    if (!leaf) return std::nullopt;
    if (member.ask) {
      member.ask->leaf = *leaf;
    } else {
      pick.leaf = *leaf;
      pick.share = chance(pick.draw);
      member.pick = pick;
    }
    return member;
  }

  void find_cascades(std::uint32_t chain) {
    std::optional<Cascade> open;
    const auto close = [&] {
      if (open) balance_.cascades.push_back(std::move(*open));
      open.reset();
    };
    const std::size_t rules = nat_.chains[chain].rules.size();
    for (std::uint32_t i = 0; i < rules; ++i) {
      auto next = member({chain, i});
      const bool goes_on = open && next && open->rest > 0 && same_demands(open->demands, next->demands) &&
                           (open->picks.empty() || !next->ask);
      if (!goes_on) close();
      if (!next) continue;
      if (!open)
        open = Cascade{.chain = chain, .first = i, .end = i, .demands = next->demands, .asks = {}, .picks = {}};
      open->end = i + 1;
      if (next->ask) {
        open->asks.push_back(std::move(*next->ask));
      } else {
        add(*open, std::move(*next->pick));
      }
    }
    close();
    for (auto at = balance_.cascades.rbegin(); at != balance_.cascades.rend() && at->chain == chain; ++at) {
      at->even = is_even(*at);
    }
  }
  static void add(Cascade& cascade, Pick pick) {
    const double chance = pick.share;
    pick.share = chance * cascade.rest;
    cascade.rest = chance == 1 ? 0 : cascade.rest * (1 - chance);
    cascade.picks.push_back(std::move(pick));
  }
  /// Of n picks, number i (from 0) takes 1/(n-i) of what is left to it.
  static bool is_even(const Cascade& cascade) {
    constexpr double kSpelling = 5.1e-6;  // "0.33333"; and what 31 bits round
    const std::size_t n = cascade.picks.size();
    for (std::size_t i = 0; i < n; ++i) {
      if (std::abs(chance(cascade.picks[i].draw) - 1.0 / static_cast<double>(n - i)) > kSpelling) return false;
    }
    return n > 0;
  }

  const TableRules& nat_;
  const Marks marks_;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;
  std::map<std::uint32_t, std::uint32_t> leaf_of_chain_;
  Balance balance_;
};

/// Which lists are looked at and set for one endpoint alone.
class Owners {
 public:
  Owners(const Ruleset& rules, Balance& balance) : balance_(balance) {
    for (const TableRules& table : rules.tables) {
      for (const Chain& chain : table.chains) count(chain);
    }
    for (Leaf& leaf : balance_.leaves) {
      for (RecentAt& use : leaf.remembers) add(use, leaf);
    }
    for (Cascade& cascade : balance_.cascades) {
      for (Ask& ask : cascade.asks) add(ask.list, balance_.leaves[ask.leaf]);
    }
  }

  void mark() {
    for (Leaf& leaf : balance_.leaves) {
      for (RecentAt& use : leaf.remembers) use.own = is_own(use.recent.name);
    }
    for (Cascade& cascade : balance_.cascades) {
      for (Ask& ask : cascade.asks) ask.list.own = is_own(ask.list.recent.name);
    }
  }

 private:
  struct Uses {
    std::size_t all = 0;
    std::set<std::pair<RuleAt, std::uint32_t>> known;
    const Leaf* leaf = nullptr;
    const RecentMatch* first = nullptr;
    bool one_kind = true;  // one endpoint, one mask, one side of the packet
  };

  void count(const Chain& chain) {
    for (const Rule& rule : chain.rules) {
      for (const Match& match : rule.matches) {
        if (const auto* const recent = std::get_if<RecentMatch>(&match)) ++uses_[recent->name].all;
      }
    }
  }
  void add(const RecentAt& use, const Leaf& leaf) {
    Uses& uses = uses_[use.recent.name];
    uses.known.emplace(use.at, use.match);
    if (uses.leaf == nullptr) {
      uses.leaf = &leaf;
      uses.first = &use.recent;
    }
    uses.one_kind = uses.one_kind && uses.leaf->to == leaf.to && uses.first->mask == use.recent.mask &&
                    uses.first->by_destination == use.recent.by_destination;
  }
  bool is_own(const std::string& list) const {
    const Uses& uses = uses_.at(list);
    return uses.one_kind && uses.known.size() == uses.all;
  }

  Balance& balance_;
  std::unordered_map<std::string, Uses> uses_;
};

}  // namespace

const Cascade* Balance::beginning_at(RuleAt at) const noexcept {
  const auto found = std::lower_bound(cascades.begin(), cascades.end(), at, [](const Cascade& cascade, RuleAt place) {
    return RuleAt{cascade.chain, cascade.first} < place;
  });
  const bool here = found != cascades.end() && found->chain == at.chain && found->first == at.rule;
  return here ? &*found : nullptr;
}

Balance find_balance(const Ruleset& rules) {
  const TableRules* const nat = rules.find(Table::nat);
  if (nat == nullptr) return {};
  Balance balance = Finder(*nat).run();
  Owners(rules, balance).mark();
  return balance;
}

Marks::Marks(const TableRules& table) {
  for (const Chain& chain : table.chains) {
    if (is_built_in(table.table, chain.name) || chain.rules.empty()) continue;
    SetMark sum{0, 0};
    const bool only_marks = std::all_of(chain.rules.begin(), chain.rules.end(), [&](const Rule& rule) {
      const auto* const mark = std::get_if<SetMark>(&rule.target);
      if (mark == nullptr) return false;
      const Dissected parts = dissect(rule);
      sum = then(sum, *mark);
      return parts.demands.empty() && parts.events.empty();
    });
    if (only_marks) chains_.emplace(chain.name, sum);
  }
}

std::optional<SetMark> Marks::of_chain(std::string_view chain) const {
  const auto found = chains_.find(chain);
  return found == chains_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<SetMark> Marks::of(const Rule& rule) const {
  if (const auto* const mark = std::get_if<SetMark>(&rule.target)) return *mark;
  const auto* const jump = std::get_if<Jump>(&rule.target);
  return jump == nullptr ? std::nullopt : of_chain(jump->chain);
}

}  // namespace limpet::rules
