#include "lb/cli/affinity_transfer.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <unordered_map>
#include <utility>

#include "lb/cli/api_option.h"
#include "lb/cli/exit_code.h"
#include "lb/rules/chain_names.h"

namespace limpet::cli {

using affinity::NamedEntry;
using affinity::WallTime;
using control::BatchOutcome;
using nlohmann::ordered_json;

namespace {

WallTime wall_time() {
  return std::chrono::time_point_cast<flow::Milliseconds>(std::chrono::system_clock::now());
}

/// An answer that is no success, as an error.
std::optional<store::Error> failure(const store::Result<control::Response>& answer) {
  if (!answer) return answer.error();
  if (answer->status == 200) return std::nullopt;
  return store::Error{store::ErrorKind::runtime, control::words_of(*answer)};
}

}  // namespace

// ---- the daemon ----

store::Result<std::vector<rules::KnownEndpoint>> DaemonPeer::endpoints() {
  std::unordered_map<std::string, flow::Seconds> timeouts;  // of the services that have affinity
  const auto services = client_.list("/v1/services", [&](const ordered_json& item) {
    if (item["affinity"].is_number()) timeouts.emplace(item.value("service", ""), item["affinity"].get<std::int64_t>());
    return true;
  });
  if (auto error = failure(services)) return std::move(*error);
  std::vector<rules::KnownEndpoint> known;
  const auto endpoints = client_.list("/v1/endpoints", [&](const ordered_json& item) {
    const auto protocol = net::parse_protocol(item.value("protocol", ""));
    const auto at = net::AddressPort::parse(item.value("endpoint", ""));
    if (!protocol || !at) return true;
    std::string service = item.value("service", "");
    const auto timeout = timeouts.find(service);
    known.push_back({std::move(service), *protocol, *at,
                     timeout == timeouts.end() ? std::nullopt : std::optional(timeout->second)});
    return true;
  });
  if (auto error = failure(endpoints)) return std::move(*error);
  return known;
}

store::Result<BatchOutcome> DaemonPeer::put(std::span<const NamedEntry> entries) {
  const auto answer = client_.request(control::Method::post, "/v1/affinity", control::to_json(entries).dump());
  if (auto error = failure(answer)) return std::move(*error);
  return control::outcome_from(answer->body);
}

store::Result<std::size_t> DaemonPeer::each(const std::function<void(const NamedEntry&)>& visit) {
  std::size_t nameless = 0;
  const auto answer = client_.list("/v1/affinity?limit=2000", [&](const ordered_json& item) {
    if (const auto entry = control::entry_from(item)) {
      visit(*entry);
    } else {
      ++nameless;
    }
    return true;
  });
  if (auto error = failure(answer)) return std::move(*error);
  return nameless;
}

// ---- what is done with it ----

store::Result<SaveCounts> save_affinities(AffinityPeer& peer, WallTime now, std::ostream& out) {
  SaveCounts counts;
  const flow::Instant begun = flow::now();
  affinity::write_header(out, now);
  const auto nameless = peer.each([&](const NamedEntry& entry) {
    NamedEntry then = entry;  // as old as it was when the header was written
    then.age = std::max(flow::Milliseconds::zero(), entry.age - (flow::now() - begun));
    affinity::write_entry(out, then);
    ++counts.saved;
  });
  if (!nameless) return nameless.error();
  affinity::write_end(out, counts.saved);
  counts.nameless = *nameless;
  return counts;
}

store::Result<BatchOutcome> put_affinities(AffinityPeer& peer, std::vector<NamedEntry> entries,
                                           flow::Milliseconds ago) {
  BatchOutcome sum;
  const flow::Instant begun = flow::now();
  std::span<NamedEntry> rest(entries);
  while (!rest.empty()) {
    const std::span<NamedEntry> batch = rest.first(std::min(rest.size(), control::kMostEntries));
    const flow::Milliseconds passed = ago + (flow::now() - begun);
    for (NamedEntry& entry : batch) entry.age += passed;
    const auto outcome = peer.put(batch);
    if (!outcome) return outcome.error();
    sum += *outcome;
    rest = rest.subspan(batch.size());
  }
  return sum;
}

namespace {

// ---- words ----

void print_outcome(const BatchOutcome& outcome, std::ostream& out) {
  const std::pair<std::size_t, const char*> kLines[] = {
      {outcome.kept, "left: the client is remembered already"},
      {outcome.expired, "left: expired"},
      {outcome.unknown_service, "left: there is no such service"},
      {outcome.unknown_endpoint, "left: the service has no such endpoint"},
      {outcome.without_affinity, "left: the service has no affinity"},
      {outcome.no_room, "left: the table has no room; raise tables.affinity"},
  };
  out << outcome.taken << " taken\n";
  for (const auto& [count, words] : kLines) {
    if (count > 0) out << count << ' ' << words << '\n';
  }
}

int finish(const std::string& command, const store::Result<BatchOutcome>& outcome, ordered_json json, bool as_json,
           std::ostream& out, std::ostream& err) {
  if (!outcome) return complain(command, outcome.error(), err);
  if (as_json) {
    json.update(control::to_json(*outcome));
    out << json.dump() << '\n';
  } else {
    print_outcome(*outcome, out);
  }
  return outcome->no_room > 0 ? kExitRuntime : kExitOk;
}

/// False: they are too bad to go on.
bool print_errors(const std::string& command, std::span<const store::LineError> errors, std::size_t count, bool lenient,
                  std::ostream& err) {
  for (const store::LineError& error : errors) err << to_string(error) << '\n';
  if (count > errors.size()) err << count - errors.size() << " more errors\n";
  if (count > 0) {
    err << "limpet " << command << ": "
        << (lenient ? "the lines above are left out\n"
                    : "nothing was loaded; correct the lines above, or load the others with --lenient\n");
  }
  return count == 0 || lenient;
}

}  // namespace

// ---- subcommands ----

int run_affinity_save(const TransferOptions& options, std::ostream& out, std::ostream& err) {
  const std::string command = "affinity save";
  auto client = connect(options.daemon);
  if (!client) return complain(command, client.error(), err);
  DaemonPeer peer(std::move(*client));
  const bool to_file = options.file != "-";
  const std::string beside = options.file + ".new";  // takes the file's place when it is whole
  std::ofstream file;
  if (to_file) file.open(beside, std::ios::trunc);
  std::ostream& text = to_file ? file : out;
  const auto counts = text ? save_affinities(peer, wall_time(), text) : SaveCounts{};
  if (to_file) file.close();
  if (to_file && (!counts || !text)) std::remove(beside.c_str());
  if (!counts) return complain(command, counts.error(), err);
  if (!text || (to_file && std::rename(beside.c_str(), options.file.c_str()) != 0)) {
    return complain(
        command, {store::ErrorKind::runtime, "cannot write " + options.file + ": is there room, may this user?"}, err);
  }
  if (to_file) out << counts->saved << " saved\n";
  if (counts->nameless > 0) {
    err << counts->nameless << " left out: the configuration no longer names their service or endpoint\n";
  }
  return kExitOk;
}

int run_affinity_load(const TransferOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  const std::string command = "affinity load";
  std::ifstream file;
  if (options.file != "-") file.open(options.file);
  std::istream& text = options.file == "-" ? in : file;
  if (!text) return complain(command, {store::ErrorKind::runtime, "cannot read " + options.file}, err);
  affinity::ParsedText parsed = affinity::parse_text(text, options.file == "-" ? "standard input" : options.file);
  if (!print_errors(command, parsed.errors, parsed.error_count, options.lenient, err)) return kExitConfiguration;
  auto client = connect(options.daemon);
  if (!client) return complain(command, client.error(), err);
  DaemonPeer peer(std::move(*client));
  // A clock that was set back meanwhile makes nobody younger than he was.
  const auto ago = std::max(flow::Milliseconds::zero(), wall_time() - parsed.written);
  const auto outcome = put_affinities(peer, std::move(parsed.entries), ago);
  return finish(command, outcome, ordered_json::object(), options.json, out, err);
}

namespace {

void print_imported(const rules::ImportedAffinities& imported, const rules::Jiffies& jiffies, std::ostream& out) {
  out << imported.lists << " lists of known endpoints\n";
  for (const std::string& name : imported.unknown_lists) out << name << ": belongs to no endpoint here\n";
  const std::pair<std::size_t, const char*> kLines[] = {
      {imported.unknown_entries, "in lists that belong to no endpoint here"},
      {imported.expired, "expired in the lists"},
      {imported.in_several, "in the lists of several endpoints: the first one counts, as in kube-proxy's rules"},
      {imported.without_affinity, "of services without affinity here"},
  };
  for (const auto& [count, words] : kLines) {
    if (count > 0) out << count << ' ' << words << '\n';
  }
  if (!jiffies.exact) out << "ages may be some tenths of a second too long: /proc/timer_list cannot be read\n";
}

ordered_json to_json(const rules::ImportedAffinities& imported) {
  return {{"lists", imported.lists},
          {"unknown_lists", imported.unknown_lists},
          {"unknown_entries", imported.unknown_entries},
          {"expired_in_lists", imported.expired},
          {"in_several_lists", imported.in_several},
          {"of_services_without_affinity", imported.without_affinity}};
}

}  // namespace

int run_affinity_import(const TransferOptions& options, std::ostream& out, std::ostream& err) {
  const std::string command = "affinity import-recent";
  auto client = connect(options.daemon);
  if (!client) return complain(command, client.error(), err);
  DaemonPeer peer(std::move(*client));
  const auto known = peer.endpoints();
  if (!known) return complain(command, known.error(), err);
  const auto lists = rules::read_recent(options.folder, rules::kEndpointChainPrefix);
  if (!lists) return complain(command, lists.error(), err);
  const auto jiffies = rules::read_jiffies();  // after the lists: no stamp is newer
  if (!jiffies) return complain(command, jiffies.error(), err);
  const flow::Instant read = flow::now();
  std::vector<store::LineError> errors;
  for (const rules::RecentList& list : *lists) errors.insert(errors.end(), list.errors.begin(), list.errors.end());
  if (!print_errors(command, errors, errors.size(), options.lenient, err)) return kExitConfiguration;
  rules::ImportedAffinities imported = rules::import_recent(*lists, *known, *jiffies);
  if (!options.json) print_imported(imported, *jiffies, out);
  const auto outcome = put_affinities(peer, std::move(imported.entries), flow::now() - read);
  return finish(command, outcome, to_json(imported), options.json, out, err);
}

void add_affinity_transfer(CLI::App& affinity, int& exit_code) {
  const auto options = std::make_shared<TransferOptions>();
  CLI::App* save = affinity.add_subcommand("save", "Write who has which endpoint to a file");
  save->add_option("FILE", options->file, "- for standard output")->required();
  CLI::App* load = affinity.add_subcommand("load", "Remember what `limpet affinity save` wrote");
  load->add_option("FILE", options->file, "- for standard input")->required();
  CLI::App* import = affinity.add_subcommand("import-recent", "Remember what kube-proxy's rules remember on this node");
  import->add_option("--from", options->folder, "The folder of the kernel's lists")->capture_default_str();
  for (CLI::App* command : {save, load, import}) add_daemon(*command, options->daemon);
  for (CLI::App* command : {load, import}) {
    command->add_flag("--lenient", options->lenient, "Leave out lines that have errors, take the others");
    command->add_flag("-j,--json", options->json, "One JSON object");
  }
  save->callback([options, &exit_code] { exit_code = run_affinity_save(*options, std::cout, std::cerr); });
  load->callback([options, &exit_code] { exit_code = run_affinity_load(*options, std::cin, std::cout, std::cerr); });
  import->callback([options, &exit_code] { exit_code = run_affinity_import(*options, std::cout, std::cerr);
});
}  // namespace limpet::cli

}  // namespace limpet::cli
