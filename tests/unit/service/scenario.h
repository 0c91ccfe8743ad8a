// scenario.h: kube-proxy's recorded decisions (tests/data/README.md) as this library's values.
//
//   node      → NodeConfig, its addresses listed; with serviceCIDRs: compat nftables, as that file's format has it
//   objects   → through the reader of Kubernetes objects, as JSON text
//
// Test code: throws on malformed input.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lb/service/config.h"
#include "lb/service/kubernetes_objects.h"

namespace limpet::service {

/// Those of the files in LIMPET_SCENARIOS (separated by ':'), else of tests/data: iptables mode, then nftables mode.
std::vector<nlohmann::json> load_scenarios();

NodeConfig scenario_node(const nlohmann::json& scenario);
/// Every object of it is understood.
KubernetesObjects scenario_objects(const nlohmann::json& scenario);

}  // namespace limpet::service
