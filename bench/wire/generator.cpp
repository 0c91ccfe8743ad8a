// generator: sends UDP packets of many clients through a path and reports the rate at which the path serves them, as
// JSON.
//
// Runs in the clients' network namespace; arrivals are counted on an interface of the sink's. See closed_loop.h for
// what is measured.
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <netinet/ether.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>

#include "bench/wire/closed_loop.h"
#include "bench/wire/counters.h"
#include "bench/wire/frame_sender.h"
#include "bench/wire/frames.h"

namespace {

using namespace limpet::bench;

struct Options {
  std::string interface;
  std::string source_mac;
  std::string gateway_mac;
  std::string sink_netns;
  std::string sink_interface;
  std::string first_client;
  std::string destination;
  std::uint16_t port = 80;
  std::size_t clients = 1000;
  std::uint64_t warm_up = 0;
  double seconds = 10;
  double patience = 0.5;
  Limits limits;
};

void declare(CLI::App& app, Options& options) {
  app.add_option("--interface", options.interface, "send here")->required();
  app.add_option("--source-mac", options.source_mac)->required();
  app.add_option("--gateway-mac", options.gateway_mac, "of the node's interface")->required();
  app.add_option("--sink-netns", options.sink_netns, "network namespace of the sink, a file")->required();
  app.add_option("--sink-interface", options.sink_interface, "arrivals are counted here")->required();
  app.add_option("--first-client", options.first_client, "source address of the first client")->required();
  app.add_option("--clients", options.clients, "how many; they take turns")->check(CLI::PositiveNumber);
  app.add_option("--destination", options.destination, "address that packets are sent to")->required();
  app.add_option("--port", options.port, "and its port");
  app.add_option("--warm-up", options.warm_up, "packets to send before the clock starts");
  app.add_option("--packets", options.limits.packets, "at most so many")->required();
  app.add_option("--seconds", options.seconds, "and for at most so long");
  app.add_option("--window", options.limits.window, "packets on their way at once")->check(CLI::Range(4, 1 << 20));
  app.add_option("--patience", options.patience, "seconds without an arrival until packets count as lost");
}

std::uint32_t parse_address(const std::string& text) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1) throw std::invalid_argument("not an IPv4 address: " + text);
  return ntohl(address.s_addr);
}

Mac parse_mac(const std::string& text) {
  ether_addr parsed{};
  if (::ether_aton_r(text.c_str(), &parsed) == nullptr) throw std::invalid_argument("not a MAC address: " + text);
  Mac mac;
  std::copy(std::begin(parsed.ether_addr_octet), std::end(parsed.ether_addr_octet), mac.begin());
  return mac;
}

FrameSpec frame_spec(const Options& options) {
  return {.source_mac = parse_mac(options.source_mac),
          .destination_mac = parse_mac(options.gateway_mac),
          .first_client = parse_address(options.first_client),
          .source_port = 40000,
          .destination = parse_address(options.destination),
          .destination_port = options.port};
}

std::chrono::nanoseconds to_nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

nlohmann::json to_json(const Outcome& outcome) {
  const double seconds = std::chrono::duration<double>(outcome.elapsed).count();
  const auto arrived = static_cast<double>(outcome.arrived);
  return {{"sent", outcome.sent},
          {"arrived", outcome.arrived},
          {"lost", outcome.lost()},
          {"seconds", seconds},
          {"pps", seconds > 0 ? arrived / seconds : 0},
          {"cpu_ns_per_packet", arrived > 0 ? static_cast<double>(outcome.busy.count()) / arrived : 0}};
}

Outcome measure(const Options& options) {
  // The default slack of 50 us would stretch every nap of the loop by a quarter.
  ::prctl(PR_SET_TIMERSLACK, 1000);
  Frames frames(frame_spec(options), options.clients);
  FrameSender sender(options.interface, frames);
  const InterfaceCounter sink(options.sink_netns, options.sink_interface);
  Limits limits = options.limits;
  limits.duration = to_nanoseconds(options.seconds);
  limits.patience = to_nanoseconds(options.patience);
  if (options.warm_up > 0) {
    Limits warm_up = limits;
    warm_up.packets = options.warm_up;
    run_closed_loop(sender, sink, warm_up);
  }
  return run_closed_loop(sender, sink, limits);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Send UDP packets in a closed loop and report the service rate");
  Options options;
  declare(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << to_json(measure(options)).dump() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "generator: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
