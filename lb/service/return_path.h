// return_path.h: will the endpoints' replies come back through this node, where alone they can be translated?
//
// Replies to a masqueraded connection do: they are addressed to the node. Where the client's address is kept, the
// endpoint answers the client itself, by its own routes:
//
//   endpoint    on this node     its nodeName, its address is one of the node's, or in the node's own pod range
//                                (detectLocal NodeCIDR): the reply comes back
//               elsewhere        another nodeName: past this node, unless the client is on it
//               not stated       nobody can tell from the configuration
//   client      a pod or process of this node: comes back whatever the endpoint. Anybody else: as the endpoint
//
// Worth a warning, since the connection then hangs without a trace here:
//   masquerade_never   `masquerade: never`, a door that leads others than this node's own to every endpoint, and one
//                      that is elsewhere or not stated. (`nodeName: THIS` says of one that it is behind this node)
//   no_detector        `masquerade: auto`, a clusterIP, nothing that tells pods from others, an endpoint elsewhere
//   localhost          localhostNodePorts and `never`: who comes from 127.0.0.1 cannot be answered by another machine
// Not, because they are right in kube-proxy's table: Local policies (endpoints of this node only), pods, nodePorts
// under Cluster. Nor a configuration under `auto` that names no nodes: its endpoints may well be behind this one.
//
// Endpoints of weight 0 do not count. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "lb/service/node_rules.h"
#include "lb/service/service.h"

namespace limpet::service {

struct LostReplies {
  enum class Cause : std::uint8_t { masquerade_never, no_detector, localhost };
  Cause cause{};
  std::size_t endpoints = 0;  // that are not known to be on this node
  const Endpoint* first = nullptr;
};

/// nullopt: they come back, as far as the configuration tells. The result points into `service`.
std::optional<LostReplies> lost_replies(const Service& service, const NodeConfig& node);

/// Is its clusterIP an address of this node, as far as the configuration tells? What follows from that, in words.
std::optional<std::string> own_vip(const Service& service, const NodeConfig& node);
/// Those words.
std::string describe_own_vip(const net::Address& vip);

/// What is so and what to do, in a sentence. `more`: further services with the same cause.
std::string describe(const LostReplies& lost, const Service& service, const NodeConfig& node, std::size_t more = 0);

/// Complains of many services: of each, but once of all those that only lack a local detector. `Where`: what a complaint
/// is shown at.
template <typename Where>
class LostReplyComplaints {
 public:
  explicit LostReplyComplaints(const NodeConfig& node) : node_(node) {}

  /// complain(where, message): at `cause`, or later at `name`.
  template <typename Complain>
  void add(const Service& service, const Where& cause, const Where& name, const Complain& complain) {
    const auto lost = lost_replies(service, node_);
    if (!lost) return;
    if (lost->cause != LostReplies::Cause::no_detector) {
      complain(cause, describe(*lost, service, node_));
    } else if (undetected_++ == 0) {
      first_ = service;
      at_ = name;
    }
  }
  template <typename Complain>
  void finish(const Complain& complain) const {
    if (undetected_ != 0) complain(at_, describe(*lost_replies(first_, node_), first_, node_, undetected_ - 1));
  }

 private:
  const NodeConfig& node_;
  std::size_t undetected_ = 0;
  Service first_;
  Where at_{};
};

}  // namespace limpet::service
