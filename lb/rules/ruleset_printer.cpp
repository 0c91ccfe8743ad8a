#include "lb/rules/rule_text.h"
#include "lb/rules/rule_words.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::rules {
namespace {

std::string print(const Counters& counters) {
  return "[" + std::to_string(counters.packets) + ":" + std::to_string(counters.bytes) + "]";
}

std::string policy_of(const Chain& chain) {
  if (!chain.policy) return "-";
  return *chain.policy == Policy::drop ? "DROP" : "ACCEPT";
}

}  // namespace

std::string print(const TableRules& table, net::Family family, Spelling spelling) {
  std::string text = "*" + std::string(to_string(table.table)) + "\n";
  for (const Chain& chain : table.chains) {
    text += ":" + chain.name + " " + policy_of(chain) + " " + print(chain.counters) + "\n";
  }
  for (const Chain& chain : table.chains) {
    for (const Rule& rule : chain.rules) {
      if (rule.counters) text += print(*rule.counters) + " ";
      const std::string words = print(rule, family, spelling);
      text += "-A " + chain.name + (words.empty() ? "" : " ") + words + "\n";
    }
  }
  return text + "COMMIT\n";
}

std::string print(const Ruleset& rules, Spelling spelling) {
  std::string text;
  for (const TableRules& table : rules.tables) text += print(table, rules.family, spelling);
  return text;
}

}  // namespace limpet::rules
