// service.h: one service port and its endpoints, as the configuration states them. Plain values.
//
// In Kubernetes' words: a Service's port together with the EndpointSlice entries that serve it. Two ports of one
// Service are two of these, with affinities of their own (as kube-proxy keeps them).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"

namespace limpet::service {

enum class TrafficPolicy { cluster, local };
enum class MasqueradeMode { automatic, always, never };

/// What makes an affinity last longer.
enum class AffinityRefresh : std::uint8_t {
  connections,  // each new connection, as kube-proxy
  packets,      // each packet of the client
  never,        // nothing: it ends a fixed time after the choice
};

/// An entry of an EndpointSlice; its conditions are Kubernetes'.
struct Endpoint {
  net::AddressPort at;
  std::string node_name = {};  // empty: unknown, therefore remote
  std::uint32_t weight = 1;    // 0: it drains: new connections go elsewhere, those that it has go on
  bool ready = true;
  bool serving = true;  // it answers, though it may be on its way out
  bool terminating = false;
  std::vector<std::string> zone_hints = {};  // zones and nodes that are to use it
  std::vector<std::string> node_hints = {};
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct Service {
  std::string name;  // "namespace/name:port"; of a dual-stack Service each family is one of these
  net::Protocol protocol = net::Protocol::tcp;
  std::optional<net::Address> cluster_ip;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0: none
  std::vector<net::Address> external_ips;
  std::vector<net::Address> load_balancer_ips;  // status.loadBalancer.ingress that this node is to serve (ipMode VIP)
  std::vector<net::Prefix> source_ranges;       // loadBalancerSourceRanges: who may use those; empty: anybody
  std::uint16_t health_check_node_port = 0;     // 0: none
  TrafficPolicy external_policy = TrafficPolicy::cluster;
  TrafficPolicy internal_policy = TrafficPolicy::cluster;
  std::optional<flow::Seconds> affinity_timeout;  // sessionAffinity; nullopt: None; 0 s: never expires
  AffinityRefresh affinity_refresh = AffinityRefresh::connections;
  std::uint8_t affinity_prefix = 0;  // clients whose addresses agree in so many bits are one; 0: in all
  /// Who remembers clients together: empty: this service port alone; else a name that several share.
  std::string affinity_group;
  MasqueradeMode masquerade = MasqueradeMode::automatic;
  std::vector<Endpoint> endpoints;
  std::optional<net::Family> own_family;  // where neither clusterIP nor endpoints tell

  bool shares_affinity() const noexcept { return !affinity_group.empty(); }
  std::string_view affinity_scope() const noexcept { return shares_affinity() ? affinity_group : name; }

  /// May it be reached from outside of the cluster?
  bool is_external() const noexcept { return node_port != 0 || !external_ips.empty() || !load_balancer_ips.empty(); }
  /// The family that it serves: its clusterIP's, else its endpoints'.
  net::Family family() const noexcept {
    if (cluster_ip) return cluster_ip->family();
    if (own_family) return *own_family;
    return endpoints.empty() ? net::Family::v4 : endpoints.front().at.address.family();
  }
  friend bool operator==(const Service&, const Service&) = default;
};

/// Endpoints of all services together, and their addresses in shared affinities: the slots that they need at most.
inline std::uint32_t count_endpoints(std::span<const Service> services) noexcept {
  std::size_t count = 0;
  for (const Service& service : services) count += service.endpoints.size() * (service.shares_affinity() ? 2 : 1);
  return static_cast<std::uint32_t>(count);
}

}  // namespace limpet::service
