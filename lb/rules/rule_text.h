// rule_text.h: one rule, from its words and back.
//
//   -s 10.28.8.6/32 -p tcp -m comment --comment "web" -m tcp --dport 80 -j KUBE-MARK-MASQ
//   └ addresses, interfaces, protocol  └ matches, in order                └ target
//
// print(read(words)) is the text of iptables-save: addresses with their masks, marks in hexadecimal, defaults spelled.
// What limpet or iptables refuses is an error that names the option. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/rules/match_printer.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// Where a rule stands: some options depend on it.
struct RulePlace {
  net::Family family = net::Family::v4;
  Table table = Table::nat;
  std::string chain;
};

/// `words`: what follows the chain's name. Rule::line is left 0. Errors: configuration, "--option: why".
store::Result<Rule> read_rule(std::vector<std::string> words, const RulePlace& place);

/// What follows the chain's name; "" for a rule that says nothing.
std::string print(const Rule& rule, net::Family family, Spelling spelling = Spelling::readable);

}  // namespace limpet::rules
