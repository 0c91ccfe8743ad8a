#include "lb/cli/divert.h"

#include <chrono>
#include <iostream>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>

#include "lb/cli/config_option.h"
#include "lb/cli/configured.h"
#include "lb/cli/divert_options.h"
#include "lb/cli/exit_code.h"
#include "lb/divert/diverter.h"
#include "lb/divert/instance_lock.h"
#include "lb/node/node_monitor.h"
#include "lb/service/identities.h"
#include "lb/service/snapshot.h"

namespace limpet::cli {
namespace {

const std::map<std::string, service::RuleBackend> kBackends{{"auto", service::RuleBackend::automatic},
                                                            {"iptables", service::RuleBackend::iptables},
                                                            {"iptables-nft", service::RuleBackend::iptables_nft},
                                                            {"iptables-legacy", service::RuleBackend::iptables_legacy},
                                                            {"nft", service::RuleBackend::nft}};

/// A running limpet is not waited for: it does not end by itself.
constexpr std::chrono::milliseconds kNoPatience{0};

struct Diversion {
  divert::Diverter diverter;
  datapath::DiversionPlan plan;
  divert::RouteSources sources;
};

/// What this configuration diverts on this node, and the hand that does it.
store::Result<Diversion> prepare(const service::Config& config) {
  const auto monitor = node::NodeMonitor::open();
  if (!monitor) return monitor.error();
  const auto node = monitor->snapshot();
  if (!node) return node.error();
  datapath::EndpointSlots slots(service::count_endpoints(config.services));
  service::Identities identities(slots);
  const auto snapshot = service::Snapshot::build(config, identities);
  if (!snapshot) return snapshot.error();
  const auto program = RuleProgram::inspect(config);
  if (!program) return program.error();
  auto diverter = divert::Diverter::open(divert_options(config, program->get()));
  if (!diverter) return diverter.error();
  datapath::DiversionPlan plan = (*snapshot)->diversion(*node);
  if (*program != nullptr) plan = united(std::move(plan), (*program)->plan(*node));
  return Diversion{std::move(*diverter), std::move(plan), route_sources(config, *node)};
}

/// The configuration, with --backend in place of its own. Complains.
std::optional<service::Config> load(const DivertOptions& options, std::ostream& err) {
  auto config = load_or_complain(options.config, err);
  if (config && !options.backend.empty()) config->backend = kBackends.at(options.backend);
  return config;
}

}  // namespace

int run_divert_print(const DivertOptions& options, std::ostream& out, std::ostream& err) {
  const auto config = load(options, err);
  if (!config) return kExitConfiguration;
  const auto diversion = prepare(*config);
  if (!diversion) return conclude(diversion.error(), err);
  out << diversion->diverter.render(diversion->plan);
  return kExitOk;
}

int run_divert_apply(const DivertOptions& options, std::ostream& out, std::ostream& err) {
  const auto config = load(options, err);
  if (!config) return kExitConfiguration;
  const auto lock = divert::InstanceLock::take(kNoPatience);
  if (!lock) return conclude(lock.error(), err);
  auto diversion = prepare(*config);
  if (!diversion) return conclude(diversion.error(), err);
  const auto warnings = apply_or_remove(diversion->diverter, diversion->plan, diversion->sources);
  if (!warnings) return conclude(warnings.error(), err);
  for (const std::string& warning : *warnings) err << "limpet: warning: " << warning << '\n';
  out << "diverting " << diversion->plan.services.size() << " destinations to queues " << config->queues.first << "-"
      << config->queues.first + config->queues.count - 1 << " with " << diversion->diverter.backend() << '\n';
  return kExitOk;
}

int run_divert_cleanup(const DivertOptions&, std::ostream& out, std::ostream& err) {
  const auto lock = divert::InstanceLock::take(kNoPatience);
  if (!lock) return conclude(lock.error(), err);
  auto diverter = divert::Diverter::open({});
  if (!diverter) return conclude(diverter.error(), err);
  if (const store::Status removed = diverter->remove_requests(); !removed) return conclude(removed, err);
  if (const store::Status removed = diverter->remove_replies(); !removed) return conclude(removed, err);
  out << "nothing is diverted\n";
  return kExitOk;
}

void add_divert(CLI::App& app, int& exit_code) {
  using Action = int (*)(const DivertOptions&, std::ostream&, std::ostream&);
  const auto options = std::make_shared<DivertOptions>();
  CLI::App* divert = app.add_subcommand("divert", "The rules that bring packets to the queues");
  divert->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, Action action, bool needs_configuration) {
    CLI::App* sub = divert->add_subcommand(name, what);
    add_config(*sub, options->config)->required(needs_configuration);
    if (needs_configuration) {
      sub->add_option("--backend", options->backend, "Instead of divert.backend")->check(CLI::IsMember(kBackends));
    }
    sub->callback([options, action, &exit_code] { exit_code = action(*options, std::cout, std::cerr); });
  };
  add("print", "Print what apply would put in place", run_divert_print, true);
  add("apply", "Put it in place: packets then wait for `limpet run`", run_divert_apply, true);
  add("cleanup", "Remove all that limpet ever put there", run_divert_cleanup, false);
}

}  // namespace limpet::cli
