// recent.h: `limpet recent add|remove|flush`: writes to a `recent` list of the running iptables program, as the kernel's
// /proc/net/xt_recent/NAME is written to.
//
//   limpet recent add    LIST ADDRESS    echo +ADDRESS > /proc/net/xt_recent/LIST: a new entry, or a stamp for a known one
//   limpet recent remove LIST ADDRESS    echo -ADDRESS: absent is no error
//   limpet recent flush  LIST            echo /
//
// The address is taken as it stands: a list with a mask knows clients by their networks. `limpet show recent` reads.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>
#include <nlohmann/json.hpp>

#include "lb/cli/api_option.h"

namespace limpet::cli {

struct RecentWrite {
  DaemonAddress daemon;
  std::string verb;  // of the command line: "add"
  std::string list;
  std::string text;  // for the list: "+10.0.0.1"
  bool json = false;
};

void add_recent(CLI::App& app, int& exit_code);
/// The exit code.
int run_recent_write(const RecentWrite& write, std::ostream& out, std::ostream& err);

/// An entry of the API (lb/control/entries.h) as a line of the kernel's file.
std::string recent_line(const nlohmann::ordered_json& entry);

}  // namespace limpet::cli
