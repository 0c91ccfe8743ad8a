// scenario_objects.h: Kubernetes objects of a recorded scenario, as far as native services can state them.
//
//   node       → NodeConfig, its addresses listed
//   Service    → one native service per port and family of its clusterIPs
//   slices     → endpoints that are ready; one that is neither ready nor serving is left out, as nothing would use it
//
// What has no native counterpart is named, not skipped silently: a Service with serving-terminating endpoints or hints
// makes the scenario inexpressible, an externalIP or load balancer address a flow to it.
// Test code: throws on malformed input.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lb/service/config.h"

namespace limpet::service {

struct ScenarioObjects {
  NodeConfig node;
  std::vector<Service> services;
  std::set<net::Address> external_addresses;  // externalIPs and load balancers' VIPs
  std::optional<std::string> inexpressible;   // the first feature that the native form lacks
};

ScenarioObjects translate(const nlohmann::json& scenario);

}  // namespace limpet::service
