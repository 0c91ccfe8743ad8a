// A miss at a destination hook: a new flow, if a decider says so.
#include <utility>

#include "lb/datapath/pipeline.h"

namespace limpet::datapath {

using flow::Flow;
using flow::KeyRole;
using flow::LockedFlow;

namespace {

/// Look at this many records for one to spare when the flow table is full.
constexpr std::size_t kMakeRoomBudget = 64;
/// Ports tried before a connection is given up: each miss needs another flow on the very same pair.
constexpr unsigned kPortAttempts = 16;

Counter counter_of(Move move) noexcept {
  switch (move) {
    case Move::drained:
      return Counter::affinity_moved_drained;
    case Move::not_ready:
      return Counter::affinity_moved_not_ready;
    case Move::gone:
    case Move::none:
      break;
  }
  return Counter::affinity_moved_gone;
}

Counter drop_counter(Reason reason) noexcept {
  switch (reason) {
    case Reason::midstream:
      return Counter::dropped_midstream;
    case Reason::ruled:
      return Counter::dropped_by_rule;
    case Reason::source_range:
      return Counter::dropped_source_range;
    case Reason::unallocated:
      return Counter::dropped_unallocated;
    default:
      return Counter::dropped_no_local;
  }
}

/// What a service only does not refuse is still the service's, which may have endpoints by the next packet.
bool is_left_alone(const Decision& decision) noexcept {
  return decision.action == Action::none && decision.reason != Reason::unrefused;
}

Counter affinity_counter(const Decision& decision) noexcept {
  switch (decision.affinity) {
    case AffinityOutcome::hit:
      return Counter::affinity_hit;
    case AffinityOutcome::expired:
      return Counter::affinity_expired;
    case AffinityOutcome::moved:
      return counter_of(decision.move);
    case AffinityOutcome::none:
    case AffinityOutcome::miss:
      break;
  }
  return Counter::affinity_miss;
}

}  // namespace

std::optional<Verdict> Pipeline::begin(Crossing& crossing) {
  if (const auto why = obstacle(crossing)) [[unlikely]]
    return refuse_unfit(*why, crossing);
  LockedFlow flow;
  switch (flows_.create(crossing.view.tuple, flow)) {
    case flow::FlowTable::Create::created:
      break;
    case flow::FlowTable::Create::exists:
      return std::nullopt;
    case flow::FlowTable::Create::full:
      return make_room(crossing);
  }

  const bool midstream = !net::opens_connection(crossing.view);
  const EndpointId nobody = decider_.nobody();
  const Decision decision = decide(crossing, midstream && options_.midstream != MidstreamPolicy::pick);
  if (is_left_alone(decision) && options_.track_direct) {
    return begin_direct(*flow, decision.endpoint_id ? decision.endpoint_id : nobody, crossing);
  }
  if (decision.action != Action::dnat) {
    flows_.remove(std::move(flow));
    return refuse(decision, crossing);
  }

  flow->endpoint = decision.endpoint;
  flow->endpoint_id = decision.endpoint_id;
  flow->remembered = decision.remembered;
  flow->refreshes_affinity = decision.refreshed_by_packets;
  flow->masquerade = decision.masquerade;
  if (midstream) flow->adopt();
  if (!link_middle(*flow, crossing)) {
    flows_.remove(std::move(flow));
    return crossing.drop(Counter::dropped_no_port);
  }
  flows_.commit(*flow);
  crossing.worker.counters.add(Counter::new_flows);
  if (decision.by_rules) crossing.worker.counters.add(Counter::ruled_flows);
  if (decision.affinity != AffinityOutcome::none) crossing.worker.counters.add(affinity_counter(decision));
  crossing.worker.load.on(FlowEvent::opened, decision.endpoint_id);
  return request(*flow, crossing);
}

Decision Pipeline::ask(const Crossing& crossing, bool known_clients_only) {
  const net::PacketView& view = crossing.view;
  return decider_.decide({.tuple = view.tuple,
                          .hook = crossing.packet.hook,
                          .in_interface = crossing.packet.in_interface,
                          .mark = crossing.packet.mark,
                          .ttl = view.ttl,
                          .known_clients_only = known_clients_only,
                          .midstream = !net::opens_connection(view)},
                         crossing.node, crossing.now, crossing.worker.rng);
}

Decision Pipeline::decide(const Crossing& crossing, bool known_clients_only) {
  Decision decision = ask(crossing, known_clients_only);
  const net::PacketView& view = crossing.view;
  if (decision.action == Action::dnat) {
    if (decision.endpoint == view.tuple.destination && !decision.masquerade) {
      const EndpointId endpoint = decision.endpoint_id;
      decision = {};  // nothing to translate
      decision.endpoint_id = endpoint;
    } else if (!net::opens_connection(view) && options_.midstream == MidstreamPolicy::drop) {
      decision = {};
      decision.action = Action::drop;
      decision.reason = Reason::midstream;
    }
  }
  if (crossing.report != nullptr) crossing.report->decision = decision;
  return decision;
}

std::optional<Verdict> Pipeline::make_room(Crossing& crossing) {
  // Asked without consequences: only what will need a record may cost another flow its own.
  const Decision decision = decide(crossing, true);
  const bool welcomes_strangers = net::opens_connection(crossing.view) || options_.midstream == MidstreamPolicy::pick;
  const bool begins = decision.action == Action::dnat || (decision.reason == Reason::midstream && welcomes_strangers);
  if (!begins) return refuse(decision, crossing);

  Counters& counters = crossing.worker.counters;
  const bool room = flows_.make_room(kMakeRoomBudget, crossing.now, [&](const Flow& old) {
    counters.add(old.deadline < crossing.now ? Counter::expired_flows : Counter::evicted_flows);
    retire(old, crossing.now, crossing.worker);
  });
  if (!room) return crossing.drop(Counter::dropped_flow_table_full);
  return std::nullopt;
}

Verdict Pipeline::refuse(const Decision& decision, const Crossing& crossing) const noexcept {
  switch (decision.action) {
    case Action::reject: {
      Verdict verdict = crossing.drop(Counter::dropped_rejected);
      const bool reset = options_.reset_rejected_tcp && crossing.view.is_tcp();
      verdict.reply = reset ? net::ReplyKind::tcp_reset : net::ReplyKind::port_unreachable;
      return verdict;
    }
    case Action::drop:
      return crossing.drop(drop_counter(decision.reason));
    case Action::none:
    case Action::dnat:
      break;
  }
  return crossing.accept(Counter::accepted_not_a_service);
}

/// Nothing begins with a packet that could not be translated.
Verdict Pipeline::refuse_unfit(Counter why, Crossing& crossing) {
  const Decision decision = decide(crossing, true);  // without consequences
  const bool of_a_service = decision.action == Action::dnat || decision.reason == Reason::midstream;
  return of_a_service ? crossing.drop(why) : refuse(decision, crossing);
}

/// A connection made to an endpoint itself. Its record keeps the pair, so that no service's flow takes it.
Verdict Pipeline::begin_direct(Flow& flow, EndpointId endpoint, Crossing& crossing) {
  flow.direct = true;
  flow.endpoint = flow.service;
  flow.endpoint_id = endpoint;
  if (!net::opens_connection(crossing.view)) flow.adopt();
  flows_.commit(flow);
  crossing.worker.counters.add(Counter::direct_flows);
  return pass_direct(flow, crossing);
}

/// Services are others than when it began. Where it is still none's business, it keeps its record and its pair.
bool Pipeline::stays_direct(Flow& flow, const Crossing& crossing) {
  const EndpointId nobody = decider_.nobody();
  if (!is_left_alone(ask(crossing, true))) return false;
  flow.endpoint_id = nobody;
  return true;
}

bool Pipeline::link_middle(Flow& flow, Crossing& crossing) {
  if (link(flow, KeyRole::middle, crossing)) return true;
  crossing.worker.counters.add(Counter::tuple_clashes);
  for (unsigned attempt = 0; attempt < kPortAttempts; ++attempt) {
    flow.client_near.port = ports_.random_port(crossing.worker.rng());
    if (link(flow, KeyRole::middle, crossing)) return true;
  }
  return link_in_place_of_over(flow, KeyRole::middle, crossing);
}

// ---- pairs ----

bool Pipeline::link(Flow& flow, KeyRole role, Crossing& crossing) {
  if (flows_.link(flow, role)) return true;
  const flow::Ends ends = flow.ends(role);
  return retire_expired({flow.protocol, ends.near, ends.far}, crossing) && flows_.link(flow, role);
}

/// The endpoint may still be in TIME_WAIT there, and take a SYN for an old one: so only where nothing else is left.
bool Pipeline::link_in_place_of_over(Flow& flow, KeyRole role, Crossing& crossing) {
  if (!net::opens_connection(crossing.view)) return false;
  const flow::Ends ends = flow.ends(role);
  LockedFlow old = flows_.try_find({flow.protocol, ends.near, ends.far});
  if (!old || !old->over()) return false;
  end(std::move(old), crossing);
  crossing.worker.counters.add(Counter::ports_reclaimed);
  return flows_.link(flow, role);
}

/// Another record is locked. A flow that another worker has locked is in use, so it has not expired.
bool Pipeline::retire_expired(const net::Tuple& pair, Crossing& crossing) noexcept {
  LockedFlow old = flows_.try_find(pair);
  if (!old || old->deadline >= crossing.now) return false;
  crossing.worker.counters.add(Counter::expired_flows);
  end(std::move(old), crossing);
  return true;
}

}  // namespace limpet::datapath
