// snapshot.h: everything that is balanced, as one immutable value. What would become of a connection, before any
// choice.
//
//   destination ── (protocol, address, port) ──▶ ServicePort        clusterIPs, externalIPs, load balancers' VIPs: looked
//               │                                                   up first
//               ── (protocol, family, port)  ──▶ ServicePort        nodePorts, if the address accepts them
//               (node_rules.h) ── neither                   ──▶ none
//
//   destination    policy                 source    set       masquerade (automatic)
//   clusterIP      internalTrafficPolicy  pod       policy's  no
//                                         others    policy's  yes; without a local detector no
//   nodePort,      external… Cluster      any       cluster   yes
//   externalIP,    external… Local        pod       cluster   no       (short circuit: the cluster's own traffic)
//   load balancer                         node      cluster   yes
//                                         outside   local     no       (the client's address is kept)
//
//   load balancer: before all that, a source outside loadBalancerSourceRanges is dropped. If the ranges hold the node's
//   own address, the VIP may speak to itself: so the node's packets look that have been sent to it
//
//   masqueradeAll                  yes for every clusterIP
//   source = destination (a VIP on this node itself)   yes: the reply must come back through the node
//   chosen endpoint = source       yes (hairpin), known only after the choice
//   `masquerade: always|never`     overrides them all, hairpin too
//
//   no usable endpoint anywhere → reject;  set empty → drop
//
//   compat: iptables refuses by rules of the table filter (KUBE-EXTERNAL-SERVICES), which ask otherwise than those of nat:
//   nodePort on an address of the node    no usable endpoint anywhere → reject; external… Local and none here → drop,
//   that takes none                       whoever asks; but connections that are under way are somebody else's → none
//   a process of the node (OUTPUT) to     → none where others are refused, for OUTPUT does not ask that chain; INPUT
//   an externalIP, a load balancer        does, so what the node itself owns is refused to it, too
//
//   compat: nftables    another port of a clusterIP → reject;  an address in serviceCIDRs that is no clusterIP → drop;
//                       neither where the node itself owns the address: its other ports are its own
//
// Source: kube-proxy's iptables mode (pkg/proxy/iptables/proxier.go, v1.34), chains KUBE-SVC, -SVL, -EXT, -FW; its
// nftables mode (pkg/proxy/nftables/proxier.go, v1.34), chain cluster-ips-check.
// A changed snapshot shares with the former all that the change leaves alone (cow_map.h): ServicePorts, and the tables by
// which they are found. So changed() costs the services named in it, however many others there are. match() is pure, O(1)
// in services and endpoints, allocates nothing; any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"
#include "lb/service/cow_map.h"
#include "lb/service/doors.h"
#include "lb/service/identities.h"
#include "lb/service/node_rules.h"
#include "lb/service/service_port.h"

namespace limpet::service {

/// The rule that settles whether a connection is masqueraded.
enum class MasqueradeRule : std::uint8_t {
  no_detector,       // no: clusterIP, and pods cannot be told from others
  from_pod,          // no: a pod's traffic, replies find back by themselves
  local_policy,      // no: externalTrafficPolicy Local keeps the client's address
  mode_never,        // no: `masquerade: never`
  everything,        // yes: masqueradeAll
  not_from_pod,      // yes: clusterIP from outside the pods
  own_vip,           // yes: the source is the VIP itself
  external_cluster,  // yes: from outside, or by a door for those, under externalTrafficPolicy Cluster
  from_node,         // yes: by such a door under Local, from the node itself
  hairpin,           // yes: the chosen endpoint is the source
  mode_always,       // yes: `masquerade: always`
};
constexpr bool masquerades(MasqueradeRule rule) noexcept {
  return rule >= MasqueradeRule::everything;
}

struct Match {
  const ServicePort* port = nullptr;  // nullptr: no service has this destination. Lives as long as the snapshot
  Door door = Door::cluster_ip;
  bool listens = true;  // false: a nodePort, on an address that takes none; it is refused
  Origin origin = Origin::outside;
  Set set = Set::cluster;
  MasqueradeRule masquerade = MasqueradeRule::no_detector;
  datapath::Action action = datapath::Action::none;  // dnat: an endpoint of `set` is to be chosen
  datapath::Reason reason = datapath::Reason::not_a_service;

