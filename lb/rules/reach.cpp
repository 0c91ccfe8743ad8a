#include "lb/rules/reach.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <variant>

namespace limpet::rules {

/// Before which rule a packet may stand, and where its chains return to.
struct Reach::State {
  struct Place {
    const Chain* chain;
    std::size_t rule;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  Place at;
  std::uint32_t mark;
  std::vector<Place> returns;
  friend auto operator<=>(const State&, const State&) = default;

  State next() const {
    State after = *this;
    ++after.at.rule;
    return after;
  }
};

namespace {

/// The rule without what it asks of the source; nullopt: it asks nothing.
std::optional<Rule> without_source(const Rule& rule) {
  Rule others = rule;
  others.source.reset();
  std::erase_if(others.matches, [](const Match& match) {
    const auto* const ports = std::get_if<MultiportMatch>(&match);
    return std::holds_alternative<SetMatch>(match) ||
           (ports != nullptr && ports->side != MultiportMatch::Side::destination);
  });
  for (Match& match : others.matches) {
    if (auto* const ports = std::get_if<TransportMatch>(&match)) ports->source.reset();
    if (auto* const kinds = std::get_if<AddrtypeMatch>(&match)) kinds->source.reset();
  }
  return others == rule ? std::nullopt : std::optional(std::move(others));
}

}  // namespace

Reach::Reach(const TableRules& table, const IpSets* sets) : sets_(sets) {
  for (const Chain& chain : table.chains) {
    chains_.emplace(chain.name, &chain);
    for (const Rule& rule : chain.rules) {
      if (auto others = without_source(rule)) others_.emplace(&rule, std::move(*others));
    }
  }
}

/// Would another source have changed the answer?
bool Reach::asks_for_source(const Rule& rule, const Facts& facts) const {
  const auto others = others_.find(&rule);
  return others != others_.end() && ask(others->second, facts) != Answer::no;
}

const Chain* Reach::find(const std::string& name) const {
  const auto found = chains_.find(name);
  return found == chains_.end() ? nullptr : found->second;
}

Reach::Answer Reach::ask(const Match& match, const Facts& facts) const {
  const auto either = [](bool holds) { return holds ? Answer::yes : Answer::no; };
  return std::visit(
      [&](const auto& asked) {
        using Kind = std::decay_t<decltype(asked)>;
        if constexpr (std::is_same_v<Kind, CommentMatch>) {
          return Answer::yes;
        } else if constexpr (std::is_same_v<Kind, affinity::RecentMatch>) {
          return asked.operation == affinity::RecentOperation::set ? either(!asked.inverted) : Answer::maybe;
        } else if constexpr (std::is_same_v<Kind, RandomMatch>) {
          if (asked.threshold != 0 && asked.threshold < RandomMatch::kAlways) return Answer::maybe;
          return either((asked.threshold != 0) != asked.inverted);
        } else if constexpr (std::is_same_v<Kind, NthRule>) {
          return asked.every > 1 ? Answer::maybe : either(!asked.inverted);
        } else if constexpr (std::is_same_v<Kind, SetMatch>) {
          if (sets_ == nullptr) return either(asked.inverted);
          const auto set = sets_->sets.find(asked.name);
          const bool within = set != sets_->sets.end() && set->second.contains(facts.tuple, asked.sides);
          return either(within != asked.inverted);
        } else {
          return either(matches(asked, facts));
        }
      },
      match);
}

Reach::Answer Reach::ask(const Rule& rule, const Facts& facts) const {
  if (!header_matches(rule, facts)) return Answer::no;
  Answer all = Answer::yes;
  for (const Match& match : rule.matches) all = std::min(all, ask(match, facts));
  return all;
}

Reach::Ends Reach::from(std::string_view chain, const Facts& facts) const {
  Ends ends;
  const auto begin = chains_.find(chain);
  if (begin == chains_.end()) return ends;
  std::vector<State> open{{{begin->second, 0}, facts.mark, {}}};
  std::set<State> seen{open.front()};
  std::unordered_set<const Rule*> known;
  // Depth first, the way of a match before that of no match: ends come in the order of a walk.
  const auto visit = [&](State state) {
    if (seen.insert(state).second) open.push_back(std::move(state));
  };
  while (!open.empty() && (ends.complete = seen.size() <= kMostStates)) {
    const State state = std::move(open.back());
    open.pop_back();
    if (state.at.rule == state.at.chain->rules.size()) {
      if (state.returns.empty()) continue;
      State back = state;
      back.at = back.returns.back();
      back.returns.pop_back();
      visit(std::move(back));
      continue;
    }
    const Rule& rule = state.at.chain->rules[state.at.rule];
    Facts now = facts;
    now.mark = state.mark;
    const Answer answer = ask(rule, now);
    if (asks_for_source(rule, now)) ends.asked.push_back({&rule, now.mark, answer});
    if (answer != Answer::yes) visit(state.next());
    if (answer == Answer::no) continue;
    State after = state.next();
    if (const auto* const jump = std::get_if<Jump>(&rule.target)) {
      after.returns.push_back(after.at);
      after.at = {find(jump->chain), 0};
    } else if (const auto* const gone = std::get_if<Goto>(&rule.target)) {
      after.at = {find(gone->chain), 0};
    } else if (std::holds_alternative<Return>(rule.target)) {
      after.at.rule = state.at.chain->rules.size();
    } else if (const auto* const set = std::get_if<SetMark>(&rule.target)) {
      after.mark = (after.mark & ~set->mask) ^ set->value;
    } else if (!std::holds_alternative<NoTarget>(rule.target)) {
      if (known.insert(&rule).second) ends.rules.push_back(&rule);
      continue;
    }
    if (after.at.chain != nullptr) visit(std::move(after));
  }
  return ends;
}

}  // namespace limpet::rules
