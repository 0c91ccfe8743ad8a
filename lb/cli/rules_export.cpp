#include "lb/cli/rules_export.h"

#include <algorithm>
#include <iostream>
#include <memory>

#include "lb/cli/configured.h"
#include "lb/cli/exit_code.h"
#include "lb/kube/iptables_rules.h"
#include "lb/lab/described_node.h"

namespace limpet::cli {
namespace {

constexpr bool is_v4(net::Family family) noexcept {
  return family == net::Family::v4;
}

void print_head(const RulesExportOptions& options, const service::Config& config, net::Family family,
                std::ostream& out) {
  const char* const restore = is_v4(family) ? "iptables-restore" : "ip6tables-restore";
  out << "# The services of " << options.config
      << " as kube-proxy's iptables mode has them, by `limpet rules export`.\n"
      << "# " << restore << " replaces the tables filter and nat by these; " << restore
      << " --noflush adds them to what is there.\n";
  if (is_v4(family) && config.node.localhost_node_ports) {
    out << "# localhostNodePorts: they need sysctl net.ipv4.conf.all.route_localnet=1\n";
  }
}

/// Services of the other family are another program's.
void note_others(const service::Config& config, net::Family family, std::ostream& err) {
  const auto others = std::ranges::count_if(
      config.services, [family](const service::Service& service) { return service.family() != family; });
  if (others == 0) return;
  err << others << (others == 1 ? " service is" : " services are") << " of " << (is_v4(family) ? "IPv6" : "IPv4")
      << ": export " << (others == 1 ? "it" : "them") << " with --family " << (is_v4(family) ? 6 : 4) << '\n';
}

}  // namespace

int run_rules_export(const RulesExportOptions& options, std::ostream& out, std::ostream& err) {
  const auto config = load_or_complain(options.config, err);
  if (!config) return kExitConfiguration;
  const auto node = lab::described_node(config->node, "");
  if (!node) return conclude(node.error(), err);
  const net::Family family = options.family == "6" ? net::Family::v6 : net::Family::v4;
  const kube::ExportedRules exported = kube::export_rules(*config, node->view, family);
  print_head(options, *config, family, out);
  out << exported.text;
  for (const std::string& note : exported.notes) err << note << '\n';
  note_others(*config, family, err);
  return kExitOk;
}

void add_rules_export(CLI::App& rules, int& exit_code) {
  const auto options = std::make_shared<RulesExportOptions>();
  CLI::App* command = rules.add_subcommand("export", "A configuration's services as kube-proxy's iptables rules");
  command->add_option("-c,--config", options->config, "Configuration file")->required();
  command->add_option("--family", options->family, "4: for iptables-restore; 6: for ip6tables-restore")
      ->check(CLI::IsMember({"4", "6"}))
      ->capture_default_str();
  command->callback([options, &exit_code] { exit_code = run_rules_export(*options, std::cout, std::cerr); });
}

}  // namespace limpet::cli
