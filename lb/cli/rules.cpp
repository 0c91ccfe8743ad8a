#include "lb/cli/rules.h"

#include <iostream>
#include <memory>

#include "lb/cli/exit_code.h"
#include "lb/cli/render_rules.h"
#include "lb/rules/meaning.h"

namespace limpet::cli {

int run_rules_explain(const RulesExplainOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  const auto loaded = load_rules(options.file, in, err);
  if (!loaded) return kExitConfiguration;
  const auto explained = to_json(*loaded, rules::find_meaning(loaded->rules));
  if (options.json) {
    out << explained.dump() << '\n';
  } else {
    print_rules_table(explained, out);
  }
  return kExitOk;
}

void add_rules(CLI::App& app, int& exit_code) {
  CLI::App* rules = app.add_subcommand("rules", "An iptables program: what it means for services (offline)");
  rules->require_subcommand(1);
  const auto explaining = std::make_shared<RulesExplainOptions>();
  CLI::App* explain = rules->add_subcommand("explain", "Services, endpoints, shares, affinities, masquerade");
  add_rules_file(*explain, explaining->file);
  explain->add_flag("-j,--json", explaining->json, "One JSON object");
  explain->callback(
      [explaining, &exit_code] { exit_code = run_rules_explain(*explaining, std::cin, std::cout, std::cerr); });
}

}  // namespace limpet::cli
