#include <map>
#include <tuple>
#include <utility>

#include "lb/service/config_affinity.h"
#include "lb/service/config_parts.h"
#include "lb/service/return_path.h"

namespace limpet::service {
namespace {

constexpr std::uint32_t kMaxWeight = 1U << 20;
constexpr std::size_t kMaxEndpoints =
    1U << 20;  // with kMaxWeight: the alias table's n * sum of weights stays below 2^64

const format::Choice<TrafficPolicy> kPolicies{{"Cluster", TrafficPolicy::cluster}, {"Local", TrafficPolicy::local}};

const format::Choice<net::Protocol> kProtocols{{"TCP", net::Protocol::tcp},
                                               {"UDP", net::Protocol::udp},
                                               {"SCTP", net::Protocol::sctp},
                                               {"UDPLite", net::Protocol::udplite}};  // Kubernetes has no word for it

/// A service as read, and where it stands.
struct Entry {
  Service service;
  YAML::Mark name_at;
  YAML::Mark cluster_ip_at;
  YAML::Mark node_port_at;
  YAML::Mark masquerade_at;
  YAML::Mark affinity_at;
};

void read_endpoint(Fields& fields, Service& service) {
  Endpoint endpoint;
  endpoint.at.port = service.port;
  const bool addressed = fields.read_required("address", format::UnicastAddress{}, endpoint.at.address);
  fields.read("port", format::kPort, endpoint.at.port);
  fields.read("nodeName", format::Text{"a node's name"}, endpoint.node_name);
  fields.read("weight", format::Number{0, kMaxWeight}, endpoint.weight);
  fields.finish();
  if (!addressed) return;
  if (service.cluster_ip || !service.endpoints.empty()) {
    if (endpoint.at.address.family() != service.family()) {
      fields.error("address", endpoint.at.address.to_string() + " is of another family than the service's " +
                                  (service.cluster_ip ? "clusterIP" : "first endpoint") +
                                  "; write one service per family");
      return;
    }
  }
  service.endpoints.push_back(std::move(endpoint));
}

/// Complains of the second of two endpoints with one address and port.
void check_duplicates(const Service& service, const std::vector<YAML::Mark>& places, Report& report) {
  std::map<net::AddressPort, std::size_t> seen;
  for (std::size_t i = 0; i < service.endpoints.size(); ++i) {
    const auto [first, fresh] = seen.emplace(service.endpoints[i].at, i);
    if (fresh) continue;
    report.error(places[i], "endpoint " + service.endpoints[i].at.to_string() + " is already listed on " +
                                line_of(places[first->second]) + "; give it a larger weight instead");
  }
}

void read_endpoints(Fields& fields, Service& service) {
  const YAML::Node list = fields.find("endpoints");
  if (!list.IsDefined() || !fields.expect_list(list, "endpoints")) return;
  if (list.size() > kMaxEndpoints) {
    fields.error("endpoints", std::to_string(list.size()) + " endpoints; at most " + std::to_string(kMaxEndpoints) +
                                  " fit one service");
    return;
  }
  std::vector<YAML::Mark> places;  // of service.endpoints
  std::size_t index = 0;
  for (const YAML::Node& node : list) {
    Fields endpoint(node, fields.what() + ".endpoints[" + std::to_string(index++) + "]", fields.report());
    if (node.IsMap()) read_endpoint(endpoint, service);
    if (service.endpoints.size() > places.size()) places.push_back(endpoint.place("address"));
  }
  check_duplicates(service, places, fields.report());
}

Entry read_service(Fields& fields) {
  Entry entry;
  Service& service = entry.service;
  fields.read_required("name", format::ServiceName{}, service.name);
  fields.read("protocol", kProtocols, service.protocol);
  fields.read("clusterIP", format::UnicastAddress{}, service.cluster_ip);
  fields.read_required("port", format::kPort, service.port);
  fields.read("nodePort", format::kPort, service.node_port);
  fields.read("externalTrafficPolicy", kPolicies, service.external_policy);
  fields.read("internalTrafficPolicy", kPolicies, service.internal_policy);
  std::string algorithm;
  fields.read("algorithm", format::Choice<std::string>{{"random", "random"}}, algorithm);
  const format::Choice<MasqueradeMode> modes{
      {"auto", MasqueradeMode::automatic}, {"always", MasqueradeMode::always}, {"never", MasqueradeMode::never}};
  fields.read("masquerade", modes, service.masquerade);
  read_endpoints(fields, service);
  read_affinity(fields, service);
  fields.finish();
  if (!fields.has("clusterIP") && !fields.has("nodePort"))
    fields.error("clusterIP", fields.what() + " has neither clusterIP nor nodePort; write one of them");
  entry.name_at = fields.place("name");
  entry.cluster_ip_at = fields.place("clusterIP");
  entry.node_port_at = fields.place("nodePort");
  entry.masquerade_at = fields.place("masquerade");
  entry.affinity_at = fields.place("sessionAffinity");
  return entry;
}

/// What two services may not share: a name, a clusterIP with port and protocol, a nodePort with protocol and family.
class Conflicts {
 public:
  explicit Conflicts(Report& report) : report_(report) {}

