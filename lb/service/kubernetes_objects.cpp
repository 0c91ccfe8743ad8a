#include "lb/service/kubernetes_objects.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace limpet::service {
namespace {

template <typename Range>
Range of_family(const Range& range, net::Family family) {
  Range result;
  std::copy_if(range.begin(), range.end(), std::back_inserter(result), [family](const auto& each) {
    if constexpr (requires { each.family(); }) {
      return each.family() == family;
    } else {
      return each.address().family() == family;
    }
  });
  return result;
}

/// Without its endpoints.
Service port_of(const ServiceObject& object, const ServiceObject::Port& port, const net::Address& cluster_ip) {
  const net::Family family = cluster_ip.family();
  Service service;
  service.name = object.key.to_string() + ":" + port.name;
  if (port.name.empty()) service.name.pop_back();
  service.protocol = port.protocol;
  service.cluster_ip = cluster_ip;
  service.port = port.port;
  service.node_port = port.node_port;
  service.external_ips = of_family(object.external_ips, family);
  service.load_balancer_ips = of_family(object.load_balancer_ips, family);
  service.source_ranges = of_family(object.source_ranges, family);
  service.internal_policy = object.internal_policy;
  if (service.is_external()) service.external_policy = object.external_policy;
  service.health_check_node_port = object.health_check_node_port;
  service.affinity_timeout = object.affinity_timeout;
  return service;
}

const ObjectKey& key_of(const std::shared_ptr<const SliceObject>& slice) {
  return slice->key;
}

}  // namespace

ObjectKey KubernetesObjects::apply(std::shared_ptr<const ServiceObject> object) {
  ObjectKey key = object->key;
  services_.insert_or_assign(key, std::move(object));
  return key;
}

ObjectKey KubernetesObjects::apply(std::shared_ptr<const SliceObject> object) {
  remove_slice(object->key);
  ObjectKey service = object->service;
  slice_of_.emplace(object->key, service);
  Slices& slices = slices_[service];
  slices.insert(std::ranges::upper_bound(slices, object->key, {}, key_of), std::move(object));
  return service;
}

bool KubernetesObjects::remove_service(const ObjectKey& key) {
  return services_.erase(key) != 0;
}

bool KubernetesObjects::remove_slice(const ObjectKey& key) {
  const auto served = slice_of_.find(key);
  if (served == slice_of_.end()) return false;
  const auto slices = slices_.find(served->second);
  std::erase_if(slices->second, [&](const auto& each) { return each->key == key; });
  if (slices->second.empty()) slices_.erase(slices);
  slice_of_.erase(served);
  return true;
}

std::vector<Service> KubernetesObjects::services(const ObjectKey& key) const {
  std::vector<Service> result;
  const auto object = services_.find(key);
  if (object == services_.end() || !object->second->ignored.empty()) return result;
  const ServiceObject& from = *object->second;
  const auto slices = slices_.find(key);
  result.reserve(from.cluster_ips.size() * from.ports.size());
  for (const net::Address& cluster_ip : from.cluster_ips) {
    for (const ServiceObject::Port& port : from.ports) {
      Service service = port_of(from, port, cluster_ip);
      if (slices != slices_.end()) add_endpoints(port, slices->second, service);
      result.push_back(std::move(service));
    }
  }
  return result;
}

std::vector<Service> KubernetesObjects::services() const {
  std::vector<Service> result;
  for (const auto& [key, object] : services_) {
    std::vector<Service> ports = services(key);
    std::move(ports.begin(), ports.end(), std::back_inserter(result));
  }
  return result;
}

void KubernetesObjects::add_endpoints(const ServiceObject::Port& port, const Slices& slices, Service& service) const {
  struct Candidate {
    std::string text;  // "ip:port"
    net::AddressPort at;
    const Endpoint* endpoint;
  };
  const bool has_slices = std::ranges::any_of(slices, [](const auto& slice) { return !slice->is_subset; });
  std::size_t most = 0;
  for (const auto& slice : slices) most += slice->endpoints.size();
  std::vector<Candidate> candidates;
  candidates.reserve(most);
  for (const auto& slice : slices) {
    if (slice->is_subset && has_slices) continue;
    for (const SliceObject::Port& served : slice->ports) {
      if (served.name != port.name || served.protocol != port.protocol) continue;
      for (const Endpoint& each : slice->endpoints) {
        if (each.at.address.family() != service.family()) continue;
        const net::AddressPort at{each.at.address, served.port};
        candidates.push_back({at.to_string(), at, &each});
      }
    }
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::text);
  service.endpoints.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size();) {
    const net::AddressPort& at = candidates[i].at;
    const Endpoint* best = candidates[i].endpoint;
    while (++i < candidates.size() && candidates[i].at == at) {
      if (!node_name_.empty() && candidates[i].endpoint->node_name == node_name_) best = candidates[i].endpoint;
    }
    service.endpoints.push_back(*best);
    service.endpoints.back().at = at;
  }
}

}  // namespace limpet::service
