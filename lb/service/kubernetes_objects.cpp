#include "lb/service/kubernetes_objects.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
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

struct EndHash {
  std::size_t operator()(const net::AddressPort& at) const noexcept {
    const auto words = at.address.words();
    return static_cast<std::size_t>((words[0] ^ words[1] ^ std::uint64_t{at.port} << 40) * 0x9e3779b97f4a7c15);
  }
};

void sort_by_text(std::vector<Endpoint>& endpoints) {
  std::vector<std::pair<std::string, std::size_t>> order;
  order.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) order.emplace_back(endpoint.at.to_string(), order.size());
  std::ranges::sort(order);
  std::vector<Endpoint> sorted;
  sorted.reserve(endpoints.size());
  for (const auto& [text, place] : order) sorted.push_back(std::move(endpoints[place]));
  endpoints = std::move(sorted);
}

}  // namespace

ObjectKey KubernetesObjects::apply(ServiceObject object) {
  ObjectKey key = object.key;
  services_.insert_or_assign(key, std::move(object));
  return key;
}

ObjectKey KubernetesObjects::apply(SliceObject object) {
  remove_slice(object.key);
  ObjectKey service = object.service;
  slice_of_.emplace(object.key, service);
  slices_[service].emplace(object.key, std::move(object));
  return service;
}

bool KubernetesObjects::remove_service(const ObjectKey& key) {
  return services_.erase(key) != 0;
}

bool KubernetesObjects::remove_slice(const ObjectKey& key) {
  const auto served = slice_of_.find(key);
  if (served == slice_of_.end()) return false;
  const auto slices = slices_.find(served->second);
  slices->second.erase(key);
  if (slices->second.empty()) slices_.erase(slices);
  slice_of_.erase(served);
  return true;
}

std::vector<Service> KubernetesObjects::services(const ObjectKey& key) const {
  std::vector<Service> result;
  const auto object = services_.find(key);
  if (object == services_.end() || !object->second.ignored.empty()) return result;
  const auto slices = slices_.find(key);
  for (const net::Address& cluster_ip : object->second.cluster_ips) {
    for (const ServiceObject::Port& port : object->second.ports) {
      Service service = port_of(object->second, port, cluster_ip);
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
  const bool has_slices =
      std::any_of(slices.begin(), slices.end(), [](const auto& each) { return !each.second.is_subset; });
  std::unordered_map<net::AddressPort, std::size_t, EndHash> known;  // with its place
  std::size_t most = 0;
  for (const auto& [key, slice] : slices) most += slice.endpoints.size();
  known.reserve(most);
  service.endpoints.reserve(most);
  for (const auto& [key, slice] : slices) {
    if (slice.is_subset && has_slices) continue;
    for (const SliceObject::Port& served : slice.ports) {
      if (served.name != port.name || served.protocol != port.protocol) continue;
      for (const Endpoint& each : slice.endpoints) {
        if (each.at.address.family() != service.family()) continue;
        const net::AddressPort at{each.at.address, served.port};
        const auto [place, fresh] = known.try_emplace(at, service.endpoints.size());
        if (!fresh && (node_name_.empty() || each.node_name != node_name_)) continue;
        Endpoint& endpoint = fresh ? service.endpoints.emplace_back() : service.endpoints[place->second];
        endpoint = each;
        endpoint.at = at;
      }
    }
  }
  sort_by_text(service.endpoints);
}

}  // namespace limpet::service
