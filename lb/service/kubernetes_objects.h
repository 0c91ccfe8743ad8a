// kubernetes_objects.h: Services and EndpointSlices as an API server has them, and the service ports that they make.
//
//   ServiceObject ─┐ one port and family at a time      ┌─▶ Service default/web:http (IPv4)
//   SliceObject ───┼─▶ KubernetesObjects::services(key) ─┼─▶ Service default/web:http (IPv6)
//   SliceObject ───┘ joined by service name, port name   └─▶ …
//
// As kube-proxy joins them: slices of one family serve the ports of that family, by the port's name and protocol; of an
// endpoint's addresses the first counts; an endpoint that stands in two slices is one, and of the two this node's. v1
// Endpoints count only where a Service has no slice. Endpoints are sorted by "ip:port" as text.
//
// Nothing here reads text (kubernetes_reader.h does). Objects are immutable and shared with whoever gives them: none is
// copied. One change costs its own service: O(its endpoints).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lb/service/service.h"

namespace limpet::service {

struct ObjectKey {
  std::string space;  // metadata.namespace
  std::string name;
  std::string to_string() const { return space + "/" + name; }
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

/// A v1 Service, as far as a proxy asks.
struct ServiceObject {
  struct Port {
    std::string name;  // empty: it has none
    net::Protocol protocol = net::Protocol::tcp;
    std::uint16_t port = 0;
    std::uint16_t node_port = 0;
    friend bool operator==(const Port&, const Port&) = default;
  };

  ObjectKey key;
  std::string created;  // creationTimestamp, as RFC 3339 writes it: sorts as text
  std::string ignored;  // why no proxy serves it; empty: it is served
  std::vector<Port> ports;
  std::vector<net::Address> cluster_ips;
  std::vector<net::Address> external_ips;
  std::vector<net::Address> load_balancer_ips;  // those with ipMode VIP
  std::vector<net::Prefix> source_ranges;
  std::uint16_t health_check_node_port = 0;
  TrafficPolicy external_policy = TrafficPolicy::cluster;
  TrafficPolicy internal_policy = TrafficPolicy::cluster;
  std::optional<flow::Seconds> affinity_timeout;
  friend bool operator==(const ServiceObject&, const ServiceObject&) = default;
};

/// A discovery.k8s.io EndpointSlice, or a subset of a v1 Endpoints object.
struct SliceObject {
  struct Port {
    std::string name;
    net::Protocol protocol = net::Protocol::tcp;
    std::uint16_t port = 0;
    friend bool operator==(const Port&, const Port&) = default;
  };

  ObjectKey key;      // of a subset: the object's, with its number
  ObjectKey service;  // whom it serves
  bool is_subset = false;
  std::vector<Port> ports;
  std::vector<Endpoint> endpoints;  // each once, without a port
  friend bool operator==(const SliceObject&, const SliceObject&) = default;
};

class KubernetesObjects {
 public:
  /// `node_name`: where an endpoint counts as this node's.
  explicit KubernetesObjects(std::string node_name = {}) : node_name_(std::move(node_name)) {}

  /// New, or in place of the one of that key. Returns the key of the Service that may have changed.
  ObjectKey apply(std::shared_ptr<const ServiceObject> object);
  ObjectKey apply(std::shared_ptr<const SliceObject> object);
  ObjectKey apply(ServiceObject object) { return apply(std::make_shared<const ServiceObject>(std::move(object))); }
  ObjectKey apply(SliceObject object) { return apply(std::make_shared<const SliceObject>(std::move(object))); }
  /// False: there is none.
  bool remove_service(const ObjectKey& key);
  bool remove_slice(const ObjectKey& key);

  /// The service ports of one Service; none: it is unknown, or ignored.
  std::vector<Service> services(const ObjectKey& key) const;
  /// Of all, in the order of their keys.
  std::vector<Service> services() const;

  const std::map<ObjectKey, std::shared_ptr<const ServiceObject>>& objects() const noexcept { return services_; }

 private:
  struct KeyHash {
    std::size_t operator()(const ObjectKey& key) const noexcept {
      return std::hash<std::string>{}(key.space) * 31 + std::hash<std::string>{}(key.name);
    }
  };
  using Slices = std::vector<std::shared_ptr<const SliceObject>>;  // in the order of their keys

  void add_endpoints(const ServiceObject::Port& port, const Slices& slices, Service& service) const;

  std::string node_name_;
  std::map<ObjectKey, std::shared_ptr<const ServiceObject>> services_;
  std::unordered_map<ObjectKey, Slices, KeyHash> slices_;       // by the Service that they serve
  std::unordered_map<ObjectKey, ObjectKey, KeyHash> slice_of_;  // a slice's key → that Service's
};

}  // namespace limpet::service
