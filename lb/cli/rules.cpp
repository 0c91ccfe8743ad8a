#include "lb/cli/rules.h"

#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "lb/cli/exit_code.h"
#include "lb/cli/json_line.h"
#include "lb/cli/render_rules.h"
#include "lb/cli/rules_export.h"
#include "lb/cli/rules_import.h"
#include "lb/rules/meaning.h"

namespace limpet::cli {
namespace {

bool is_name(std::string_view text) {
  constexpr std::string_view kGood = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
  return !text.empty() && text.find_first_not_of(kGood) == std::string_view::npos;
}

}  // namespace

int run_rules_explain(const RulesExplainOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  const auto loaded = load_rules(options.file, in, err);
  if (!loaded) return kExitConfiguration;
  const auto explained = to_json(*loaded, rules::find_meaning(loaded->rules));
  if (options.json) {
    out << in_one_line(explained) << '\n';
  } else {
    print_rules_table(explained, out);
  }
  return kExitOk;
}

int run_rules_import(const RulesImportOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  if (!is_name(options.node)) {
    err << "limpet rules import: --node '" << options.node << "' is no name; write letters, digits, '-', '.' and '_'\n";
    return kExitUsage;
  }
  const auto loaded = load_rules(options.file, in, err);
  if (!loaded) return kExitConfiguration;
  const ImportedRules imported = import_services(*loaded, rules::find_meaning(loaded->rules), options.node);
  out << "# The services of an iptables program, by `limpet rules import`.\n" << imported.yaml;
  for (const std::string& note : imported.notes) err << note << '\n';
  return kExitOk;
}

void add_rules(CLI::App& app, int& exit_code) {
  CLI::App* rules = app.add_subcommand(
      "rules", "An iptables program: what it means, as native services; and those as a program (offline)");
  rules->require_subcommand(1);
  const auto explaining = std::make_shared<RulesExplainOptions>();
  CLI::App* explain = rules->add_subcommand("explain", "Services, endpoints, shares, affinities, masquerade");
  add_rules_file(*explain, explaining->file);
  explain->add_flag("-j,--json", explaining->json, "One JSON object");
  explain->callback(
      [explaining, &exit_code] { exit_code = run_rules_explain(*explaining, std::cin, std::cout, std::cerr); });
  const auto importing = std::make_shared<RulesImportOptions>();
  CLI::App* native = rules->add_subcommand("import", "The equivalent native services, as a configuration");
  add_rules_file(*native, importing->file);
  native->add_option("--node", importing->node, "What this node is called: the nodeName of its endpoints")
      ->capture_default_str();
  native->callback(
      [importing, &exit_code] { exit_code = run_rules_import(*importing, std::cin, std::cout, std::cerr); });
  add_rules_export(*rules, exit_code);
}

}  // namespace limpet::cli
