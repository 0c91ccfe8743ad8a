// described_node.h: the node that offline commands reason about.
//
// It is what the configuration says of it (node.nodeIP, node.addresses): then the answer is the same on every machine, and
// there is one interface, of whatever name is given. Only a configuration that says neither means the machine it is read on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "conntrack/store/result.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::lab {

struct DescribedNode {
  node::NodeView view;
  std::uint32_t in_interface = 0;  // of packets that come in; 0: no interface of that name (or none was named)
};

/// `in_interface`: the name of the interface that packets come in by; empty: unknown. Errors: the machine's addresses cannot
/// be read.
store::Result<DescribedNode> described_node(const service::NodeConfig& node, const std::string& in_interface);

}  // namespace limpet::lab
