// divert.h: `limpet divert print|apply|cleanup -c FILE [--backend NAME]`: the rules that bring packets to the queues, by hand.
//
//   print     what apply would put in place; touches nothing
//   apply     put it in place (packets then wait for `limpet run`)
//   cleanup   remove all that limpet ever put there; needs no configuration
//
// While a limpet runs in this network namespace, apply and cleanup refuse (exit 4): it would go by rules that are gone.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/service/config_reader.h"

namespace limpet::cli {

struct DivertOptions {
  service::ConfigSources config;
  std::string backend;  // empty: the configuration's
};

int run_divert_print(const DivertOptions& options, std::ostream& out, std::ostream& err);
int run_divert_apply(const DivertOptions& options, std::ostream& out, std::ostream& err);
int run_divert_cleanup(const DivertOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_divert(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
