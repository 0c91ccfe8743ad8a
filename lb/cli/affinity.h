// affinity.h: `limpet affinity list|delete|flush`: who is remembered for which endpoint, in the running daemon.
//
//   list    [--service S] [--client IP|CIDR] [--endpoint IP:PORT] [-j]   as `limpet show affinity`
//   delete  --client IP [--service S]    the client is forgotten: its next connection chooses afresh
//   flush   --service S | --all          all clients of a service, or of all services
//   save, load, import-recent            affinity_transfer.h
//
// The daemon: [--socket PATH | -c FILE] (api_option.h).
// Connections that are under way go on where they are. Exit codes: 0 done, be there anything to forget or not; 1 no such service;
// 2 usage; 4 no daemon answers; 5 its socket is not for this user.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

#include "lb/cli/api_option.h"

namespace limpet::cli {

struct EraseOptions {
  std::string command{};  // "affinity delete"
  DaemonAddress daemon{};
  std::string service{};
  std::string client{};  // empty: all
  bool json = false;
};

int run_affinity_erase(const EraseOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_affinity(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
