#include "lb/lab/described_node.h"

#include <utility>
#include <vector>

#include <net/if.h>

#include "lb/node/node_monitor.h"

namespace limpet::lab {
namespace {

constexpr std::uint32_t kTheInterface = 1;

node::NodeView offline_view(const service::NodeConfig& node, const std::string& in_interface) {
  std::vector<node::InterfaceAddress> owned;
  const auto own = [&](const net::Address& address) {
    owned.push_back({.interface = kTheInterface, .address = address, .prefix_length = address.bits()});
  };
  if (node.node_ip) own(*node.node_ip);  // first: the egress address
  for (const net::Address& address : node.addresses) own(address);
  return node::NodeView(std::move(owned), {}, {{kTheInterface, in_interface}});
}

}  // namespace

store::Result<DescribedNode> described_node(const service::NodeConfig& node, const std::string& in_interface) {
  if (node.node_ip || !node.addresses.empty()) {
    return DescribedNode{offline_view(node, in_interface), in_interface.empty() ? 0 : kTheInterface};
  }
  const auto monitor = node::NodeMonitor::open();
  if (!monitor) return monitor.error();
  auto view = monitor->snapshot();
  if (!view) return view.error();
  return DescribedNode{std::move(*view), in_interface.empty() ? 0 : if_nametoindex(in_interface.c_str())};
}

}  // namespace limpet::lab
