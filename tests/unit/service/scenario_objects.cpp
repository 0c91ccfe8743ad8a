#include "tests/unit/service/scenario_objects.h"

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using nlohmann::json;

/// `key` of `object`, or an empty array if it is missing or null.
json list(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? json::array() : *found;
}

bool condition(const json& endpoint, const char* name, bool if_missing) {
  const json conditions = endpoint.value("conditions", json::object());
  const auto found = conditions.find(name);
  return found == conditions.end() || found->is_null() ? if_missing : found->get<bool>();
}

TrafficPolicy policy(const json& spec, const char* key) {
  return spec.value(key, "Cluster") == "Local" ? TrafficPolicy::local : TrafficPolicy::cluster;
}

net::Protocol protocol(const json& port) {
  return net::parse_protocol(port.value("protocol", "TCP")).value();
}

NodeConfig translate_node(const json& node) {
  NodeConfig config;
  config.name = node.at("name");
  config.node_ip = ip(node.at("nodeIP").get<std::string>());
  for (const json& address : node.at("addresses")) config.addresses.push_back(ip(address.get<std::string>()));
  for (const json& range : list(node, "podCIDRs")) config.pod_cidrs.push_back(cidr(range.get<std::string>()));
  if (!config.pod_cidrs.empty()) config.detect_local = {LocalDetector::Mode::cluster_cidr, config.pod_cidrs, ""};
  config.masquerade_all = node.at("masqueradeAll");
  config.localhost_node_ports = node.at("localhostNodePorts");
  for (const json& range : list(node, "nodePortAddresses")) {
    config.node_port_addresses.push_back(cidr(range.get<std::string>()));
  }
  return config;
}

bool serves(const json& slice, const json& service) {
  const json& metadata = service.at("metadata");
  return slice.at("kind") == "EndpointSlice" && slice.at("metadata").at("namespace") == metadata.at("namespace") &&
         slice.at("metadata").at("labels").at("kubernetes.io/service-name") == metadata.at("name");
}

void add_endpoints(const json& slice, const json& port, Service& service, ScenarioObjects& out) {
  for (const json& slice_port : list(slice, "ports")) {
    if (slice_port.value("name", "") != port.value("name", "") || protocol(slice_port) != service.protocol) continue;
    for (const json& endpoint : list(slice, "endpoints")) {
      if (!endpoint.value("hints", json()).is_null()) out.inexpressible = "hints";
      if (!condition(endpoint, "ready", true)) {
        if (condition(endpoint, "serving", true)) out.inexpressible = "serving-terminating endpoints";
        continue;
      }
      const net::Address address = ip(endpoint.at("addresses").at(0).get<std::string>());
      if (address.family() != service.family()) continue;
      service.endpoints.push_back({{address, slice_port.at("port")}, endpoint.value("nodeName", ""), 1});
    }
  }
}

void add_service(const json& object, const json& objects, ScenarioObjects& out) {
  const json& spec = object.at("spec");
  for (const json& external : list(spec, "externalIPs")) out.external_addresses.insert(ip(external.get<std::string>()));
  const json balancer = object.value("status", json::object()).value("loadBalancer", json::object());
  for (const json& ingress : list(balancer, "ingress")) {
    if (ingress.contains("ip")) out.external_addresses.insert(ip(ingress.at("ip").get<std::string>()));
  }
  for (const json& cluster_ip : list(spec, "clusterIPs")) {
    for (const json& port : spec.at("ports")) {
      Service service;
      service.cluster_ip = ip(cluster_ip.get<std::string>());
      service.name = object.at("metadata").at("namespace").get<std::string>() + "/" +
                     object.at("metadata").at("name").get<std::string>() + ":" + port.value("name", "") + "@" +
                     service.cluster_ip->to_string();
      service.protocol = protocol(port);
      service.port = port.at("port");
      service.node_port = port.value("nodePort", std::uint16_t{0});
      service.external_policy = policy(spec, "externalTrafficPolicy");
      service.internal_policy = policy(spec, "internalTrafficPolicy");
      for (const json& slice : objects) {
        if (serves(slice, object)) add_endpoints(slice, port, service, out);
      }
      out.services.push_back(std::move(service));
    }
  }
}

}  // namespace

ScenarioObjects translate(const json& scenario) {
  ScenarioObjects result;
  result.node = translate_node(scenario.at("node"));
  const json& objects = scenario.at("objects");
  for (const json& object : objects) {
    if (object.at("kind") == "Service") add_service(object, objects, result);
  }
  return result;
}

}  // namespace limpet::service
