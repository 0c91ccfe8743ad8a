#include <string_view>

#include "lb/rules/protocol_names.h"
#include "lb/rules/rule_text.h"
#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

template <typename T>
void add(std::string& text, const std::optional<Condition<T>>& condition, std::string_view option, const auto& print) {
  if (!condition) return;
  text += condition->inverted ? " ! " : " ";
  text += std::string(option) + " " + print(condition->value);
}

}  // namespace

std::string print(const Rule& rule, net::Family family, Spelling spelling) {
  const auto address = [](const MaskedAddress& value) { return value.to_string(); };
  const auto name = [](const std::string& value) { return value; };
  std::string text;
  add(text, rule.source, "-s", address);
  add(text, rule.destination, "-d", address);
  add(text, rule.in_interface, "-i", name);
  add(text, rule.out_interface, "-o", name);
  add(text, rule.protocol, "-p", protocol_name);
  for (const Match& match : rule.matches) text += " " + print(match, family, spelling);
  if (const std::string target = print(rule.target); !target.empty()) text += " " + target;
  return text.empty() ? text : text.substr(1);
}

}  // namespace limpet::rules
