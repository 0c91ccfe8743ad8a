#include "lb/cli/affinity.h"

#include <cstdint>
#include <iostream>
#include <memory>

#include "lb/cli/affinity_transfer.h"
#include "lb/cli/api_option.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/show.h"

namespace limpet::cli {
namespace {

void add_list(CLI::App& affinity, int& exit_code) {
  const auto options = std::make_shared<ShowOptions>();
  options->what = "affinity";
  CLI::App* list = affinity.add_subcommand("list", "Which client has which endpoint");
  add_daemon(*list, options->daemon);
  list->add_option("--service", options->service, "Of this service, namespace/name:port");
  list->add_option("--client", options->client, "Of this client: an address or a CIDR");
  list->add_option("--endpoint", options->endpoint, "Of this endpoint, IP:PORT");
  list->add_flag("-j,--json", options->json, "One JSON object a line");
  list->callback([options, &exit_code] { exit_code = run_show(*options, std::cout, std::cerr); });
}

void add_delete(CLI::App& affinity, int& exit_code) {
  const auto options = std::make_shared<EraseOptions>();
  options->command = "affinity delete";
  CLI::App* erase = affinity.add_subcommand("delete", "Forget a client: its next connection chooses afresh");
  add_daemon(*erase, options->daemon);
  erase->add_option("--client", options->client, "The client's address")->required();
  erase->add_option("--service", options->service, "With this service only, namespace/name:port");
  erase->add_flag("-j,--json", options->json, "One JSON object");
  erase->callback([options, &exit_code] { exit_code = run_affinity_erase(*options, std::cout, std::cerr); });
}

void add_flush(CLI::App& affinity, int& exit_code) {
  const auto options = std::make_shared<EraseOptions>();
  const auto all = std::make_shared<bool>(false);
  options->command = "affinity flush";
  CLI::App* flush = affinity.add_subcommand("flush", "Forget every client of a service, or of all services");
  add_daemon(*flush, options->daemon);
  CLI::Option* service = flush->add_option("--service", options->service, "Of this service, namespace/name:port");
  flush->add_flag("--all", *all, "Of all services")->excludes(service);
  flush->add_flag("-j,--json", options->json, "One JSON object");
  flush->callback([options, all, &exit_code] {
    if (options->service.empty() && !*all) {
      std::cerr << "limpet affinity flush: it is not said whose: name a service with --service, or write --all\n";
      exit_code = kExitUsage;
      return;
    }
    exit_code = run_affinity_erase(*options, std::cout, std::cerr);
  });
}

}  // namespace

int run_affinity_erase(const EraseOptions& options, std::ostream& out, std::ostream& err) {
  auto client = connect(options.daemon);
  if (!client) return complain(options.command, client.error(), err);
  Target target("/v1/affinity");
  target.add("service", options.service).add("client", options.client);
  if (options.client.empty()) target.add("all", "true");
  const auto answer = client->request(control::Method::erase, target.text());
  const int exit_code = conclude(options.command, answer, err);
  if (exit_code != kExitOk) return exit_code;
  if (options.json) {
    out << answer->body.dump() << '\n';
  } else {
    const auto erased = answer->body.value("erased", std::uint64_t{0});
    out << erased << (erased == 1 ? " entry" : " entries") << " forgotten\n";
  }
  return kExitOk;
}

void add_affinity(CLI::App& app, int& exit_code) {
  CLI::App* affinity = app.add_subcommand(
      "affinity", "Clients' endpoints in the running daemon: list, delete, flush, save, load, import");
  affinity->require_subcommand(1);
  add_list(*affinity, exit_code);
  add_delete(*affinity, exit_code);
  add_flush(*affinity, exit_code);
  add_affinity_transfer(*affinity, exit_code);
}

}  // namespace limpet::cli
