// api_option.h: `--socket PATH`: where the running daemon answers, for the subcommands that ask it.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>

#include <CLI/App.hpp>

#include "lb/control/client.h"

namespace limpet::cli {

void add_socket(CLI::App& subcommand, std::string& socket);

/// A connection to the daemon at `socket`; empty: that of this network namespace, this user's or else root's.
store::Result<control::Client> connect(const std::string& socket);

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
