#include "lb/cli/api_option.h"

#include <algorithm>
#include <ostream>
#include <utility>

#include "lb/cli/exit_code.h"
#include "lb/control/query.h"
#include "lb/control/socket_file.h"
#include "lb/node/instance_name.h"
#include "lb/service/config_reader.h"

namespace limpet::cli {

CLI::Option* add_socket(CLI::App& subcommand, std::string& socket) {
  return subcommand.add_option("--socket", socket, "The daemon's socket, if it is not where it is by default");
}

void add_daemon(CLI::App& subcommand, DaemonAddress& daemon) {
  CLI::Option* const socket = add_socket(subcommand, daemon.socket);
  subcommand
      .add_option("-c,--config", daemon.config, "The daemon's configuration file, if it names an instance or socket")
      ->excludes(socket);
}

store::Result<std::vector<std::filesystem::path>> sockets_of(const DaemonAddress& daemon) {
  using Paths = std::vector<std::filesystem::path>;
  if (!daemon.socket.empty()) return Paths{daemon.socket};
  if (daemon.config.empty()) return control::socket_candidates(node::instance_name());
  const service::LoadedConfig loaded = service::load_config(daemon.config);
  if (!loaded.config) {
    const auto error = std::ranges::find(loaded.diagnostics, service::Severity::error, &service::Diagnostic::severity);
    return store::Error{store::ErrorKind::configuration, to_string(*error)};
  }
  const service::Config& config = *loaded.config;
  if (config.control_socket == "none") {
    return store::Error{store::ErrorKind::configuration,
                        daemon.config + " says that its daemon is not to be asked: control.socket is none"};
  }
  if (config.control_socket != "auto") return Paths{config.control_socket};
  return control::socket_candidates(config.instance.empty() ? node::instance_name() : config.instance);
}

store::Result<control::Client> connect(const DaemonAddress& daemon) {
  const auto paths = sockets_of(daemon);
  if (!paths) return paths.error();
  return control::Client::connect(*paths);
}

int complain(const std::string& command, const store::Error& error, std::ostream& err) {
  err << "limpet " << command << ": " << error.message << '\n';
  return exit_code(error.kind);
}

int conclude(const std::string& command, const store::Result<control::Response>& response, std::ostream& err) {
  if (!response) return complain(command, response.error(), err);
  switch (response->status) {
    case 200:
      return kExitOk;
    case 400:
      complain(command, {store::ErrorKind::runtime, control::words_of(*response)}, err);
      return kExitUsage;
    case 503:
      return complain(command, {store::ErrorKind::unavailable, control::words_of(*response)}, err);
    default:
      return complain(command, {store::ErrorKind::runtime, control::words_of(*response)}, err);
  }
}

Target& Target::add(const std::string& name, const std::string& value) {
  if (value.empty()) return *this;
  text_ += (first_ ? "?" : "&") + name + "=" + control::percent_encode(value);
  first_ = false;
  return *this;
}

}  // namespace limpet::cli
