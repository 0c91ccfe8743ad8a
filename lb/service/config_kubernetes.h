// config_kubernetes.h: `kubernetes: {files: […]}`: the services that Kubernetes objects in files make, beside the
// configuration's own.
//
// A file is JSON or YAML as kubectl prints it (kubernetes_reader.h); `-` is standard input; a folder stands for its files
// *.json, *.yaml and *.yml, in the order of their names.
//
// A file that cannot be read or parsed is an error: whatever it would have said is unknown. An object that makes no sense,
// and an address that another service has, is left out with a warning: one bad service does not keep the others waiting.
#pragma once

#include <string>
#include <vector>

#include "lb/service/config.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

/// Adds to config.services. `file` is the configuration's path: it names conflicts in diagnostics.
std::vector<Diagnostic> load_kubernetes(const std::string& file, Config& config);

}  // namespace limpet::service
