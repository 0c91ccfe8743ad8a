#include "tests/unit/service/scenario.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "lb/service/kubernetes_reader.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using nlohmann::json;

/// `key` of `object`, or an empty array if it is missing or null.
json list(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? json::array() : *found;
}

std::vector<net::Prefix> cidrs(const json& object, const char* key) {
  std::vector<net::Prefix> result;
  for (const json& range : list(object, key)) result.push_back(cidr(range.get<std::string>()));
  return result;
}

}  // namespace

std::vector<json> load_scenarios() {
  const char* const named = std::getenv("LIMPET_SCENARIOS");
  std::istringstream paths(named != nullptr ? named
                                            : LIMPET_SOURCE_DIR
                               "/tests/data/kube_proxy_scenarios.json:" LIMPET_SOURCE_DIR
                               "/tests/data/kube_proxy_scenarios_nftables.json");
  std::vector<json> result;
  for (std::string path; std::getline(paths, path, ':');) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error(path + " cannot be read");
    for (json& scenario : json::parse(file)) result.push_back(std::move(scenario));
  }
  return result;
}

NodeConfig scenario_node(const json& scenario) {
  const json& node = scenario.at("node");
  NodeConfig config;
  config.name = node.at("name");
  config.node_ip = ip(node.at("nodeIP").get<std::string>());
  for (const json& address : node.at("addresses")) config.addresses.push_back(ip(address.get<std::string>()));
  config.pod_cidrs = cidrs(node, "podCIDRs");
  if (!config.pod_cidrs.empty()) config.detect_local = {LocalDetector::Mode::cluster_cidr, config.pod_cidrs, ""};
  config.masquerade_all = node.at("masqueradeAll");
  config.localhost_node_ports = node.at("localhostNodePorts");
  config.node_port_addresses = cidrs(node, "nodePortAddresses");
  if (const json zone = node.value("zone", json()); zone.is_string()) config.zone = zone.get<std::string>();
  config.service_cidrs = cidrs(node, "serviceCIDRs");
  if (node.contains("serviceCIDRs")) config.compat = Compat::nftables;
  return config;
}

KubernetesObjects scenario_objects(const json& scenario) {
  KubernetesObjects objects(scenario.at("node").at("name").get<std::string>());
  ReadObjects read = read_kubernetes(scenario.at("objects").dump(1), scenario.at("name").get<std::string>());
  for (const Diagnostic& diagnostic : read.diagnostics) throw std::runtime_error(to_string(diagnostic));
  for (KubernetesObject& object : read.objects) {
    std::visit([&](auto& each) { objects.apply(std::move(each)); }, object);
  }
  return objects;
}

}  // namespace limpet::service
