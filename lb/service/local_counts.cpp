#include "lb/service/local_counts.h"

#include <algorithm>
#include <set>

namespace limpet::service {
namespace {

bool has_local(const Service& service, const EndpointSets& sets) {
  for (std::uint32_t i = 0; i < service.endpoints.size(); ++i) {
    if (sets.left_out(i, Set::local) == LeftOut::no) return true;
  }
  return false;
}

}  // namespace

LocalCounts count_local(std::span<const Service> services, const Place& place) {
  LocalCounts counts;
  std::map<std::string, std::set<net::Address>> ready;
  for (const Service& service : services) {
    for (const Endpoint& endpoint : service.endpoints) {
      if (!endpoint.ready || endpoint.node_name.empty() || endpoint.node_name != place.node) continue;
      ready[service.name.substr(0, service.name.find(':'))].insert(endpoint.at.address);
    }
    const EndpointSets sets(service, place);
    if (!sets.usable || has_local(service, sets)) continue;
    if (service.internal_policy == TrafficPolicy::local) ++counts.without_internal;
    if (service.is_external() && service.external_policy == TrafficPolicy::local) ++counts.without_external;
  }
  for (const auto& [name, addresses] : ready) counts.ready[name] = static_cast<std::uint32_t>(addresses.size());
  return counts;
}

}  // namespace limpet::service
