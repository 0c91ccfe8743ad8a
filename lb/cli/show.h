// show.h: `limpet show services|endpoints|affinity|flows|recent|queues|stats`: what the running daemon knows.
//
//   [--socket PATH | -c FILE] [-j] and, where the list has it: [--service NAMESPACE/NAME:PORT] [--client IP|CIDR]
//   [--endpoint IP:PORT] [--protocol tcp] [--state ESTABLISHED]
//
// A table for people; -j prints the API's objects, one a line (lb/control/entries.h). Lists are read page by page and printed
// as they come. `show recent NAME` prints a list's entries in the format of /proc/net/xt_recent/NAME. Exit codes: 0 shown; 1 no such service or list; 2 usage; 4 no daemon answers; 5 its socket is not for this user.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/cli/api_option.h"

namespace limpet::cli {

struct ShowOptions {
  std::string what{};
  DaemonAddress daemon{};
  std::string service{};
  std::string client{};
  std::string endpoint{};
  std::string protocol{};
  std::string state{};
  std::string list{};  // of recent; empty: which there are
  bool json = false;
};

int run_show(const ShowOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_show(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
