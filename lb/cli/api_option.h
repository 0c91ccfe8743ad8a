// api_option.h: where the running daemon answers, for the subcommands that ask it.
//
//   --socket PATH       there
//   -c, --config FILE   where the daemon of this configuration does: control.socket, instance
//   neither             where one without these two settings does, in this network namespace: this user's, else root's
#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "lb/control/client.h"

namespace limpet::cli {

/// Empty: not given.
struct DaemonAddress {
  std::string socket{};
  std::string config{};
};

/// Registers both options, which exclude each other.
void add_daemon(CLI::App& subcommand, DaemonAddress& daemon);
/// `--socket` alone, where the subcommand has a --config of its own.
CLI::Option* add_socket(CLI::App& subcommand, std::string& socket);

/// Where it may be, the likeliest first. Error: configuration, if the file has errors, or says that there is no socket.
store::Result<std::vector<std::filesystem::path>> sockets_of(const DaemonAddress& daemon);
store::Result<control::Client> connect(const DaemonAddress& daemon);

/// Print "limpet COMMAND: …" if the request failed or was refused. The exit code.
int conclude(const std::string& command, const store::Result<control::Response>& response, std::ostream& err);
int complain(const std::string& command, const store::Error& error, std::ostream& err);

/// "?service=…&client=…", of the values that are not empty.
class Target {
 public:
  explicit Target(std::string path) : text_(std::move(path)) {}
  Target& add(const std::string& name, const std::string& value);
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
  bool first_ = true;
};

}  // namespace limpet::cli
