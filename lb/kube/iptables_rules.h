// iptables_rules.h: declared services as the rules that kube-proxy's iptables mode would write for them.
//
//   Config, NodeView, family ──▶ text     tables nat and filter, as iptables-restore (ip6tables-restore) loads them
//                            └─▶ notes    where the kernel will do otherwise than limpet, and what is left out
//
// One family, one program, as kube-proxy has it: what iptables-restore loads is of one family. Services come in the
// order of the configuration (service_rules.h), around them what is always there (frame_rules.h).
//
// Rules decide what limpet decides but for what is noted, and but for this, in which they are kube-proxy's:
//
//   with localhostNodePorts, what others send to 127.0.0.0/8 and no service takes is dropped
//   a connection from a VIP to itself is masqueraded only as any other from there
//   a clusterIP without endpoints that is also an address of the node is refused to the node's own processes only
//
// Pure; any thread. O(services + endpoints · log).
#pragma once

#include <string>
#include <vector>

#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::kube {

struct ExportedRules {
  std::string text;
  std::vector<std::string> notes;  // "default/web:http: …"
  std::size_t services = 0;        // that are in it
};

/// `config` with its Kubernetes objects read; `view`: the node that is exported for.
ExportedRules export_rules(const service::Config& config, const node::NodeView& view, net::Family family);

}  // namespace limpet::kube
