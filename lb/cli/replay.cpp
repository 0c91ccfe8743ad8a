#include "lb/cli/replay.h"

#include <chrono>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include <unistd.h>

#include "lb/cli/configured.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/json_line.h"
#include "lb/cli/progress_line.h"
#include "lb/cli/render_explanation.h"
#include "lb/cli/seed_option.h"
#include "lb/lab/event_node.h"
#include "lb/lab/replay.h"
#include "lb/lab/subject.h"
#include "lb/lab/timeline.h"

namespace limpet::cli {
namespace {

using Microseconds = std::chrono::microseconds;

/// Seconds, as an event gives them: a whole number where it is one.
nlohmann::ordered_json seconds(Microseconds time) {
  constexpr Microseconds::rep kPerSecond = 1'000'000;
  if (time.count() % kPerSecond == 0) return time.count() / kPerSecond;
  return static_cast<double>(time.count()) / kPerSecond;
}

void print_object(const lab::Event& event, const service::Explanation& explanation, std::ostream& out) {
  nlohmann::ordered_json time = {{"t", seconds(event.time)}};
  out << in_one_line(to_json(explanation, std::move(time))) << '\n';
}

/// Lines for people, and what they add up to.
class Report {
 public:
  explicit Report(std::ostream& out) : out_(out) {}

  void add(const lab::Event& event, const datapath::Decision& decision) {
    if (count_++ == 0) row("t", "from", "to", "proto", "action", "endpoint", "affinity");
    const std::string action(datapath::to_string(decision.action));
    const std::string affinity(datapath::to_string(decision.affinity));
    const bool dnat = decision.action == datapath::Action::dnat;
    const std::string endpoint = dnat ? decision.endpoint.to_string() : "-";
    row(seconds(event.time).dump(), event.tuple.source.to_string(), event.tuple.destination.to_string(),
        net::to_string(event.tuple.protocol), action, endpoint, affinity);
    ++actions_[action];
    if (!dnat) return;
    ++affinities_[affinity];
    ++endpoints_[endpoint];
  }
  void conclude() {
    out_ << (count_ == 0 ? "" : "\n") << count_ << (count_ == 1 ? " connection" : " connections") << '\n';
    list("action", actions_);
    list("affinity", affinities_);
    list("endpoint", endpoints_);
  }

 private:
  using Counts = std::map<std::string, std::uint64_t>;

  void row(std::string_view time, std::string_view from, std::string_view to, std::string_view protocol,
           std::string_view action, std::string_view endpoint, std::string_view affinity) {
    out_ << std::left << std::setw(14) << time << ' ' << std::setw(22) << from << ' ' << std::setw(22) << to << ' '
         << std::setw(7) << protocol << ' ' << std::setw(6) << action << ' ' << std::setw(22) << endpoint << ' '
         << affinity << '\n';
  }
  void list(std::string_view what, const Counts& counts) {
    for (const auto& [name, count] : counts) {
      out_ << std::left << std::setw(10) << what << std::setw(24) << name << std::right << std::setw(10) << count
           << std::setw(7) << std::fixed << std::setprecision(2) << 100.0 * static_cast<double>(count) / total(counts)
           << " %\n";
      what = "";
    }
  }
  static double total(const Counts& counts) {
    double sum = 0;
    for (const auto& [name, count] : counts) sum += static_cast<double>(count);
    return sum;
  }

  std::ostream& out_;
  std::uint64_t count_ = 0;
  Counts actions_, affinities_, endpoints_;
};

store::Status play_all(lab::EventSource& events, lab::Replay& replay, const ReplayOptions& options, std::ostream& out,
                       std::ostream& err) {
  ProgressLine progress(options.progress ? &err : nullptr, "replay");
  Report report(out);
  lab::Event event;
  for (std::uint64_t played_events = 0;; ++played_events) {
    const auto more = events.next(event);
    if (!more) return more.error();
    if (!*more) break;
    const auto played = replay.play(event);
    if (!played) return store::Error{played.error().kind, events.place(event) + ": " + played.error().message};
    if (options.json) {
      print_object(event, replay.describe(*played), out);
    } else {
      report.add(event, played->decision);
    }
    progress.show(played_events, events);
  }
  if (!options.json) report.conclude();
  return store::ok();
}

int complain(const store::Error& error, std::ostream& err) {
  err << "limpet replay: " << error.message << '\n';
  return exit_code(error.kind);
}

}  // namespace

int run_replay(const ReplayOptions& options, std::ostream& out, std::ostream& err) {
  const auto config = load_or_complain(options.config, err);
  if (!config) return kExitConfiguration;
  auto events = lab::open_timeline(options.packets, config->timeouts);
  if (!events) return complain(events.error(), err);
  auto node = lab::EventNode::open(config->node);
  if (!node) return complain(node.error(), err);
  const auto subject = lab::make_subject(*config, config->tables.affinity, {options.seed, 1});
  if (!subject) return complain(subject.error(), err);
  for (const std::string& line : (*subject)->remarks()) err << line << '\n';
  lab::Replay replay(**subject, *node, options.seed);
  const store::Status played = play_all(**events, replay, options, out, err);
  return played ? kExitOk : complain(played.error(), err);
}

void add_replay(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<ReplayOptions>();
  CLI::App* replay = app.add_subcommand("replay", "What a recorded timeline of connections would meet (offline)");
  replay->add_option("-c,--config", options->config, "Configuration file")->required();
  replay->add_option("--packets", options->packets, "JSON lines {t, from, to, protocol}, or a capture")->required();
  add_seed(*replay, options->seed);
  replay->add_flag("-j,--json", options->json, "One JSON object a line");
  replay->callback([options, &exit_code] {
    options->progress = ::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 0;
    exit_code = run_replay(*options, std::cout, std::cerr);
  });
}

}  // namespace limpet::cli
