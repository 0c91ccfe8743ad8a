#include "lb/cli/recent.h"

#include <cstdint>
#include <iostream>
#include <memory>

#include "lb/affinity/recent_text.h"
#include "lb/cli/exit_code.h"

namespace limpet::cli {
namespace {

void add_write(CLI::App& recent, const char* verb, char sign, const char* about, int& exit_code) {
  const auto write = std::make_shared<RecentWrite>();
  const auto address = std::make_shared<std::string>();
  write->verb = verb;
  CLI::App* sub = recent.add_subcommand(verb, about);
  add_daemon(*sub, write->daemon);
  sub->add_option("LIST", write->list, "The list's name")->required();
  if (sign != '/') sub->add_option("ADDRESS", *address, "An IPv4 or IPv6 address")->required();
  sub->add_flag("-j,--json", write->json, "One JSON object");
  sub->callback([write, address, sign, &exit_code] {
    write->text = sign + *address;
    exit_code = run_recent_write(*write, std::cout, std::cerr);
  });
}

}  // namespace

int run_recent_write(const RecentWrite& write, std::ostream& out, std::ostream& err) {
  const std::string command = "recent " + write.verb;
  auto client = connect(write.daemon);
  if (!client) return complain(command, client.error(), err);
  Target target("/v1/recent/entries");
  target.add("list", write.list);
  const auto answer = client->request(control::Method::post, target.text(), write.text + '\n');
  const int exit_code = conclude(command, answer, err);
  if (exit_code != kExitOk) return exit_code;
  if (write.json) {
    out << answer->body.dump() << '\n';
  } else {
    const auto entries = answer->body.value("entries", std::uint64_t{0});
    out << write.list << ": " << entries << (entries == 1 ? " entry" : " entries") << '\n';
  }
  return kExitOk;
}

std::string recent_line(const nlohmann::ordered_json& entry) {
  const auto address = net::Address::parse(entry.value("client", ""));
  return affinity::to_line({.address = address.value_or(net::Address()),
                            .ttl = entry.value("ttl", std::uint8_t{0}),
                            .next_slot = entry.value("oldest_pkt", std::uint32_t{0}),
                            .last_seen = entry.value("last_seen", std::uint64_t{0}),
                            .stamps = entry.value("stamps", std::vector<std::uint64_t>())});
}

void add_recent(CLI::App& app, int& exit_code) {
  CLI::App* recent =
      app.add_subcommand("recent", "Write to a `recent` list of the running iptables program (show recent: read)");
  recent->require_subcommand(1);
  add_write(*recent, "add", '+', "Remember an address, or give it another stamp", exit_code);
  add_write(*recent, "remove", '-', "Forget an address", exit_code);
  add_write(*recent, "flush", '/', "Forget all", exit_code);
}

}  // namespace limpet::cli
