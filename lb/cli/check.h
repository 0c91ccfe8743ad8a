// check.h: `limpet check -c FILE`: is this configuration good?
//
// Besides what is wrong it says what will probably not work: replies that may not come back (lb/service/return_path.h),
// VIPs that the node owns, values without effect. An iptables program that it names is read, completed and linked as
// `limpet run` would do it (rule_program.h). Diagnostics go to `err`, one a line, file:line:column first, file:line in the
// program; a summary to `out` if there is no error, with what a partial dump was completed by. Exit codes: 0 good (warnings
// allowed), 3 not.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/service/config_reader.h"

namespace limpet::cli {

struct CheckOptions {
  service::ConfigSources config{};
};

int run_check(const CheckOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_check(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
