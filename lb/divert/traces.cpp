#include "lb/divert/traces.h"

#include <algorithm>
#include <functional>
#include <iterator>

namespace limpet::divert {

namespace {

constexpr std::array<Hooked, 2> kRaw{{{"PREROUTING", "LIMPET-PREROUTING"}, {"OUTPUT", "LIMPET-OUTPUT"}}};
constexpr std::array<Hooked, 2> kMangle{{{"POSTROUTING", "LIMPET-POSTROUTING"}, {"INPUT", "LIMPET-INPUT"}}};
constexpr std::string_view kHelpers[] = {kRepliesChain, kIcmpChain, kFragmentsChain, kProbeChain};

constexpr std::size_t kGuardRules = 2;  // of rules.h

enum class Owner { others, diversion, guard };

Owner owner_of(std::string_view chain) noexcept {
  if (chain == kGuardChain) return Owner::guard;
  const auto has = [&](const auto& hooks) {
    return std::any_of(std::begin(hooks), std::end(hooks), [&](const Hooked& hook) { return hook.chain == chain; });
  };
  const bool helper = std::find(std::begin(kHelpers), std::end(kHelpers), chain) != std::end(kHelpers);
  return helper || has(kRaw) || has(kMangle) ? Owner::diversion : Owner::others;
}

/// How long the word is that `text` starts with. iptables-save quotes a comment of more than a word, and writes \" for
/// a quote in it: what is inside may read like a jump, and is none.
std::size_t word_length(std::string_view text) noexcept {
  if (!text.starts_with('"')) return std::min(text.find(' '), text.size());
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  return text.size();
}

/// The first word of `text`, which is shortened by it.
std::string_view take_word(std::string_view& text) noexcept {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, word_length(text));
  text.remove_prefix(word.size());
  return word;
}

/// Whose chain the rule leads to.
Owner target_owner(std::string_view rule) noexcept {
  while (!rule.empty()) {
    const std::string_view word = take_word(rule);
    if (word != "-j" && word != "-g") continue;
    if (const Owner owner = owner_of(take_word(rule)); owner != Owner::others) return owner;
  }
  return Owner::others;
}

std::string_view take_line(std::string_view& text) noexcept {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

bool by_name(const Standing::Chain& a, const Standing::Chain& b) noexcept {
  return a.name < b.name;
}

/// iptables-save declares all chains before the first rule.
void add_rule(Standing& standing, std::string_view chain, std::string_view rule) {
  for (Standing::Chain& known : standing.chains) {
    if (known.name != chain) continue;
    ++known.rules;
    known.print = known.print * 0x9e3779b97f4a7c15 + std::hash<std::string_view>{}(rule);
  }
}

Standing::Jump after_one_more(Standing::Jump before, bool behind_others) noexcept {
  if (before != Standing::Jump::missing) return Standing::Jump::repeated;
  return behind_others ? Standing::Jump::behind : Standing::Jump::first;
}

const char* to_words(Standing::Jump jump) noexcept {
  switch (jump) {
    case Standing::Jump::missing:
      return "is missing";
    case Standing::Jump::behind:
      return "stands behind other rules";
    case Standing::Jump::repeated:
      return "is there more than once";
    case Standing::Jump::first:
      break;
  }
  return "is there";
}

std::string begin(Table table) {
  return "*" + std::string(to_string(table)) + "\n";
}

}  // namespace

std::string_view to_string(Table table) noexcept {
  return table == Table::raw ? "raw" : "mangle";
}

const std::array<Hooked, 2>& hooked(Table table) noexcept {
  return table == Table::raw ? kRaw : kMangle;
}

Traces find_traces(std::string_view saved) {
  Traces traces;
  while (!saved.empty()) {
    const std::string_view line = take_line(saved);
    std::string_view rest = line;
    if (line.starts_with(':')) {
      const std::string_view chain = take_word(rest).substr(1);
      const Owner owner = owner_of(chain);
      if (owner == Owner::diversion) traces.chains.emplace_back(chain);
      if (owner == Owner::guard) traces.guard = true;
    } else if (line.starts_with("-A ")) {
      take_word(rest);
      if (owner_of(take_word(rest)) != Owner::others) continue;
      const Owner target = target_owner(rest);
      if (target == Owner::diversion) traces.jumps.emplace_back(line);
      if (target == Owner::guard) traces.guard_jumps.emplace_back(line);
    }
  }
  return traces;
}

Standing find_standing(Table table, std::string_view saved) {
  Standing standing;
  std::array<bool, 2> others{};  // rules that stand in the base chain before what comes
  std::size_t guard_rules = 0;
  bool guard_jump = false;
  while (!saved.empty()) {
    const std::string_view line = take_line(saved);
    std::string_view rest = line;
    const std::string_view word = take_word(rest);
    if (line.starts_with(':') && owner_of(word.substr(1)) == Owner::diversion) {
      standing.chains.push_back({std::string(word.substr(1))});
    }
    if (word != "-A") continue;
    const std::string_view chain = take_word(rest);
    const Owner owner = owner_of(chain);
    if (owner == Owner::diversion) add_rule(standing, chain, rest);
    if (owner == Owner::guard) ++guard_rules;
    const auto& hooks = hooked(table);
    for (std::size_t i = 0; i < hooks.size(); ++i) {
      if (chain != hooks[i].base) continue;
      const Owner target = target_owner(rest);
      if (target == Owner::guard) guard_jump = true;
      if (target == Owner::diversion) standing.jumps[i] = after_one_more(standing.jumps[i], others[i]);
      if (target == Owner::others) others[i] = true;
    }
  }
  std::sort(standing.chains.begin(), standing.chains.end(), by_name);
  standing.guarded = guard_jump && guard_rules == kGuardRules;
  return standing;
}

std::vector<std::string> find_drift(Table table, const Standing& then, const Standing& now, bool guard) {
  std::vector<std::string> found;
  const auto add = [&](std::string_view what, const std::string& is) {
    found.push_back(std::string(to_string(table)) + " table: " + std::string(what) + " " + is);
  };
  for (const Standing::Chain& chain : then.chains) {
    const auto same = std::lower_bound(now.chains.begin(), now.chains.end(), chain, by_name);
    if (same == now.chains.end() || same->name != chain.name) {
      add(chain.name, "is missing");
    } else if (same->rules != chain.rules) {
      add(chain.name, "has " + std::to_string(same->rules) + " rules instead of " + std::to_string(chain.rules));
    } else if (*same != chain) {
      add(chain.name, "has other rules");
    }
  }
  for (std::size_t i = 0; i < now.jumps.size(); ++i) {
    const Hooked& hook = hooked(table)[i];
    if (now.jumps[i] == Standing::Jump::first) continue;
    add("the jump from " + std::string(hook.base) + " to " + std::string(hook.chain), to_words(now.jumps[i]));
  }
  if (guard && !now.guarded) add(kGuardChain, "is not as it was");
  return found;
}

std::string delete_rule(const std::string& rule) {
  return "-D" + rule.substr(2) + "\n";
}

std::string render_removal(Table table, const Traces& present) {
  std::string text = begin(table);
  for (const std::string& jump : present.jumps) text += delete_rule(jump);
  for (const std::string& chain : present.chains) text.append("-F ").append(chain).append("\n");
  for (const std::string& chain : present.chains) text.append("-X ").append(chain).append("\n");
  return text + "COMMIT\n";
}

std::string render_guard_removal(const Traces& present) {
  std::string text = begin(Table::raw);
  for (const std::string& jump : present.guard_jumps) text += delete_rule(jump);
  if (present.guard) {
    const std::string chain(kGuardChain);
    text += "-F " + chain + "\n-X " + chain + "\n";
  }
  return text + "COMMIT\n";
}

}  // namespace limpet::divert
