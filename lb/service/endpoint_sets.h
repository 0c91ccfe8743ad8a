// endpoint_sets.h: which endpoints a connection may choose from, and why each other one is left out.
//
//   cluster   the Ready endpoints that the hints leave; where there is none, all that serve while they terminate
//   local     the Ready endpoints of this node; where there is none, those of it that serve while they terminate
//
//   hints     count where every Ready endpoint has them: if one names this node (forNodes), only those that do, else if
//             one names this zone (forZones), only those that do. In the cluster set alone
//
// Each set falls back on its own; nobody is ever sent to an endpoint that is neither ready nor serving. A weight of 0
// (limpet's own) takes an endpoint out of both. An endpoint without a node is remote.
//
//   usable      Ready, or serving while it terminates: a service without one rejects, one whose set is empty drops
//   uses(set)   whether any of the service's doors asks for the set at all
//
// Source: kube-proxy's CategorizeEndpoints (pkg/proxy/topology.go, v1.34), KEP-1669, KEP-2433, KEP-3015. Pure; build is
// O(endpoints · hints).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lb/service/service.h"

namespace limpet::service {

/// Which endpoints a connection may choose from (KUBE-SVC and KUBE-SVL in kube-proxy's rules).
enum class Set : std::uint8_t { cluster, local };

/// Why an endpoint is not in a set.
enum class LeftOut : std::uint8_t {
  no,           // it is in the set
  no_weight,    // weight 0: it drains
  not_ready,    // and does not serve either, or is not terminating
  terminating,  // it serves, but others are ready
  other_node,
  node_hint,  // the hints are for another node
  zone_hint,  // the hints are for another zone
};
std::string_view to_string(LeftOut cause) noexcept;

/// Where this node is: a node's name, and its zone, empty if it is unknown.
struct Place {
  std::string_view node;
  std::string_view zone;
};

struct EndpointSets {
  EndpointSets(const Service& service, const Place& place);

  LeftOut left_out(std::uint32_t index, Set set) const noexcept { return causes[index][static_cast<std::size_t>(set)]; }

  std::vector<std::array<LeftOut, 2>> causes;  // by endpoint, by set
  bool usable = false;                         // there is any usable endpoint, on whatever node
};

/// Does a connection to the service ever choose from this set?
bool uses(const Service& service, Set set) noexcept;
/// Is the endpoint in a set that the service uses, or out of it for its weight alone? Who is not, has no rule in
/// kube-proxy, and so no memory of its clients.
bool is_reachable(const Service& service, const EndpointSets& sets, std::uint32_t index) noexcept;

}  // namespace limpet::service
