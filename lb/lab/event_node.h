// event_node.h: the node that a timeline happens on, where events name interfaces as they come.
//
// As described_node.h: what the configuration says of the node, and then it has every interface that an event names; else
// the machine, with its own interfaces. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "conntrack/store/result.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::lab {

class EventNode {
 public:
  /// Errors: the machine's addresses cannot be read.
  static store::Result<EventNode> open(const service::NodeConfig& config);

  const node::NodeView& view() const noexcept { return view_; }
  /// Its index. The view may be another one afterwards. Errors: configuration: the machine has none of that name.
  store::Result<std::uint32_t> interface(const std::string& name);

 private:
  EventNode(node::NodeView view, bool described) : view_(std::move(view)), described_(described) {}

  node::NodeView view_;
  bool described_;                              // by the configuration
  std::map<std::string, std::uint32_t> known_;  // interfaces that were named so far
};

}  // namespace limpet::lab
