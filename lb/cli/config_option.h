// config_option.h: `-c,--config FILE`, and with it kube-proxy's flags: of the subcommands that need a configuration.
//
// -c may be given twice: for limpet.yaml and for a KubeProxyConfiguration, which are told apart by what stands in them. Each
// flag of kube-proxy is accepted with its value (lb/service/config_kube_proxy.h says what becomes of it); given twice, the
// last one holds, and lists add up. --help does not list them.
#pragma once

#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "lb/service/config_reader.h"

namespace limpet::cli {

/// `sources` is filled before the subcommand's callback is called, and outlives the app. Returns -c, which is required.
CLI::Option* add_config(CLI::App& app, service::ConfigSources& sources);

/// The words after the program's name, the last one first, as CLI::App::parse() wants them. `--name=` says that the value is
/// empty, which CLI11 would take for none: it becomes two words. `-v=2`, which would be "=2" for CLI11, becomes `-v2`.
std::vector<std::string> command_line(int argc, const char* const* argv);

/// The files, as one names them in a sentence.
std::string names_of(const service::ConfigSources& sources);

}  // namespace limpet::cli
