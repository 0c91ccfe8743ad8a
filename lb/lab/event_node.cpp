#include "lb/lab/event_node.h"

#include <unordered_map>

#include <net/if.h>

#include "lb/lab/described_node.h"

namespace limpet::lab {

store::Result<EventNode> EventNode::open(const service::NodeConfig& config) {
  auto node = described_node(config, "");
  if (!node) return node.error();
  const bool described = config.node_ip || !config.addresses.empty();
  return EventNode(std::move(node->view), described);
}

store::Result<std::uint32_t> EventNode::interface(const std::string& name) {
  if (const auto known = known_.find(name); known != known_.end()) return known->second;
  std::uint32_t index = 0;
  if (described_) {
    index = static_cast<std::uint32_t>(known_.size() + 1);
  } else if (index = if_nametoindex(name.c_str()); index == 0) {
    return store::Error{
        store::ErrorKind::configuration,
        "'" + name + "' is no interface of this machine; describe the node with node.nodeIP to name any"};
  }
  known_.emplace(name, index);
  if (described_) {
    std::unordered_map<std::uint32_t, std::string> names;
    for (const auto& [known_name, known_index] : known_) names.emplace(known_index, known_name);
    view_ = node::NodeView(view_.addresses(), {}, std::move(names));
  }
  return index;
}

}  // namespace limpet::lab
