#include "lb/cli/check.h"

#include <iostream>
#include <memory>

#include "lb/cli/config_option.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/rule_program.h"
#include "lb/service/config_reader.h"

namespace limpet::cli {
namespace {

std::string counted(std::size_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace

int run_check(const CheckOptions& options, std::ostream& out, std::ostream& err) {
  const service::LoadedConfig loaded = service::load_config(options.config);
  for (const service::Diagnostic& diagnostic : loaded.diagnostics) err << to_string(diagnostic) << '\n';
  if (!loaded.config) return kExitConfiguration;
  const auto program = RuleProgram::inspect(*loaded.config);
  if (!program) {
    err << program.error().message << '\n';
    return exit_code(program.error().kind);
  }
  const std::uint32_t endpoints = service::count_endpoints(loaded.config->services);
  out << names_of(options.config) << ": ok, " << counted(loaded.config->services.size(), "service") << ", "
      << counted(endpoints, "endpoint") << '\n';
  if (*program != nullptr) {
    for (const std::string& remark : (*program)->remarks()) err << remark << '\n';
    out << (*program)->summary() << '\n' << (*program)->completion();
  }
  return kExitOk;
}

void add_check(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<CheckOptions>();
  CLI::App* check = app.add_subcommand("check", "Validate a configuration: every error with its line and column");
  add_config(*check, options->config);
  check->callback([options, &exit_code] { exit_code = run_check(*options, std::cout, std::cerr); });
}

}  // namespace limpet::cli
