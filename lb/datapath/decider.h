// decider.h: the seam. What should become of a new connection?
//
//   Pipeline ── decide() once per new connection ──▶ Decider ──▶ Decision {dnat | reject | drop | none}
//            ── still_valid() per packet of a UDP flow: one load
//            ── confirm() once per flow, when the client has proved itself
//
// A Decider is all that limpet knows of services; the Pipeline is all that it knows of packets. Implementations are
// const in their configuration and safe to call from every worker at once. Time, randomness and the node's view are
// parameters.
#pragma once

#include <cstdint>
#include <string_view>

#include "conntrack/flow/affinity_name.h"
#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/datapath/hook.h"
#include "lb/node/node_view.h"
#include "lb/pick/rng.h"

namespace limpet::datapath {

/// The first packet of a connection, as it stood when it was diverted.
struct NewConnection {
  net::Tuple tuple;
  Hook hook = Hook::prerouting;
  std::uint32_t in_interface = 0;  // index; 0 at OUTPUT
  std::uint32_t mark = 0;
  std::uint8_t ttl = 0;
  /// A TCP packet from the middle of a connection that limpet has no flow for: only a client with a live affinity may
  /// be given an endpoint (the one that it knows), anybody else is dropped with Reason::midstream. Nothing is assigned.
  bool known_clients_only = false;
  /// TCP, SCTP: no packet that opens a connection. Somebody may know it of whom limpet knows nothing.
  bool midstream = false;
};

/// The one vocabulary of outcomes, here and in `explain`.
enum class Action : std::uint8_t {
  dnat,    // send it to an endpoint
  reject,  // refuse it: ICMP port unreachable (or TCP RST)
  drop,    // discard it silently
  none,    // not ours: leave it alone
};
/// What the affinity table said.
enum class AffinityOutcome : std::uint8_t {
  none,     // the service has no affinity
  miss,     // an unknown client: a fresh choice
  hit,      // a known client: its endpoint
  expired,  // known once, too long ago: a fresh choice
  moved,    // known, but its endpoint is no longer selectable: a fresh choice
};
/// Why a client has lost the endpoint that it was known for.
enum class Move : std::uint8_t {
  none,
  gone,       // it has left the service port
  drained,    // it takes no new connections
  not_ready,  // it is not among those that this connection may choose from
};
/// Why.
enum class Reason : std::uint8_t {
  affinity,       // dnat: the client's remembered endpoint
  picked,         // dnat: a fresh choice
  no_endpoints,   // reject: the service has no usable endpoint anywhere
  no_local,       // drop: a Local policy, and no endpoint on this node
  source_range,   // drop: a load balancer's address, and loadBalancerSourceRanges leave the source out
  no_such_port,   // reject: a clusterIP of another port's (compat: nftables)
  unallocated,    // drop: nobody's address in serviceCIDRs (compat: nftables)
  ruled,          // reject, drop: a rule of an iptables program says so
  midstream,      // drop: known_clients_only, and the client has no live affinity
  unrefused,      // none: nobody can be chosen, but this source is not refused the address (compat: iptables)
  not_a_service,  // none: no service has this destination
};

std::string_view to_string(Action action) noexcept;
std::string_view to_string(AffinityOutcome outcome) noexcept;

struct Decision {
  Action action = Action::none;
  Reason reason = Reason::not_a_service;
  AffinityOutcome affinity = AffinityOutcome::none;
  bool by_rules = false;              // an iptables program's, whose connections are counted apart
  bool masquerade = false;            // dnat: hide the client behind the egress address
  EndpointId endpoint_id;             // dnat; none: of the endpoint that it goes to by itself
  net::AddressPort endpoint;          // dnat
  flow::AffinityName remembered;      // dnat: empty if nothing was
  bool refreshed_by_packets = false;  // dnat: by each packet of the client, not its new connections alone
  Move move = Move::none;             // AffinityOutcome::moved: why
};

class Decider {
 public:
  explicit Decider(const EndpointSlots& slots) noexcept : slots_(slots) {}
  Decider(const Decider&) = delete;
  Decider& operator=(const Decider&) = delete;
  virtual ~Decider() = default;

  virtual Decision decide(const NewConnection& connection, const node::NodeView& node, flow::Instant now,
                          pick::Rng& rng) = 0;
  /// The client (the connection's source) has answered the endpoint: what was remembered for it is no longer provisional.
  virtual void confirm(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) = 0;
  /// The client has sent another packet of a connection whose Decision was refreshed_by_packets.
  virtual void refresh(const net::Address& /*client*/, const flow::AffinityName& /*remembered*/,
                       flow::Instant /*now*/) {}
  /// May a UDP flow stay where it is? Not virtual: one load.
  bool still_valid(EndpointId endpoint) const noexcept { return slots_.is(endpoint, EndpointSlots::serving); }
  /// What a flow is given that goes to no service's endpoint: still_valid() until services are others.
  EndpointId nobody() const noexcept { return slots_.nobody(); }

 private:
  const EndpointSlots& slots_;
};

}  // namespace limpet::datapath
