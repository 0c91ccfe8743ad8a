// config_kubernetes.h: `kubernetes: {files: […]}`: the services that Kubernetes objects in files make, beside the
// configuration's own. kubernetes_files.h says what is read, and what becomes of what cannot be.
//
// A file that cannot be read or parsed is an error here: whatever it would have said is unknown. What two services claim
// is the older one's (claims.h); the other is warned of.
#pragma once

#include <string>
#include <vector>

#include "lb/service/config.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

/// Adds to config.services, and sets config.kubernetes and config.native_services. `file` is the configuration's path: it
/// names conflicts in diagnostics.
std::vector<Diagnostic> load_kubernetes(const std::string& file, Config& config);

}  // namespace limpet::service
