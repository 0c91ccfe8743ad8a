// config_reader.h: limpet.yaml → Config, or everything that is wrong with it.
//
//   text ── YAML ──▶ mapping ── config_node        node:
//                            ── config_settings    datapath, queues, marks, divert, tables, timeouts, rules, …
//                            ── config_kube_proxy  what kube-proxy's configuration says instead, if there is one
//                            ── config_services    services:, and what two of them may not share
//
// All complaints come at once, in the file's order, each with line, column and remedy. Unknown and duplicate keys are
// errors. A key whose feature this version lacks is checked, accepted and warned of; a value that cannot be honoured
// is an error, for running with something else would be a lie. A Config is handed out only without errors.
// Reading is a function of text and host name; load_config adds the file and the machine's name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lb/service/config.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

class KubeProxyConfig;

struct LoadedConfig {
  std::optional<Config> config;  // nullopt if any diagnostic is an error
  std::vector<Diagnostic> diagnostics;
};

/// The files and flags that make up a configuration.
struct ConfigSources {
  ConfigSources() = default;
  ConfigSources(std::string path) : files{std::move(path)} {}            // NOLINT: implicit on purpose
  ConfigSources(const char* path) : ConfigSources(std::string(path)) {}  // NOLINT: likewise

  std::vector<std::string> files;                          // limpet.yaml, a KubeProxyConfiguration, or one of each
  std::vector<std::pair<std::string, std::string>> flags;  // of kube-proxy: name, value
};

/// `file`: what the text is called, and whose folder other files are seen from. `host_name` is the node's name where the text gives none (in lower case, as kubelet does it).
LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name);
LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name,
                         KubeProxyConfig& kube_proxy);
/// With kube-proxy's words in place of limpet.yaml's, where it has some (config_kube_proxy.h).
LoadedConfig load_config(const ConfigSources& sources);

}  // namespace limpet::service
