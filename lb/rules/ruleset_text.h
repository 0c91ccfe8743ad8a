// ruleset_text.h: a whole iptables program, from the output of iptables-save or `iptables -S` and back.
//
//   # comment, or any prose: a dump may stand in a Markdown document
//   *nat                              the table; without such a line, the one that was asked for
//   :PREROUTING ACCEPT [5:300]        a chain, its policy ("-" for a user's), its counters     also -P, -N
//   [1:60] -A PREROUTING -j X         a rule, appended; a chain that was not declared is made
//   COMMIT                            the table ends
//
// What a line is, its first characters say: "*word" alone, ":NAME …", "-A " (a dash, one letter, a space), "[n:m] -A ",
// COMMIT. Every other line is prose. A faulty line is an error that names line and option; `lenient` reports it and
// reads on without it (what is left is a program, but another one than that text's).
//
// The family is the one asked for, else that of the first address in a rule, else IPv4.
//
// parse(print(program)) = program but for Rule::line, if masks of `recent` are spelled (RecentMask). Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/store/line_error.h"
#include "lb/rules/match_printer.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct ReadOptions {
  std::string file = "rules";                        // what errors call it
  Table bare_rules = Table::nat;                     // where rules outside of "*table … COMMIT" belong
  std::optional<net::Family> family = std::nullopt;  // nullopt: as the text has it
  bool lenient = false;
};

struct ReadRuleset {
  Ruleset rules;
  std::vector<store::LineError> errors;   // not empty: `rules` must not be used
  std::vector<store::LineError> skipped;  // lenient: lines that were left out
};

ReadRuleset parse_ruleset(std::string_view text, const ReadOptions& options = {});

/// As iptables-save prints it; counters of rules where they are known.
std::string print(const Ruleset& rules, Spelling spelling = Spelling::readable);
std::string print(const TableRules& table, net::Family family, Spelling spelling = Spelling::readable);

}  // namespace limpet::rules
