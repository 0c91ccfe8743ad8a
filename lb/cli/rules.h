// rules.h: `limpet rules`: what is an iptables program, and what is it as a configuration? Offline.
//
//   explain FILE [-j]     services, who reaches which endpoints with which shares, affinities, what is masqueraded; the
//                         frame that a partial dump was completed by; which rules take no part in that; which rules the
//                         compiler finds without looking at them, and which stay literal, and why
//
//   import FILE           the equivalent native services, a configuration that `limpet check` takes; to `err`, in what
//                         they differ from the rules (rules_import.h)
//
//   export -c FILE        the other way: a configuration's services as iptables rules (rules_export.h)
//
// FILE and its options: rules_file.h. Exit codes: 0 ok, 2 usage, 3 the file cannot be read or honoured.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/cli/rules_file.h"

namespace limpet::cli {

struct RulesExplainOptions {
  RulesFileOptions file{};
  bool json = false;
};

struct RulesImportOptions {
  RulesFileOptions file{};
  std::string node = "this-node";
};

int run_rules_import(const RulesImportOptions& options, std::istream& in, std::ostream& out, std::ostream& err);
int run_rules_explain(const RulesExplainOptions& options, std::istream& in, std::ostream& out, std::ostream& err);
/// Registers the subcommands; when one has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_rules(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
