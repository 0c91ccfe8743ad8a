#include "lb/cli/show.h"

#include <iomanip>
#include <iostream>
#include <memory>
#include <string_view>

#include "lb/cli/api_option.h"
#include "lb/cli/recent.h"
#include "lb/cli/render_entries.h"

namespace limpet::cli {

using control::Method;
using nlohmann::ordered_json;

namespace {

/// Counters by name, one a line; what is no number has a list of its own.
void print_counters(const ordered_json& stats, std::ostream& out) {
  for (const auto& [name, value] : stats.items()) {
    if (value.is_number()) out << std::left << std::setw(30) << name << value << '\n';
  }
}

store::Result<control::Response> show_stats(control::Client& client, bool json, std::ostream& out) {
  auto answer = client.request(Method::get, "/v1/stats");
  if (!answer || answer->status != 200) return answer;
  if (json) {
    out << answer->body.dump() << '\n';
  } else {
    print_counters(answer->body, out);
  }
  return answer;
}

store::Result<control::Response> show_list(control::Client& client, const ShowOptions& options, std::ostream& out) {
  Target target("/v1/" + options.what);
  target.add("service", options.service).add("client", options.client).add("endpoint", options.endpoint);
  target.add("protocol", options.protocol).add("state", options.state);
  if (options.json) {
    return client.list(target.text(), [&out](const ordered_json& item) {
      out << item.dump() << '\n';
      return out.good();
    });
  }
  TablePrinter table(columns_of(options.what), out);
  auto answer = client.list(target.text(), [&](const ordered_json& item) {
    table.add(item);
    return out.good();
  });
  if (answer && answer->status == 200) table.finish();
  return answer;
}

/// A list, entry by entry, as the kernel's file shows it.
store::Result<control::Response> show_recent_entries(control::Client& client, const ShowOptions& options,
                                                     std::ostream& out) {
  Target target("/v1/recent/entries");
  target.add("list", options.list).add("client", options.client);
  return client.list(target.text(), [&](const ordered_json& item) {
    out << (options.json ? item.dump() + '\n' : recent_line(item));
    return out.good();
  });
}

}  // namespace

int run_show(const ShowOptions& options, std::ostream& out, std::ostream& err) {
  const std::string command = "show " + options.what;
  auto client = connect(options.daemon);
  if (!client) return complain(command, client.error(), err);
  const auto answer = options.what == "stats" ? show_stats(*client, options.json, out)
                      : !options.list.empty() ? show_recent_entries(*client, options, out)
                                              : show_list(*client, options, out);
  return conclude(command, answer, err);
}

void add_show(CLI::App& app, int& exit_code) {
  CLI::App* show = app.add_subcommand("show", "What the running daemon knows: services, endpoints, tables, counters");
  show->require_subcommand(1);
  const auto add = [&](const char* what, const char* about, std::string_view filters) {
    const auto options = std::make_shared<ShowOptions>();
    options->what = what;
    CLI::App* sub = show->add_subcommand(what, about);
    add_daemon(*sub, options->daemon);
    const auto filter = [&](char letter, const char* name, std::string& value, const char* words) {
      if (filters.find(letter) != std::string_view::npos) sub->add_option(name, value, words);
    };
    filter('s', "--service", options->service, "Of this service, namespace/name:port");
    filter('c', "--client", options->client, "Of this client: an address or a CIDR");
    filter('e', "--endpoint", options->endpoint, "Of this endpoint, IP:PORT");
    filter('p', "--protocol", options->protocol, "tcp, udp, sctp or udplite");
    filter('l', "NAME", options->list, "Of this list: its entries, as in /proc/net/xt_recent/NAME");
    filter('t', "--state", options->state, "In this state, as ESTABLISHED");
    sub->add_flag("-j,--json", options->json, "One JSON object a line");
    sub->callback([options, &exit_code] { exit_code = run_show(*options, std::cout, std::cerr); });
  };
  add("services", "The service ports that are balanced", "sp");
  add("endpoints", "Their endpoints, and how they fare", "sep");
  add("affinity", "Which client has which endpoint", "sce");
  add("flows", "The connections that are translated", "scept");
  add("recent", "The `recent` lists of an iptables program; of one of them, its entries", "lc");
  add("queues", "The queues and their workers", "");
  add("stats", "Every counter", "");
}

}  // namespace limpet::cli
