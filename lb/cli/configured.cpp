#include "lb/cli/configured.h"

#include <ostream>

#include "lb/cli/exit_code.h"

namespace limpet::cli {

std::optional<service::Config> load_or_complain(const service::ConfigSources& sources, std::ostream& err) {
  service::LoadedConfig loaded = service::load_config(sources);
  for (const service::Diagnostic& diagnostic : loaded.diagnostics) err << to_string(diagnostic) << '\n';
  return std::move(loaded.config);
}

int conclude(const store::Status& status, std::ostream& err) {
  if (status) return kExitOk;
  err << "limpet: " << status.error().message << '\n';
  return exit_code(status.error().kind);
}

}  // namespace limpet::cli
