#include "lb/control/entries.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::control {

using nlohmann::ordered_json;
using service::Service;

namespace {

ordered_json name_or_null(const service::ServicePort* port) {
  return port == nullptr ? ordered_json(nullptr) : ordered_json(port->service().name);
}

ordered_json seconds(flow::Milliseconds time) {
  return static_cast<double>(time.count()) / 1000;
}

/// null: never, or nobody knows.
ordered_json expires_in(const AffinityEntry& entry, const service::ServicePort* port) {
  const auto timeout = port == nullptr ? std::nullopt : port->service().affinity_timeout;
  if (!timeout || *timeout == flow::Seconds::zero()) return nullptr;
  return seconds(std::max(flow::Milliseconds::zero(), flow::Milliseconds(*timeout) - entry.age));
}

std::string_view word(service::TrafficPolicy policy) {
  return policy == service::TrafficPolicy::local ? "Local" : "Cluster";
}

std::string_view word(service::MasqueradeMode mode) {
  switch (mode) {
    case service::MasqueradeMode::always:
      return "always";
    case service::MasqueradeMode::never:
      return "never";
    case service::MasqueradeMode::automatic:
      break;
  }
  return "auto";
}

std::vector<std::string> texts(const std::vector<net::Address>& addresses) {
  std::vector<std::string> result;
  for (const net::Address& address : addresses) result.push_back(address.to_string());
  return result;
}

/// How many endpoints new connections may be sent to, by any door.
std::size_t usable(const service::ServicePort& port) {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < port.service().endpoints.size(); ++i) {
    const auto within = [&](service::Set set) {
      return uses(port.service(), set) && port.left_out(i, set) == service::LeftOut::no;
    };
    count += within(service::Set::cluster) || within(service::Set::local) ? 1 : 0;
  }
  return count;
}

std::string_view word(const EndpointFigures& figures) {
  if (figures.ready) return "ready";
  return figures.serving ? "draining" : "gone";
}

}  // namespace

ordered_json to_json(const service::ServicePort& port) {
  const Service& service = port.service();
  ordered_json json;
  json["service"] = service.name;
  json["protocol"] = net::to_string(service.protocol);
  json["clusterIP"] = service.cluster_ip ? ordered_json(service.cluster_ip->to_string()) : ordered_json(nullptr);
  json["port"] = service.port;
  if (!service.external_ips.empty()) json["externalIPs"] = texts(service.external_ips);
  if (!service.load_balancer_ips.empty()) json["loadBalancerIPs"] = texts(service.load_balancer_ips);
  json["nodePort"] = service.node_port != 0 ? ordered_json(service.node_port) : ordered_json(nullptr);
  json["affinity"] = service.affinity_timeout ? ordered_json(service.affinity_timeout->count()) : ordered_json(nullptr);
  json["externalTrafficPolicy"] = word(service.external_policy);
  json["internalTrafficPolicy"] = word(service.internal_policy);
  json["masquerade"] = word(service.masquerade);
  json["endpoints"] = service.endpoints.size();
  json["usable"] = usable(port);
  return json;
}

ordered_json to_json(const service::ServicePort& port, std::uint32_t index, const EndpointFigures& figures) {
  const service::Endpoint& endpoint = port.service().endpoints[index];
  ordered_json json;
  json["service"] = port.service().name;
  json["protocol"] = net::to_string(port.service().protocol);
  json["endpoint"] = endpoint.at.to_string();
  json["node"] = endpoint.node_name.empty() ? ordered_json(nullptr) : ordered_json(endpoint.node_name);
  json["weight"] = endpoint.weight;
  json["state"] = word(figures);
  json["id"] = port.id(index).id;
  json["opened"] = figures.opened;
  json["active"] = figures.active;
  json["established"] = figures.established;
  json["refused"] = figures.refused;
  json["timed_out"] = figures.timed_out;
  return json;
}

ordered_json to_json(const AffinityEntry& entry, const Names::Endpoint& endpoint, const Names& names) {
  const service::ServicePort* const port = names.scope(entry.scope);
  const bool gone = endpoint.port == nullptr;
  ordered_json json;
  json["service"] = name_or_null(gone || port == nullptr ? port : endpoint.port);
  json["client"] = entry.client.to_string();
  json["endpoint"] = gone ? ordered_json(nullptr) : ordered_json(endpoint.port->address(endpoint.index).to_string());
  json["confirmed"] = entry.confirmed;
  json["age"] = seconds(entry.age);
  json["expires_in"] = expires_in(entry, port);
  if (gone) json["endpoint_id"] = entry.endpoint_id;
  if (port == nullptr) json["scope"] = entry.scope;
  return json;
}

ordered_json to_json(const FlowEntry& entry, const Names& names) {
  ordered_json json;
  json["protocol"] = net::to_string(entry.protocol);
  json["state"] = entry.state;
  json["client"] = entry.client.to_string();
  json["service_address"] = entry.service.to_string();
  json["endpoint"] = entry.endpoint.to_string();
  const service::ServicePort* const port = names.endpoint(entry.endpoint_id).port;
  json["service"] =
      port == nullptr && !entry.ruled_service.empty() ? ordered_json(entry.ruled_service) : name_or_null(port);
  if (entry.client_near != entry.client) json["client_near"] = entry.client_near.to_string();
  if (entry.egress.port != 0) json["egress"] = entry.egress.to_string();
  json["confirmed"] = entry.confirmed;
  json["direct"] = entry.direct;
  json["expires_in"] = seconds(entry.left);
  return json;
}

}  // namespace limpet::control
