// rules_export.h: `limpet rules export`: declared services as the rules that kube-proxy's iptables mode would write.
//
//   export -c FILE [--family 4|6]    to `out` the tables nat and filter, for iptables-restore (--family 6: for
//                                    ip6tables-restore: no program loads both families at once); to `err` where the
//                                    kernel will do otherwise than limpet, and what is left out
//
// The node is the one that the configuration describes (node.nodeIP, node.addresses), else this machine. Exit codes:
// 0 ok, 2 usage, 3 the configuration is faulty, else as the machine's addresses can be read.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

namespace limpet::cli {

struct RulesExportOptions {
  std::string config;
  std::string family = "4";
};

int run_rules_export(const RulesExportOptions& options, std::ostream& out, std::ostream& err);
/// Below `limpet rules`.
void add_rules_export(CLI::App& rules, int& exit_code);

}  // namespace limpet::cli
