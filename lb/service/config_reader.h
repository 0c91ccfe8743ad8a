// config_reader.h: limpet.yaml → Config, or everything that is wrong with it.
//
//   text ── YAML ──▶ mapping ── config_node      node:
//                            ── config_settings  datapath, queues, marks, divert, tables, timeouts, rules, …
//                            ── config_services  services:, and what two of them may not share
//
// All complaints come at once, in the file's order, each with line, column and remedy. Unknown and duplicate keys are
// errors. A key whose feature this version lacks is checked, accepted and warned of; a value that cannot be honoured
// is an error, for running with something else would be a lie. A Config is handed out only without errors.
// Reading is a function of text and host name; load_config adds the file and the machine's name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/service/config.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

struct LoadedConfig {
  std::optional<Config> config;  // nullopt if any diagnostic is an error
  std::vector<Diagnostic> diagnostics;
};

/// `file`: what the text is called, and whose folder other files are seen from. `host_name` is the node's name where the text gives none (in lower case, as kubelet does it).
LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name);
LoadedConfig load_config(const std::string& path);

}  // namespace limpet::service
