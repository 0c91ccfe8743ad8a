#include "lb/cli/trace.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "lb/cli/api_option.h"
#include "lb/cli/configured.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/live_trace.h"
#include "lb/cli/render_path.h"
#include "lb/cli/seed_option.h"
#include "lb/control/step_json.h"
#include "lb/lab/capture_file.h"
#include "lb/lab/described_node.h"
#include "lb/lab/packet_path.h"

namespace limpet::cli {
namespace {

std::string counted(std::uint64_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

/// "2023-11-14T22:13:20.000000Z"
std::string utc(std::chrono::microseconds time) {
  const std::time_t seconds = static_cast<std::time_t>(time.count() / 1'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text.data() + length, text.size() - length, ".%06dZ", static_cast<int>(time.count() % 1'000'000));
  return text.data();
}

/// The capture, from its first packet to its last, or to the error in it.
class Tracer {
 public:
  Tracer(const TraceOptions& options, lab::CaptureFile capture, std::unique_ptr<lab::PacketPath> path)
      : options_(options), capture_(std::move(capture)), path_(std::move(path)) {}

  int run(std::ostream& out, std::ostream& err) {
    const store::Status read = read_all(out);
    if (!options_.json) print_table(crossings_, out);
    if (!read) return conclude(read, err);
    if (path_->packets() == 0) {
      err << "limpet trace: no packet of " << options_.from << " among the " << capture_.count() << " in "
          << options_.pcap
          << "; where connections are masqueraded, a capture from the endpoints' side holds the node's "
          << "address instead\n";
      return kExitRuntime;
    }
    if (!options_.json) summarize(out);
    return kExitOk;
  }

 private:
  store::Status read_all(std::ostream& out) {
    for (;;) {
      const auto packet = capture_.next();
      if (!packet) return packet.error();
      if (!*packet) return store::ok();
      for (lab::Crossing& crossing : path_->walk(**packet)) {
        readdressed_ = readdressed_ || crossing.captured.has_value();
        if (options_.json) {
          out << control::to_json(crossing).dump() << '\n';
        } else {
          crossings_.push_back(std::move(crossing));
        }
      }
    }
  }

  void summarize(std::ostream& out) const {
    out << counted(path_->packets(), "packet") << " of " << options_.from << " among " << capture_.count()
        << ", the first at " << utc(crossings_.front().time) << '\n';
    if (path_->again() > 0) {
      out << path_->again() << " more not run: they are others after translation, or at another interface\n";
    }
    if (readdressed_) {
      out << "~ a reply of another endpoint, or one already translated: it stands for one of the endpoint chosen "
             "here\n";
    }
  }

  const TraceOptions& options_;
  lab::CaptureFile capture_;
  std::unique_ptr<lab::PacketPath> path_;
  std::vector<lab::Crossing> crossings_;  // for people only: columns are as wide as they need to be
  bool readdressed_ = false;
};

int complain(const std::string& what, int exit_code, std::ostream& err) {
  err << "limpet trace: " << what << '\n';
  return exit_code;
}

}  // namespace

int run_trace(const TraceOptions& options, std::ostream& out, std::ostream& err) {
  const auto client = net::Address::parse(options.from);
  if (!client) {
    return complain("--from '" + options.from + "' is not an IP address, as in 203.0.113.7 or fd00::1", kExitUsage,
                    err);
  }
  if (options.pcap.empty()) {
    return run_live_trace(
        {.daemon = {options.socket, options.config}, .from = client->to_string(), .json = options.json}, out, err);
  }
  const auto config = load_or_complain(options.config, err);
  if (!config) return kExitConfiguration;
  auto capture = lab::CaptureFile::open(options.pcap);
  if (!capture) return complain(capture.error().message, kExitRuntime, err);
  auto node = lab::described_node(config->node, options.in_interface);
  if (!node) return complain(node.error().message, kExitRuntime, err);
  if (!options.in_interface.empty() && node->in_interface == 0) {
    return complain("--in-interface '" + options.in_interface +
                        "' is no interface of this machine; describe the node with node.nodeIP to name any",
                    kExitUsage, err);
  }
  if (!config->rules.file.empty()) {
    err << options.config << ": warning: limpet trace --pcap leaves the iptables program of rules.file out\n";
  }
  auto path = lab::PacketPath::build(*config, std::move(*node), *client, options.seed);
  if (!path) return complain(path.error().message, kExitConfiguration, err);
  return Tracer(options, std::move(*capture), std::move(*path)).run(out, err);
}

void add_trace(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<TraceOptions>();
  CLI::App* trace = app.add_subcommand("trace", "The path of a client's packets: live, or from a capture");
  CLI::Option* config =
      trace->add_option("-c,--config", options->config, "Configuration file: the daemon's, or for a capture");
  CLI::Option* pcap = trace->add_option("--pcap", options->pcap, "Capture file, pcap or pcapng: offline");
  pcap->needs(config);
  trace->add_option("--from", options->from, "The client's address")->required();
  add_socket(*trace, options->socket)->excludes(config);
  trace->add_option("--in-interface", options->in_interface, "Interface that packets come in by")->needs(pcap);
  add_seed(*trace, options->seed);
  trace->add_flag("-j,--json", options->json, "One JSON object a line");
  trace->callback([options, &exit_code] { exit_code = run_trace(*options, std::cout, std::cerr); });
}

}  // namespace limpet::cli
