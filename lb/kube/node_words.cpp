#include "lb/kube/node_words.h"

#include <algorithm>

namespace limpet::kube {
namespace {

using service::LocalDetector;

std::vector<std::string> pod_conditions(const LocalDetector& detector, net::Family family) {
  using Mode = LocalDetector::Mode;
  std::vector<std::string> result;
  switch (detector.mode) {
    case Mode::none:
      break;
    case Mode::cluster_cidr:
    case Mode::node_cidr:
      for (const net::Prefix& cidr : detector.cidrs) {
        if (cidr.address().family() == family) result.push_back("-s " + cidr.to_string());
      }
      break;
    case Mode::bridge_interface:
      result.push_back("-i " + detector.interface);
      break;
    case Mode::interface_name_prefix:
      result.push_back("-i " + detector.interface + "+");
      break;
  }
  return result;
}

std::vector<std::string> node_port_conditions(const service::NodeConfig& node, const node::NodeView& view,
                                              net::Family family, bool loopback_too) {
  const service::NodeRules rules(node);
  if (rules.chooses_all(family)) {
    const std::string local = "-m addrtype --dst-type LOCAL";
    if (family == net::Family::v6) return {"! -d ::1/128 " + local};
    return {loopback_too ? local : "! -d 127.0.0.0/8 " + local};
  }
  std::vector<net::Address> addresses = rules.node_port_addresses(view);
  std::erase_if(addresses, [family](const net::Address& address) { return address.family() != family; });
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  std::vector<std::string> result;
  for (const net::Address& address : addresses) result.push_back("-d " + exact(address));
  return result;
}

}  // namespace

std::string exact(const net::Address& address) {
  return net::Prefix(address, address.bits()).to_string();
}

NodeWords::NodeWords(const service::Config& config, const node::NodeView& view, net::Family of)
    : family(of),
      pods(pod_conditions(config.node.detect_local, of)),
      primary(service::NodeRules(config.node).primary(of, view)),
      masquerade_all(config.node.masquerade_all),
      strict(config.node.compat == service::Compat::nftables),
      localhost_node_ports(of == net::Family::v4 && config.node.localhost_node_ports && !strict),
      tcp_reset(config.reject_with == service::RejectWith::tcp_reset) {
  node_ports = node_port_conditions(config.node, view, of, localhost_node_ports);
  for (const net::Prefix& cidr : config.node.service_cidrs) {
    if (strict && cidr.address().family() == of) service_cidrs.push_back(cidr);
  }
}

std::string NodeWords::refusal(net::Protocol protocol) const {
  const bool reset = tcp_reset && protocol == net::Protocol::tcp;
  const char* const unreachable = family == net::Family::v4 ? "icmp-port-unreachable" : "icmp6-port-unreachable";
  return std::string("-j REJECT --reject-with ") + (reset ? "tcp-reset" : unreachable);
}

}  // namespace limpet::kube