  void add(const Entry& entry) {
    const Service& service = entry.service;
    if (!service.name.empty()) claim("name " + service.name, entry, entry.name_at);
    const std::string protocol = "/" + std::string(kProtocols.word(service.protocol));
    if (service.cluster_ip && service.port != 0) {
      const net::AddressPort vip{*service.cluster_ip, service.port};
      claim("clusterIP " + vip.to_string() + protocol, entry, entry.cluster_ip_at);
    }
    if (service.node_port != 0) {
      const std::string family = service.family() == net::Family::v4 ? " (IPv4)" : " (IPv6)";
      claim("nodePort " + std::to_string(service.node_port) + protocol + family, entry, entry.node_port_at);
    }
  }

 private:
  void claim(const std::string& what, const Entry& entry, const YAML::Mark& at) {
    const auto [first, fresh] = claims_.emplace(what, std::pair(entry.service.name, at));
    if (fresh) return;
    const auto& [owner, owner_at] = first->second;
    report_.error(at, what + " is taken by " + owner + " on " + line_of(owner_at) + "; change one of the two");
  }

  Report& report_;
  std::map<std::string, std::pair<std::string, YAML::Mark>> claims_;
};

}  // namespace

void read_services(Fields& top, const NodeConfig& node, std::vector<Service>& services) {
  const YAML::Node list = top.find("services");
  const bool others =
      top.has("rules") || top.has("kubernetes");  // an iptables program, or objects, say what to balance
  if (!top.has("services") && !others) top.warning("services", "no services: nothing is balanced");
  if (!list.IsDefined() || !top.expect_list(list, "services")) return;
  Conflicts conflicts(top.report());
  SharedAffinities affinities(top.report());
  LostReplyComplaints<YAML::Mark> lost_replies(node);
  const auto warn = [&](const YAML::Mark& at, const std::string& message) { top.report().warning(at, message); };
  std::size_t index = 0;
  for (const YAML::Node& element : list) {
    Fields fields(element, "services[" + std::to_string(index++) + "]", top.report());
    if (!element.IsMap()) continue;
    Entry entry = read_service(fields);
    conflicts.add(entry);
    affinities.add(entry.service, entry.affinity_at);
    if (const auto own = own_vip(entry.service, node)) warn(entry.cluster_ip_at, *own);
    lost_replies.add(entry.service, entry.masquerade_at, entry.name_at, warn);
    services.push_back(std::move(entry.service));
  }
  lost_replies.finish(warn);
  if (index == 0 && !others) top.warning("services", "services is empty: nothing is balanced");
}

}  // namespace limpet::service
