#include <algorithm>

#include "lb/service/config_parts.h"
#include "lb/service/node_rules.h"

namespace limpet::service {
namespace {

using Mode = LocalDetector::Mode;

const format::Choice<Mode> kModes{{"ClusterCIDR", Mode::cluster_cidr},
                                  {"NodeCIDR", Mode::node_cidr},
                                  {"BridgeInterface", Mode::bridge_interface},
                                  {"InterfaceNamePrefix", Mode::interface_name_prefix},
                                  {"None", Mode::none}};

bool by_cidr(Mode mode) {
  return mode == Mode::cluster_cidr || mode == Mode::node_cidr;
}

/// The interface that `mode` is about: its key must be there, and only there.
void read_interface(Fields& detector, std::string_view key, Mode mode, LocalDetector& out) {
  const format::Text name{"the name of an interface, as in cbr0"};
  std::string interface;
  if (out.mode == mode) {
    if (detector.read_required(key, name, interface)) out.interface = interface;
  } else if (detector.read(key, name, interface)) {
    detector.error(key, std::string(key) + " does not belong to this mode; remove it or change the mode");
  }
}

void read_detector(Fields& node, NodeConfig& config) {
  LocalDetector& out = config.detect_local;
  if (!config.pod_cidrs.empty()) out.mode = Mode::cluster_cidr;
  node.section("detectLocal", [&](Fields& detector) {
    detector.read_required("mode", kModes, out.mode);
    read_interface(detector, "bridgeInterface", Mode::bridge_interface, out);
    read_interface(detector, "interfaceNamePrefix", Mode::interface_name_prefix, out);
    if (by_cidr(out.mode) && config.pod_cidrs.empty()) {
      detector.warning("mode", "this mode recognises pods by podCIDRs, and there are none: no source counts as a pod");
    }
  });
  if (by_cidr(out.mode)) out.cidrs = config.pod_cidrs;
  if (by_cidr(out.mode) && out.cidrs.empty()) out.mode = Mode::none;
}

/// A list of CIDRs, or the word `primary`, alone or as the only element.
void read_node_port_addresses(Fields& node, NodeConfig& config) {
  constexpr std::string_view kKey = "nodePortAddresses";
  const YAML::Node value = node.find(kKey);
  if (!value.IsDefined()) return;
  const auto is_primary = [](const YAML::Node& word) { return word.IsScalar() && word.Scalar() == "primary"; };
  if (is_primary(value) || (value.IsSequence() && value.size() == 1 && is_primary(value[0]))) {
    config.node_port_primary_only = true;
  } else if (value.IsScalar()) {
    node.error(kKey, "nodePortAddresses: cannot use '" + value.Scalar() + "'; write a list of CIDRs, or primary");
  } else {
    node.read_list(kKey, format::Cidr{}, config.node_port_addresses);
  }
}

/// nodePortAddresses may shut out what localhostNodePorts lets in.
void read_localhost(Fields& node, NodeConfig& config) {
  if (!node.read("localhostNodePorts", format::Flag{}, config.localhost_node_ports) || !config.localhost_node_ports) {
    return;
  }
  const auto localhost = net::Address::from_v4(0x7f000001);
  const bool lets_in = NodeRules(config).chooses_all(net::Family::v4) ||
                       std::ranges::any_of(config.node_port_addresses,
                                           [&](const net::Prefix& cidr) { return cidr.contains(localhost); });
  if (!lets_in) {
    node.warning("localhostNodePorts", "localhostNodePorts has no effect: nodePortAddresses leaves 127.0.0.1 out");
  }
}

/// kube-proxy's nftables mode asks for serviceCIDRs, and listens on primary addresses alone unless it is told otherwise.
void read_compat(Fields& node, NodeConfig& config) {
  const format::Choice<Compat> modes{{"iptables", Compat::iptables}, {"nftables", Compat::nftables}};
  node.read("compat", modes, config.compat);
  node.read_list("serviceCIDRs", format::Cidr{}, config.service_cidrs);
  if (config.compat == Compat::nftables) {
    if (!node.has("nodePortAddresses")) config.node_port_primary_only = true;
    if (config.localhost_node_ports) {
      node.warning("localhostNodePorts", "localhostNodePorts has no effect with compat: nftables");
    }
  } else if (!config.service_cidrs.empty()) {
    node.warning("serviceCIDRs", "serviceCIDRs has no effect without compat: nftables");
  }
}

}  // namespace

void read_node(Fields& top, NodeConfig& config) {
  top.section("node", [&](Fields& node) {
    node.read("name", format::Text{"the node's name in Kubernetes"}, config.name);
    node.read("nodeIP", format::UnicastAddress{}, config.node_ip);
    node.read_list("addresses", format::Address{}, config.addresses);
    node.read_list("podCIDRs", format::Cidr{}, config.pod_cidrs);
    node.read("masqueradeAll", format::Flag{}, config.masquerade_all);
    read_detector(node, config);
    read_node_port_addresses(node, config);
    read_localhost(node, config);
    node.read("zone", format::Text{"a zone's name"}, config.zone);
    read_compat(node, config);
  });
}

}  // namespace limpet::service
