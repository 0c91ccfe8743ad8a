#include "lb/divert/traces.h"

#include <algorithm>
#include <iterator>

namespace limpet::divert {

namespace {

constexpr std::array<Hooked, 2> kRaw{{{"PREROUTING", "LIMPET-PREROUTING"}, {"OUTPUT", "LIMPET-OUTPUT"}}};
constexpr std::array<Hooked, 2> kMangle{{{"POSTROUTING", "LIMPET-POSTROUTING"}, {"INPUT", "LIMPET-INPUT"}}};
constexpr std::string_view kHelpers[] = {kRepliesChain, kIcmpChain, kFragmentsChain, kProbeChain};

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
    const std::string_view line = saved.substr(0, saved.find('\n'));
    saved.remove_prefix(std::min(line.size() + 1, saved.size()));
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
