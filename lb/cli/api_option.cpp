#include "lb/cli/api_option.h"

#include <filesystem>
#include <ostream>
#include <utility>
#include <vector>

#include "lb/cli/exit_code.h"
#include "lb/control/query.h"
#include "lb/control/socket_file.h"
#include "lb/node/instance_name.h"

namespace limpet::cli {

void add_socket(CLI::App& subcommand, std::string& socket) {
  subcommand.add_option("--socket", socket, "The daemon's socket, if it is not where it is by default");
}

store::Result<control::Client> connect(const std::string& socket) {
  const auto paths =
      socket.empty() ? control::socket_candidates(node::instance_name()) : std::vector<std::filesystem::path>{socket};
  return control::Client::connect(paths);
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
