#include "lb/service/kubernetes_objects.h"

#include <algorithm>
#include <set>
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
  std::map<std::string, Endpoint> by_text;
  for (const auto& [key, slice] : slices) {
    if (slice.is_subset && has_slices) continue;
    for (const SliceObject::Port& served : slice.ports) {
      if (served.name != port.name || served.protocol != port.protocol) continue;
      for (const Endpoint& each : slice.endpoints) {
        if (each.at.address.family() != service.family()) continue;
        Endpoint endpoint = each;
        endpoint.at.port = served.port;
        const auto [at, fresh] = by_text.try_emplace(endpoint.at.to_string(), endpoint);
        if (!fresh && !node_name_.empty() && each.node_name == node_name_) at->second = std::move(endpoint);
      }
    }
  }
  for (auto& [text, endpoint] : by_text) service.endpoints.push_back(std::move(endpoint));
}

namespace {

/// Who claims what, the older first.
class Claims {
 public:
  explicit Claims(std::vector<std::string>& lost) : lost_(lost) {}

  /// True: `service` has it now. Else the loss is told.
  bool claim(const std::string& what, const Service& service) {
    const auto [owner, fresh] = owners_.emplace(what, &service);
    if (fresh || owner->second == &service) return true;
    lost_.push_back(what + " of service " + service.name + " is left out: the older service " + owner->second->name +
                    " has it");
    return false;
  }

 private:
  std::vector<std::string>& lost_;
  std::map<std::string, const Service*> owners_;
};

std::string_view created(const KubernetesObjects& objects, const Service& service) {
  const std::size_t slash = service.name.find('/');
  const ObjectKey key{service.name.substr(0, slash),
                      service.name.substr(slash + 1, service.name.find(':') - slash - 1)};
  const auto object = objects.objects().find(key);
  return object == objects.objects().end() ? std::string_view() : object->second.created;
}

}  // namespace

std::vector<std::string> settle_conflicts(const KubernetesObjects& objects, std::vector<Service>& services,
                                          std::size_t native) {
  std::vector<Service*> by_age;
  for (Service& service : services) by_age.push_back(&service);
  const auto first_object = by_age.begin() + static_cast<std::ptrdiff_t>(native);
  std::stable_sort(first_object, by_age.end(), [&](const Service* a, const Service* b) {
    return std::pair(created(objects, *a), std::string_view(a->name)) <
           std::pair(created(objects, *b), std::string_view(b->name));
  });
  std::vector<std::string> lost;
  Claims claims(lost);
  std::set<const Service*> nameless;
  for (Service* const service : by_age) {
    const std::string protocol = "/" + net::to_string(service->protocol);
    const std::string family = service->family() == net::Family::v4 ? " (IPv4)" : " (IPv6)";
    if (!claims.claim("the name " + service->name + family, *service)) {
      nameless.insert(service);
      continue;
    }
    const auto keeps_vip = [&](const net::Address& address) {
      return claims.claim(net::AddressPort{address, service->port}.to_string() + protocol, *service);
    };
    if (service->cluster_ip && !keeps_vip(*service->cluster_ip)) service->cluster_ip.reset();
    std::erase_if(service->external_ips, [&](const net::Address& address) { return !keeps_vip(address); });
    std::erase_if(service->load_balancer_ips, [&](const net::Address& address) { return !keeps_vip(address); });
    if (service->node_port == 0) continue;
    const std::string node_port = "nodePort " + std::to_string(service->node_port) + protocol + family;
    if (!claims.claim(node_port, *service)) service->node_port = 0;
  }
  std::erase_if(services, [&](const Service& service) { return nameless.contains(&service); });
  return lost;
}

}  // namespace limpet::service
