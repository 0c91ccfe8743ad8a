// limpet: a layer-4 load balancer in userspace on Linux NFQUEUE. One file a subcommand.

#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "lb/cli/affinity.h"
#include "lb/cli/check.h"
#include "lb/cli/config_option.h"
#include "lb/cli/divert.h"
#include "lb/cli/doctor.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/explain.h"
#include "lb/cli/recent.h"
#include "lb/cli/replay.h"
#include "lb/cli/rules.h"
#include "lb/cli/run.h"
#include "lb/cli/show.h"
#include "lb/cli/trace.h"

namespace {

/// What CLI11 says, or the words that it could make nothing of; and where to read on.
std::string complain(const CLI::App* app, const CLI::Error& error) {
  const std::vector<std::string> rest = app->remaining(true);
  const std::string what = rest.empty() ? error.what() : "'" + rest.front() + "' is no subcommand or option here";
  return "limpet: " + what + "; see `limpet --help`\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A layer-4 load balancer in userspace: client affinity and weighted choice on Linux NFQUEUE", "limpet");
  app.set_version_flag("--version", "limpet " LIMPET_VERSION);
  app.require_subcommand(1);
  app.failure_message(complain);
  app.footer("Exit codes: 0 ok, 1 runtime, 2 usage, 3 configuration, 4 unavailable (retry), 5 permission");
  int exit_code = limpet::cli::kExitOk;
  limpet::cli::add_run(app, exit_code);
  limpet::cli::add_check(app, exit_code);
  limpet::cli::add_explain(app, exit_code);
  limpet::cli::add_replay(app, exit_code);
  limpet::cli::add_trace(app, exit_code);
  limpet::cli::add_show(app, exit_code);
  limpet::cli::add_affinity(app, exit_code);
  limpet::cli::add_recent(app, exit_code);
  limpet::cli::add_rules(app, exit_code);
  limpet::cli::add_divert(app, exit_code);
  limpet::cli::add_doctor(app, exit_code);
  try {
    app.parse(limpet::cli::command_line(argc, argv));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? limpet::cli::kExitOk : limpet::cli::kExitUsage;
  } catch (const std::exception& error) {
    std::cerr << "limpet: " << error.what() << '\n';
    return limpet::cli::kExitRuntime;
  }
  if (!std::cout.flush()) {
    std::cerr << "limpet: the output could not be written\n";
    return limpet::cli::kExitRuntime;
  }
  return exit_code;
}
