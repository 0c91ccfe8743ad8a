// configured.h: what the subcommands that need a configuration or may fail have in common.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>

#include "conntrack/store/result.h"
#include "lb/service/config.h"
#include "lb/service/config_reader.h"

namespace limpet::cli {

/// Read the files, print every diagnostic to `err`. nullopt: there were errors, the exit code is kExitConfiguration.
std::optional<service::Config> load_or_complain(const service::ConfigSources& sources, std::ostream& err);

/// Print "limpet: message" if it is an error. Returns the exit code.
int conclude(const store::Status& status, std::ostream& err);

}  // namespace limpet::cli