  /// The rule once `endpoint` has been chosen for a connection from `source`.
  MasqueradeRule masquerade_to(const net::Address& endpoint, const net::Address& source) const noexcept {
    const bool hairpin = endpoint == source && masquerade != MasqueradeRule::mode_never;
    return hairpin && !masquerades(masquerade) ? MasqueradeRule::hairpin : masquerade;
  }
};

class Snapshot {
 public:
  using Ports = std::vector<std::shared_ptr<const ServicePort>>;

  /// `ids` as Identities gave them for the same services. Services do not collide (the reader and the Catalog see to it);
  /// of two that do, the first is found.
  Snapshot(const NodeConfig& node, std::span<const Service> services, std::vector<ServiceIds> ids,
           IcmpEcho echo = IcmpEcho::ignore);
  /// Of a whole configuration, under the names that `identities` gives. Errors: as Identities::assign.
  static store::Result<std::shared_ptr<const Snapshot>> build(
      const Config& config, Identities& identities,
      const Identities::SlotInUse& in_use = [](std::uint32_t) { return false; });

  /// This one without `gone`, which are of it, and with `made`.
  std::shared_ptr<const Snapshot> changed(std::span<const std::shared_ptr<const ServicePort>> gone,
                                          std::span<const std::shared_ptr<const ServicePort>> made) const;

  Match match(const datapath::NewConnection& connection, const node::NodeView& view) const;
  /// "ip:port" of each endpoint that the choice is made from, sorted as text; empty unless the action is dnat.
  std::vector<std::string> candidates(const Match& match) const;

  /// Echo requests to a clusterIP are diverted if they are to be answered, but where the node owns the address: there
  /// its kernel answers. So are whole clusterIPs and serviceCIDRs, with compat: nftables.
  datapath::DiversionPlan diversion(const node::NodeView& view) const;
  /// What these ports alone ask for, each entry as often as they do, in no order; nothing for the node itself.
  datapath::DiversionPlan diversion_of(std::span<const std::shared_ptr<const ServicePort>> ports,
                                       const node::NodeView& view) const;
  const NodeRules& node() const noexcept { return node_; }
  /// All of them, in the order in which they came; what takes the place of one of its name takes its rank, too.
  /// O(services log services): for who looks on.
  Ports ports() const;
  std::size_t size() const noexcept { return ports_.size(); }
  /// The same in no order, at the price of a look at each.
  template <typename Visit>
  void for_each_port(Visit&& visit) const {
    ports_.for_each([&](const PortName&, const Listed& listed) { visit(*listed.port); });
  }
  /// nullptr: there is none.
  std::shared_ptr<const ServicePort> port(const std::string& name, net::Family family) const;

 private:
  struct Entry {
    const ServicePort* port = nullptr;
    Door door = Door::cluster_ip;
  };
  /// By VIP, or by nodePort: then the address is the unspecified one of its family.
  using Dispatch = CowMap<datapath::L4Address, Entry, datapath::L4Hash>;
  using PortName = std::pair<std::string, net::Family>;
  struct NameHash {
    std::size_t operator()(const PortName& name) const noexcept {
      return std::hash<std::string>{}(name.first) + static_cast<std::size_t>(name.second);
    }
  };

  struct Listed {
    std::uint64_t rank = 0;
    std::shared_ptr<const ServicePort> port;
  };

  void add(const std::shared_ptr<const ServicePort>& port, std::uint64_t rank);
  void remove(const ServicePort& port);
  Match match_cluster_ip(Match match, const datapath::NewConnection& connection) const;
  Match match_external(Match match, const datapath::NewConnection& connection, const node::NodeView& view) const;
  /// No service has this destination.
  Match match_none(const net::Tuple& tuple, const node::NodeView& view) const;
  bool admits(const ServicePort& port, const net::Tuple& tuple, const node::NodeView& view) const;
  /// Is it the node's, by the configuration or by the NodeView?
  bool is_own(const net::Address& address, const node::NodeView& view) const;
  /// Is its nodePort refused on every address of the node, whichever of them take nodePorts?
  bool refuses_everywhere(const ServicePort& port) const noexcept;

  NodeRules node_;
  IcmpEcho echo_;
  CowMap<PortName, Listed, NameHash> ports_;
  std::uint64_t next_rank_ = 0;
  Dispatch vips_;
  Dispatch node_ports_;
  CowMap<net::Address, std::uint32_t, node::AddressHash> cluster_ips_;  // with how many ServicePorts they have
};

}  // namespace limpet::service
