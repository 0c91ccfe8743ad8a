// rules_file.h: the FILE of `limpet rules`: an iptables program, completed and checked.
//
//   FILE        iptables-save or iptables -S output, alone or in a Markdown document; "-" is the standard input
//   --table     where rules outside of "*table … COMMIT" belong; nat unless it is given
//   --ipset     the output of `ipset save`, for rules that look into sets
//   --lenient   what cannot be honoured is reported and left out, instead of refused
//
// What is refused, or left out, is told line by line; so is what the kernel would not load: jumps that lead nowhere,
// loops, sets that are not there.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "conntrack/store/line_error.h"
#include "lb/rules/completion.h"
#include "lb/rules/plan.h"
#include "lb/rules/ruleset.h"

namespace limpet::cli {

struct RulesFileOptions {
  std::string file{};
  std::string table = "nat";
  std::string ipset{};  // empty: none
  bool lenient = false;
};

/// A rule, and how the compiler (lb/rules/plan.h) finds it.
struct CompiledRule {
  std::size_t line = 0;  // 0: one that was added
  std::string rule;      // "nat KUBE-SERVICES:2 -d …"
  rules::Treatment treatment;
};

struct LoadedRules {
  rules::Ruleset rules;
  std::vector<rules::AddedRule> added;    // by which they were completed
  std::vector<store::LineError> skipped;  // lenient
  std::vector<CompiledRule> compiled{};   // all rules
};

/// nullopt: there were errors, printed to `err`; the exit code is kExitConfiguration.
std::optional<LoadedRules> load_rules(const RulesFileOptions& options, std::istream& in, std::ostream& err);

void add_rules_file(CLI::App& subcommand, RulesFileOptions& options);

}  // namespace limpet::cli
