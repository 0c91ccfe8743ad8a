// trace.h: `limpet trace --from IP`: the path of one client's packets: live, from the running daemon (live_trace.h), or with
// --pcap from a capture. That is offline: nothing is diverted, no device is opened.
//
//   --from IP [--socket PATH | -c FILE] [-j]
//   --from IP --pcap FILE -c FILE [--in-interface eth0] [--seed N] [-j]
//
// Each packet of the client is run through the pipeline at the hooks that it would cross on this node (lab/packet_path.h),
// one line a crossing (render_path.h). The node is what the configuration says of it, as for `limpet explain`; affinity
// starts empty; the choices depend on the seed alone.
//
// What the capture may hold:
//   the client's side    client ↔ VIP: the replies stand for those of the endpoint that is chosen here
//   the pods' side       client ↔ endpoint: nothing is addressed to a service, and packets show as they are. Behind a
//                        masquerade the client's address is not in such a capture at all
//   "any"                both: what is there twice is run once, and replies of any endpoint of the service stand for those
//                        of the one chosen here
//
// Exit codes: 0 traced; 1 no capture, no packet of the client, or the capture ends in the middle of a packet (what is
// before that is traced); 2 usage; 3 configuration.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

namespace limpet::cli {

struct TraceOptions {
  std::string config{};  // live: the daemon's
  std::string pcap{};    // empty: live
  std::string from{};
  std::string socket{};        // live only
  std::string in_interface{};  // empty: unknown
  std::uint64_t seed = 1;
  bool json = false;
};

int run_trace(const TraceOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_trace(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
