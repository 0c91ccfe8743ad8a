#include "lb/service/explain.h"

#include <utility>

namespace limpet::service {
namespace {

using datapath::AffinityOutcome;
using datapath::Decision;
using datapath::NewConnection;
using datapath::Reason;

std::string counted(std::size_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

std::string_view name_of(Door door) {
  switch (door) {
    case Door::cluster_ip:
      return "the clusterIP";
    case Door::external_ip:
      return "an externalIP";
    case Door::load_balancer:
      return "a load balancer's address";
    case Door::node_port:
      break;
  }
  return "the nodePort";
}

std::string door(const Match& match, const NewConnection& connection) {
  const std::string at = connection.tuple.destination.to_string() + "/" + net::to_string(connection.tuple.protocol);
  return at + " is " + std::string(name_of(match.door)) + " of service " + match.port->service().name;
}

std::string origin(const Match& match, const NewConnection& connection) {
  const std::string source = connection.tuple.source.address.to_string();
  switch (match.origin) {
    case Origin::pod:
      return source + " is a pod, says the local detector";
    case Origin::node:
      return source + " is an address of this node";
    case Origin::outside:
      break;
  }
  return source + " is neither a pod nor this node";
}

std::string set(const Match& match) {
  const Service& service = match.port->service();
  if (match.door == Door::cluster_ip) {
    return match.set == Set::local ? "internalTrafficPolicy Local: only endpoints of this node"
                                   : "internalTrafficPolicy Cluster: every endpoint";
  }
  if (service.external_policy == TrafficPolicy::cluster) return "externalTrafficPolicy Cluster: every endpoint";
  return match.set == Set::local ? "externalTrafficPolicy Local: only endpoints of this node"
                                 : "externalTrafficPolicy Local, but the source is the cluster's own: every endpoint";
}

std::string masquerade(MasqueradeRule rule) {
  switch (rule) {
    case MasqueradeRule::no_detector:
      return "not masqueraded: no local detector tells pods from others";
    case MasqueradeRule::from_pod:
      return "not masqueraded: the source is a pod";
    case MasqueradeRule::local_policy:
      return "not masqueraded: externalTrafficPolicy Local keeps the client's address";
    case MasqueradeRule::mode_never:
      return "not masqueraded: masquerade: never";
    case MasqueradeRule::everything:
      return "masqueraded: masqueradeAll";
    case MasqueradeRule::not_from_pod:
      return "masqueraded: the source of a clusterIP connection is not a pod";
    case MasqueradeRule::own_vip:
      return "masqueraded: the source is the VIP itself";
    case MasqueradeRule::external_cluster:
      return "masqueraded: externalTrafficPolicy Cluster";
    case MasqueradeRule::from_node:
      return "masqueraded: the source is this node";
    case MasqueradeRule::hairpin:
      return "masqueraded: the endpoint is the source itself (hairpin)";
    case MasqueradeRule::mode_always:
      return "masqueraded: masquerade: always";
  }
  return {};
}

std::string affinity(const Service& service, AffinityOutcome outcome) {
  if (!service.affinity_timeout) return "sessionAffinity None: every connection is chosen afresh";
  const auto seconds = service.affinity_timeout->count();
  const std::string kind =
      "sessionAffinity ClientIP, " + (seconds == 0 ? "never expiring" : std::to_string(seconds) + " s") + ": ";
  switch (outcome) {
    case AffinityOutcome::none:
      break;
    case AffinityOutcome::miss:
      return kind + "the client is not known yet";
    case AffinityOutcome::hit:
      return kind + "the client is known";
    case AffinityOutcome::expired:
      return kind + "the client was known, too long ago";
    case AffinityOutcome::moved:
      return kind + "the client is known, but its endpoint cannot be chosen any more";
  }
  return kind + "not asked";
}

std::string reason(const Match& match, const Decision& decision, std::size_t candidates) {
  switch (decision.reason) {
    case Reason::affinity:
      return "the endpoint that this client is remembered for";
    case Reason::picked:
      return "chosen at random by weight from " + counted(candidates, "endpoint");
    case Reason::no_endpoints:
      return "the service has no usable endpoint anywhere";
    case Reason::no_local:
      return std::string(match.door == Door::cluster_ip ? "internal" : "external") +
             "TrafficPolicy is Local and this node has no usable endpoint";
    case Reason::source_range:
      return "loadBalancerSourceRanges leave the source out";
    case Reason::no_such_port:
      return "the address is a clusterIP, but no service's with this port (compat: nftables)";
    case Reason::unallocated:
      return "the address is in serviceCIDRs, but no service's (compat: nftables)";
    case Reason::midstream:
      return "the middle of a connection that is not known, from a client without affinity";
    case Reason::unrefused:
      return "no endpoint can be chosen, but the node's own processes are refused only the node's own addresses";
    case Reason::ruled:  // by a program of rules, not by a service
    case Reason::not_a_service:
      break;
  }
  return "no service has this destination";
}

/// What a client that is given no endpoint is told.
std::string answer(datapath::Action action, const net::Tuple& tuple, RejectWith reject_with) {
  if (action != datapath::Action::reject) return "not answered: the client waits until it gives up";
  const std::string from = ", from " + tuple.destination.address.to_string();
  if (tuple.protocol == net::Protocol::tcp && reject_with == RejectWith::tcp_reset) {
    return "answered: TCP RST" + from + " (connection refused)";
  }
  return std::string(tuple.destination.address.is_v4() ? "answered: ICMP" : "answered: ICMPv6") + " port unreachable" +
         from + " (connection refused)";
}

void add_left_out(const Match& match, std::vector<std::string>& why) {
  const auto count = static_cast<std::uint32_t>(match.port->service().endpoints.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    const LeftOut cause = match.port->left_out(i, match.set);
    if (cause == LeftOut::no) continue;
    why.push_back(match.port->address(i).to_string() + " is left out: " + std::string(to_string(cause)));
  }
}

}  // namespace

Explanation describe(const Snapshot& snapshot, const NewConnection& connection, const node::NodeView& node,
                     const Decision& decision, RejectWith reject_with) {
  const Match match = snapshot.match(connection, node);
  Explanation result;
  result.decision = decision;
  result.candidates = snapshot.candidates(match);
  result.reason = reason(match, result.decision, result.candidates.size());
  if (match.port == nullptr) {
    const std::string at = connection.tuple.destination.to_string() + "/" + net::to_string(connection.tuple.protocol);
    result.why.push_back(at +
                         " is neither a service's address and port nor a nodePort on an address that takes nodePorts");
    if (decision.action == datapath::Action::none) return result;
    result.why.push_back(result.reason);
    result.why.push_back(answer(decision.action, connection.tuple, reject_with));
    return result;
  }
  const Service& service = match.port->service();
  result.service = service.name;
  result.why = {door(match, connection), origin(match, connection), set(match)};
  if (!match.listens) {
    result.why.push_back(connection.tuple.destination.address.to_string() +
                         " takes no nodePorts, but one that cannot be served is refused on every address of the node");
  }
  add_left_out(match, result.why);
  if (result.decision.action != datapath::Action::dnat) {
    result.why.push_back(result.reason);
    if (result.decision.action == datapath::Action::none) return result;
    result.why.push_back(answer(result.decision.action, connection.tuple, reject_with));
    return result;
  }
  const net::Address& source = connection.tuple.source.address;
  result.why.push_back(affinity(service, result.decision.affinity));
  result.why.push_back(result.decision.endpoint.to_string() + " is " + result.reason);
  result.why.push_back(masquerade(match.masquerade_to(result.decision.endpoint.address, source)));
  return result;
}

Explanation explain(Balancer& balancer, const NewConnection& connection, const node::NodeView& node, flow::Instant now,
                    pick::Rng& rng, RejectWith reject_with) {
  const Decision decision = balancer.decide(connection, node, now, rng);
  return describe(balancer.snapshot(), connection, node, decision, reject_with);
}

}  // namespace limpet::service
