#include "lb/service/return_path.h"

#include <algorithm>

namespace limpet::service {
namespace {

using Cause = LostReplies::Cause;

bool is_address_of(const NodeConfig& node, const net::Address& address) {
  return node.node_ip == address ||
         std::find(node.addresses.begin(), node.addresses.end(), address) != node.addresses.end();
}

bool is_on(const NodeConfig& node, const Endpoint& endpoint) {
  if (!endpoint.node_name.empty()) return endpoint.node_name == node.name;
  if (is_address_of(node, endpoint.at.address)) return true;
  const LocalDetector& detector = node.detect_local;
  return detector.mode == LocalDetector::Mode::node_cidr &&
         std::any_of(detector.cidrs.begin(), detector.cidrs.end(),
                     [&](const net::Prefix& cidr) { return cidr.contains(endpoint.at.address); });
}

/// Can somebody who is not on this node reach endpoints that are not either?
bool leads_out(const Service& service) {
  return (service.cluster_ip && service.internal_policy == TrafficPolicy::cluster) ||
         (service.node_port != 0 && service.external_policy == TrafficPolicy::cluster);
}

bool serves_localhost(const Service& service, const NodeConfig& node) {
  return node.localhost_node_ports && service.node_port != 0 && service.family() == net::Family::v4;
}

/// Those of positive weight that `counts` is true of.
template <typename Predicate>
std::optional<LostReplies> gather(Cause cause, const Service& service, Predicate counts) {
  LostReplies lost{.cause = cause};
  for (const Endpoint& endpoint : service.endpoints) {
    if (endpoint.weight == 0 || !counts(endpoint)) continue;
    if (lost.endpoints++ == 0) lost.first = &endpoint;
  }
  return lost.endpoints == 0 ? std::nullopt : std::optional(lost);
}

std::string endpoints_of(const LostReplies& lost) {
  std::string text = lost.first->at.to_string();
  text += lost.first->node_name.empty() ? " (nodeName not stated)" : " (on " + lost.first->node_name + ")";
  if (lost.endpoints > 1) text += " and " + std::to_string(lost.endpoints - 1) + " more";
  return text;
}

}  // namespace

std::optional<std::string> own_vip(const Service& service, const NodeConfig& node) {
  if (!service.cluster_ip || !is_address_of(node, *service.cluster_ip)) return std::nullopt;
  return describe_own_vip(*service.cluster_ip);
}

std::string describe_own_vip(const net::Address& vip) {
  return "clusterIP " + vip.to_string() + " is also an address of this node: connections from it are masqueraded";
}

std::optional<LostReplies> lost_replies(const Service& service, const NodeConfig& node) {
  if (service.masquerade == MasqueradeMode::never) {
    const auto not_here = [&](const Endpoint& endpoint) { return !is_on(node, endpoint); };
    if (leads_out(service)) {
      if (const auto lost = gather(Cause::masquerade_never, service, not_here)) return lost;
    }
    if (!serves_localhost(service, node)) return std::nullopt;
    return gather(Cause::localhost, service,
                  [&](const Endpoint& endpoint) { return !is_address_of(node, endpoint.at.address); });
  }
  const bool kept = service.masquerade == MasqueradeMode::automatic && service.cluster_ip &&
                    service.internal_policy == TrafficPolicy::cluster && !node.masquerade_all &&
                    !NodeRules(node).has_detector(service.family());
  if (!kept) return std::nullopt;
  return gather(Cause::no_detector, service,
                [&](const Endpoint& endpoint) { return !endpoint.node_name.empty() && !is_on(node, endpoint); });
}

std::string describe(const LostReplies& lost, const Service& service, const NodeConfig& node, std::size_t more) {
  switch (lost.cause) {
    case Cause::masquerade_never:
      return service.name + " keeps its clients' addresses (masquerade: never), and replies of " + endpoints_of(lost) +
             " may go past this node: their clients then get no answer; write masquerade: auto, or nodeName: " +
             node.name + " for endpoints that answer through this node";
    case Cause::no_detector:
      return service.name +
             (more > 0 ? " and " + std::to_string(more) + " more service" + (more > 1 ? "s keep" : " keep")
                       : " keeps") +
             " the addresses of clusterIP clients, as no podCIDRs tell pods from others, and replies of " +
             endpoints_of(lost) +
             " go past this node: clients that are not on it get no answer; write node.podCIDRs, or masquerade: always";
    case Cause::localhost:
      break;
  }
  return service.name + ": connections to 127.0.0.1:" + std::to_string(service.node_port) +
         " keep 127.0.0.1 as their source (masquerade: never), which " + lost.first->at.to_string() +
         " cannot answer; write masquerade: auto";
}

}  // namespace limpet::service
