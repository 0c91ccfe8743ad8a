// explain.h: `limpet explain`: what would a new connection meet, and why? Offline: nothing is diverted or remembered.
//
//   -c FILE --from IP --to IP:PORT --protocol tcp [--in-interface eth0] [--seed N] [-j]
//
// The node is what the configuration says of it (node.addresses, nodeIP); the machine's own addresses are asked only if
// it says neither. A --from that is one of the node's addresses means the OUTPUT hook. The affinity table is empty:
// affinity is none or miss. The choice depends on the seed alone. Exit codes: 0 answered (whatever the answer), 1 the
// machine's addresses cannot be read, 2 usage, 3 configuration.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/service/config_reader.h"

namespace limpet::cli {

struct ExplainOptions {
  service::ConfigSources config{};
  std::string from{};
  std::string to{};
  std::string protocol = "tcp";
  std::string in_interface{};  // empty: unknown
  std::uint64_t seed = 1;
  bool json = false;
};

int run_explain(const ExplainOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_explain(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
