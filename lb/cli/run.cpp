#include "lb/cli/run.h"

#include <cstdlib>
#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "lb/cli/config_option.h"
#include "lb/cli/configured.h"
#include "lb/cli/daemon.h"
#include "lb/cli/exit_code.h"

namespace limpet::cli {
namespace {

void log_to_stderr(const std::string& level) {
  const bool plain = std::getenv("NO_COLOR") != nullptr;
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(plain ? spdlog::color_mode::never
                                                                          : spdlog::color_mode::automatic);
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("limpet", std::move(sink)));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %n: %v");
  spdlog::set_level(spdlog::level::from_str(level));
  spdlog::flush_on(spdlog::level::info);
}

}  // namespace

int run_daemon(const RunOptions& options) {
  auto config = load_or_complain(options.config, std::cerr);
  if (!config) return kExitConfiguration;
  if (options.ephemeral) config->on_stop = service::OnStop::remove;
  log_to_stderr(options.log_level);
  return conclude(Daemon::run(*config), std::cerr);
}

void add_run(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App* run = app.add_subcommand("run", "Balance: bind the queues, divert packets to them, until a signal");
  add_config(*run, options->config);
  run->add_flag("--ephemeral", options->ephemeral,
                "Leave nothing behind: remove the rules on stop, whatever `stop:` says");
  run->add_option("--log-level", options->log_level, "trace, debug, info, warning, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}))
      ->capture_default_str();
  run->callback([options, &exit_code] { exit_code = run_daemon(*options); });
}

}  // namespace limpet::cli
