// local_counts.h: what a node reports of its own endpoints: to load balancers, which ask at a Service's
// healthCheckNodePort how many it has, and to whoever wonders why a Local policy drops.
//
//   ready              "namespace/name" → distinct addresses of Ready endpoints on this node; a Service without any is
//                      not listed. Terminating ones never count
//   without_internal   service ports with internalTrafficPolicy Local that have usable endpoints, and none here
//   without_external   the same of externalTrafficPolicy
//
// Source: kube-proxy's endpoint counts for healthCheckNodePort and its metric sync_proxy_rules_no_local_endpoints_total
// (pkg/proxy, v1.34). Pure; O(endpoints).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "lb/service/endpoint_sets.h"
#include "lb/service/service.h"

namespace limpet::service {

struct LocalCounts {
  std::map<std::string, std::uint32_t> ready;
  std::uint32_t without_internal = 0;
  std::uint32_t without_external = 0;
};

LocalCounts count_local(std::span<const Service> services, const Place& place);

}  // namespace limpet::service
