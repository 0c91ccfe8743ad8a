// run.h: `limpet run -c FILE [--ephemeral]`: the daemon, in the foreground. It logs to standard error and says "ready" when
// queues and rules are in place. Exit codes: 0 stopped by a signal; 1, 3, 4, 5 as README says.
#pragma once

#include <string>

#include <CLI/App.hpp>

#include "lb/service/config_reader.h"

namespace limpet::cli {

struct RunOptions {
  service::ConfigSources config{};
  bool ephemeral = false;  // leave nothing behind: `stop: remove`
  std::string log_level = "info";
};

int run_daemon(const RunOptions& options);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_run(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
