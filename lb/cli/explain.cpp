#include "lb/cli/explain.h"

#include <iostream>
#include <memory>
#include <optional>

#include "lb/cli/config_option.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/json_line.h"
#include "lb/cli/render_explanation.h"
#include "lb/cli/seed_option.h"
#include "lb/lab/described_node.h"
#include "lb/lab/subject.h"
#include "lb/service/config_reader.h"

namespace limpet::cli {
namespace {

using datapath::Hook;
using datapath::NewConnection;
using service::Config;

/// The protocols that have ports.
std::optional<net::Protocol> transport(const std::string& name) {
  const auto protocol = net::parse_protocol(name);
  const bool has_ports = protocol != net::Protocol::icmp && protocol != net::Protocol::icmp6;
  return has_ports ? protocol : std::nullopt;
}

/// The command line's connection; nullopt, and complained of, if it is none.
std::optional<NewConnection> parse_connection(const ExplainOptions& options, std::ostream& err) {
  const auto from = net::Address::parse(options.from);
  auto to = net::AddressPort::parse(options.to);
  if (to && to->port == 0) to.reset();
  const auto protocol = transport(options.protocol);
  if (!from)
    err << "limpet explain: --from '" << options.from << "' is not an IP address, as in 203.0.113.7 or fd00::1\n";
  if (!to) err << "limpet explain: --to '" << options.to << "' is not IP:PORT, as in 10.96.0.10:80 or [fd00::1]:80\n";
  if (!protocol) err << "limpet explain: --protocol '" << options.protocol << "' is not tcp, udp, sctp or udplite\n";
  if (!from || !to || !protocol) return std::nullopt;
  if (from->family() != to->address.family()) {
    err << "limpet explain: --from and --to are of different families\n";
    return std::nullopt;
  }
  NewConnection connection;
  connection.tuple = {*protocol, {*from, 0}, *to};
  return connection;
}

int answer(const Config& config, NewConnection connection, const ExplainOptions& options, std::ostream& out,
           std::ostream& err) {
  const auto node = lab::described_node(config.node, options.in_interface);
  // One connection is asked about, and it is the first: room for one client.
  const auto subject = lab::make_subject(config, 1, {});
  if (!node || !subject) {
    err << "limpet explain: " << (!node ? node.error() : subject.error()).message << '\n';
    return node ? exit_code(subject.error().kind) : kExitRuntime;
  }
  if ((*subject)->is_local(connection.tuple.source.address, node->view)) {
    connection.hook = Hook::output;
  } else if (!options.in_interface.empty()) {
    connection.in_interface = node->in_interface;
    if (connection.in_interface == 0) {
      err << "limpet explain: --in-interface '" << options.in_interface
          << "' is no interface of this machine; describe the node with node.nodeIP to name any\n";
      return kExitUsage;
    }
  }
  for (const std::string& line : (*subject)->remarks()) err << line << '\n';
  pick::Rng rng(options.seed);
  const auto decision = (*subject)->decide(connection, node->view, flow::Instant{}, rng);
  const auto explanation = (*subject)->describe(connection, node->view, decision);
  if (options.json) {
    out << in_one_line(to_json(explanation)) << '\n';
  } else {
    print_table(explanation, out);
  }
  return kExitOk;
}

}  // namespace

int run_explain(const ExplainOptions& options, std::ostream& out, std::ostream& err) {
  const std::optional<NewConnection> connection = parse_connection(options, err);
  if (!connection) return kExitUsage;
  const service::LoadedConfig loaded = service::load_config(options.config);
  for (const service::Diagnostic& diagnostic : loaded.diagnostics) err << to_string(diagnostic) << '\n';
  if (!loaded.config) return kExitConfiguration;
  return answer(*loaded.config, *connection, options, out, err);
}

void add_explain(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<ExplainOptions>();
  CLI::App* explain = app.add_subcommand("explain", "What a new connection would meet, and why (offline)");
  add_config(*explain, options->config);
  explain->add_option("--from", options->from, "Source address")->required();
  explain->add_option("--to", options->to, "Destination, IP:PORT")->required();
  explain->add_option("--protocol", options->protocol, "tcp, udp, sctp or udplite")->capture_default_str();
  explain->add_option("--in-interface", options->in_interface, "Interface that the packet comes in by");
  add_seed(*explain, options->seed);
  explain->add_flag("-j,--json", options->json, "One JSON object");
  explain->callback([options, &exit_code] { exit_code = run_explain(*options, std::cout, std::cerr); });
}

}  // namespace limpet::cli
