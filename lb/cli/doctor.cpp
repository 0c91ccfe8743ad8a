#include "lb/cli/doctor.h"

#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "lb/cli/configured.h"
#include "lb/cli/divert_options.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/render_diagnosis.h"
#include "lb/divert/doctor_diagnosis.h"
#include "lb/divert/preflight.h"
#include "lb/node/node_monitor.h"
#include "lb/service/identities.h"
#include "lb/service/snapshot.h"

namespace limpet::cli {
namespace {

store::Result<divert::Warnings> preflight_of(const service::Config& config) {
  const auto monitor = node::NodeMonitor::open();
  if (!monitor) return monitor.error();
  const auto node = monitor->snapshot();
  if (!node) return node.error();
  datapath::EndpointSlots slots(service::count_endpoints(config.services));
  service::Identities identities(slots);
  const auto snapshot = service::Snapshot::build(config, identities);
  if (!snapshot) return snapshot.error();
  return divert::preflight((*snapshot)->diversion(*node));
}

/// What `limpet run` would warn of at its start.
divert::Checks check_configuration(const service::Config& config) {
  const auto warnings = preflight_of(config);
  if (!warnings) return {{"configuration", "preflight", divert::CheckStatus::unknown, warnings.error().message}};
  divert::Checks checks;
  for (const std::string& warning : *warnings) {
    checks.push_back({"configuration", "preflight", divert::CheckStatus::attention, warning});
  }
  if (checks.empty()) {
    checks.push_back({"configuration", "preflight", divert::CheckStatus::ok, "nothing keeps packets from arriving"});
  }
  return checks;
}

bool wants_colour() {
  return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
}

}  // namespace

int run_doctor(const DoctorOptions& options, std::ostream& out, std::ostream& err) {
  std::optional<service::Config> config;
  if (!options.config.empty()) {
    config = load_or_complain(options.config, err);
    if (!config) return kExitConfiguration;
  }
  divert::Diagnosis diagnosis = divert::diagnose(config ? divert_options(*config).backend : divert::Backend::automatic);
  if (config) {
    const divert::Checks more = check_configuration(*config);
    diagnosis.checks.insert(diagnosis.checks.end(), more.begin(), more.end());
  }
  if (options.json) {
    out << to_json(diagnosis) << '\n';
  } else {
    print_diagnosis(diagnosis, config ? &*config : nullptr, options.colour, out);
  }
  if (diagnosis.no_sandbox) return conclude(*diagnosis.no_sandbox, err);
  return diagnosis.datapaths.front().works ? kExitOk : kExitUnavailable;
}

void add_doctor(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<DoctorOptions>();
  CLI::App* doctor = app.add_subcommand("doctor", "Probe this kernel: what works here, what is missing, what to do");
  doctor->add_option("-c,--config", options->config, "Check what this configuration needs, too");
  doctor->add_flag("-j,--json", options->json, "One JSON object");
  doctor->callback([options, &exit_code] {
    options->colour = wants_colour();
    exit_code = run_doctor(*options, std::cout, std::cerr);
  });
}

}  // namespace limpet::cli
