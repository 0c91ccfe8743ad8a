#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "lb/rules/chains.h"
#include "lb/rules/planner.h"
#include "lb/rules/rule_text.h"

namespace limpet::rules {

/// One table's.
class Linker {
 public:
  Linker(const TableRules& table, net::Family family, RuleMemory& memory, const LinkOptions& options,
         LinkedRuleset& result)
      : table_(table), family_(family), memory_(memory), options_(options), result_(result) {
    for (const Chain& chain : table.chains) {
      chains_.names_.emplace(chain.name, static_cast<std::uint32_t>(chains_.paths_.size()));
      chains_.paths_.push_back({&chain.name, chain.policy, {}, nullptr, {}});
    }
    chains_.table_ = table.table;
  }

  Chains link() {
    for (const Chain* const chain : in_kernel_order()) link(*chain);
    const std::vector<std::uint32_t> order = measure();
    if (options_.compiled) Planner(chains_, memory_, order).plan();
    return std::move(chains_);
  }

 private:
  struct State {
    bool entered = false;
    bool done = false;
    std::size_t depth = 0;  // of the calls below this chain
    std::size_t next = 0;   // step to look at
  };

  /// The built-in chains by hook, then the user's by name: in which rules come into the kernel's table.
  std::vector<const Chain*> in_kernel_order() const {
    constexpr std::array<std::string_view, 5> kHooks{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
    std::vector<const Chain*> chains;
    for (const Chain& chain : table_.chains) chains.push_back(&chain);
    const auto rank = [&](const Chain* chain) {
      const auto* const hook = std::find(kHooks.begin(), kHooks.end(), chain->name);
      return std::pair(is_built_in(table_.table, chain->name) ? hook - kHooks.begin() : 5,
                       std::string_view(chain->name));
    };
    std::stable_sort(chains.begin(), chains.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
    return chains;
  }

  void fault(const Rule& rule, const std::string& message) {
    (options_.lenient ? result_.skipped : result_.errors).push_back({options_.file, rule.line, message});
  }

  void link(const Chain& chain) {
    Chains::Path& path = chains_.paths_[chains_.names_.at(chain.name)];
    std::map<std::string, unsigned> texts;  // how many rules of this text came before
    std::uint32_t number = 0;
    for (const Rule& rule : chain.rules) {
      Chains::Step step{&rule, ++number, 0, {}};
      const std::string text = print(rule, family_);
      const std::string key =
          std::string(to_string(table_.table)) + "/" + chain.name + "/" + text + "/" + std::to_string(texts[text]++);
      if (resolve(rule, step) && link_matches(rule, key, step)) path.steps.push_back(std::move(step));
    }
  }

  bool resolve(const Rule& rule, Chains::Step& step) {
    const auto* const jump = std::get_if<Jump>(&rule.target);
    const auto* const go = std::get_if<Goto>(&rule.target);
    if (jump == nullptr && go == nullptr) return true;
    const std::string& name = jump != nullptr ? jump->chain : go->chain;
    const std::string option = (jump != nullptr ? "-j " : "-g ") + name;
    const auto found = chains_.names_.find(name);
    if (found == chains_.names_.end()) {
      return fault(rule, option + ": there is no such chain, and no target of this name that limpet can honour"), false;
    }
    if (is_built_in(table_.table, name)) return fault(rule, option + ": nothing may jump to a built-in chain"), false;
    step.chain = found->second;
    return true;
  }

  bool link_matches(const Rule& rule, const std::string& key, Chains::Step& step) {
    for (const Match& match : rule.matches) {
      const std::string number = key + "/" + std::to_string(step.matches.size());
      if (!std::visit([&](const auto& m) { return link_match(m, rule, number, step); }, match)) return false;
    }
    return true;
  }
  bool link_match(const auto& match, const Rule&, const std::string&, Chains::Step& step) {
    return step.matches.emplace_back(match), true;
  }
  bool link_match(const CommentMatch&, const Rule&, const std::string&, Chains::Step&) { return true; }
  bool link_match(const NthRule& match, const Rule&, const std::string& key, Chains::Step& step) {
    step.matches.emplace_back(std::make_shared<NthMatch>(memory_.counters.open(key, match)));
    return true;
  }
  bool link_match(const affinity::RecentMatch& match, const Rule& rule, const std::string&, Chains::Step& step) {
    auto list = memory_.lists.open(match);
    if (!list) return fault(rule, "-m recent: " + list.error().message), false;
    step.matches.emplace_back(Chains::Recent{match, std::move(*list)});
    return true;
  }
  bool link_match(const SetMatch& match, const Rule& rule, const std::string&, Chains::Step& step) {
    const auto none = options_.sets == nullptr;
    const auto found = none ? decltype(options_.sets->sets.end()){} : options_.sets->sets.find(match.name);
    if (none || found == options_.sets->sets.end()) {
      return fault(rule, "-m set: there is no set '" + match.name + "'; give the output of ipset save"), false;
    }
    step.matches.emplace_back(Chains::Set{match, &found->second});
    return true;
  }

  /// How deep calls go below each chain, and the chains in an order in which each comes behind those that it leads to.
  /// Rules that close a loop, or go too deep, are faults and taken out. Gotos make ways longer than kDeepest: no recursion.
  std::vector<std::uint32_t> measure() {
    std::vector<std::uint32_t> order, open;
    std::vector<State> states(chains_.paths_.size());
    const auto enter = [&](std::uint32_t chain) {
      states[chain].entered = true;
      open.push_back(chain);
    };
    for (std::uint32_t first = 0; first < states.size(); ++first) {
      if (!states[first].entered) enter(first);
      while (!open.empty()) {
        const std::uint32_t chain = open.back();
        if (const auto unknown = measure(chain, states)) {
          enter(*unknown);
          continue;
        }
        open.pop_back();
        order.push_back(chain);
      }
    }
    return order;
  }
  /// Goes on in a chain. nullopt: it is done; else the chain that has to be measured before.
  std::optional<std::uint32_t> measure(std::uint32_t chain, std::vector<State>& states) {
    State& state = states[chain];
    std::vector<Chains::Step>& steps = chains_.paths_[chain].steps;
    for (; state.next < steps.size(); ++state.next) {
      Chains::Step& step = steps[state.next];
      const bool jumps = std::holds_alternative<Jump>(step.rule->target);
      if (!jumps && !std::holds_alternative<Goto>(step.rule->target)) continue;
      const State& below = states[step.chain];
      if (!below.entered) return step.chain;
      const std::size_t depth = below.depth + (jumps ? 1 : 0);
      if (below.done && depth <= Chains::kDeepest) {
        state.depth = std::max(state.depth, depth);
        continue;
      }
      const std::string option = "-j " + *chains_.paths_[step.chain].name;
      fault(*step.rule, below.done ? option + ": chains are more than 64 deep"
                                   : option + ": is a loop: this chain is reached from there");
      step.rule = nullptr;
    }
    std::erase_if(steps, [](const Chains::Step& step) { return step.rule == nullptr; });
    state.done = true;
    return std::nullopt;
  }

  const TableRules& table_;
  const net::Family family_;
  RuleMemory& memory_;
  const LinkOptions& options_;
  LinkedRuleset& result_;
  Chains chains_;
};

LinkedRuleset link(Ruleset rules, RuleMemory& memory, const LinkOptions& options) {
  LinkedRuleset linked;
  linked.rules = std::make_shared<const Ruleset>(std::move(rules));
  for (const TableRules& table : linked.rules->tables) {
    linked.tables[static_cast<std::size_t>(table.table)] =
        Linker(table, linked.rules->family, memory, options, linked).link();
  }
  return linked;
}

}  // namespace limpet::rules
