#include "lb/datapath/pipeline.h"

#include <utility>

namespace limpet::datapath {

using flow::Direction;
using flow::Flow;
using flow::KeyRole;
using flow::LockedFlow;

namespace {

/// Look at this many records for one to spare when the flow table is full.
constexpr std::size_t kMakeRoomBudget = 64;
/// Ports tried before a connection is given up: each miss needs another flow on the very same pair.
constexpr unsigned kPortAttempts = 16;

Counter counter_of(net::ParseError error) noexcept {
  switch (error) {
    case net::ParseError::bad_version:
      return Counter::dropped_bad_version;
    case net::ParseError::bad_header_length:
      return Counter::dropped_bad_header_length;
    case net::ParseError::extension_chain:
      return Counter::dropped_extension_chain;
    case net::ParseError::fragment:
      return Counter::dropped_fragment;
    case net::ParseError::unsupported_protocol:
      return Counter::dropped_unsupported;
    case net::ParseError::none:
    case net::ParseError::truncated:
      break;
  }
  return Counter::dropped_too_short;
}

Counter counter_of(AffinityOutcome outcome) noexcept {
  switch (outcome) {
    case AffinityOutcome::hit:
      return Counter::affinity_hit;
    case AffinityOutcome::expired:
      return Counter::affinity_expired;
    case AffinityOutcome::moved:
      return Counter::affinity_moved;
    case AffinityOutcome::none:
    case AffinityOutcome::miss:
      break;
  }
  return Counter::affinity_miss;
}

bool is_plain_syn(const net::PacketView& view) noexcept {
  return view.tcp_flags.syn() && !view.tcp_flags.ack();
}

/// Of a TCP connection that did not begin here.
bool is_midstream(const net::PacketView& view) noexcept {
  return view.is_tcp() && !is_plain_syn(view);
}

bool is_udp_super_packet(const Packet& packet, const net::PacketView& view) noexcept {
  return packet.segmented_later && !view.is_tcp();
}

net::ChecksumMode checksum_mode(const Packet& packet, const net::PacketView& view) noexcept {
  if (is_udp_super_packet(packet, view)) {
    return packet.hook == Hook::prerouting ? net::ChecksumMode::absent : net::ChecksumMode::pending;
  }
  return packet.checksum_pending ? net::ChecksumMode::full : net::ChecksumMode::incremental;
}

flow::PoolKey pool_of(const Flow& flow, const net::Address& egress) noexcept {
  return {flow.protocol, egress, flow.endpoint};
}

}  // namespace

Verdict Pipeline::Crossing::accept(Counter why) const noexcept {
  worker.counters.add(why);
  return {};
}

Verdict Pipeline::Crossing::drop(Counter why) const noexcept {
  worker.counters.add(why);
  return {.accept = false};
}

std::uint64_t Pipeline::prefetch(std::span<std::byte> packet) const noexcept {
  net::PacketView view;
  return net::parse(packet, view) == net::ParseError::none ? flows_.prefetch(view.tuple) : 0;
}

Verdict Pipeline::process(const Packet& packet, const node::NodeView& node, flow::Instant now, WorkerContext& worker) {
  worker.counters.add(Counter::packets);
  Crossing crossing{packet, {}, node, now, worker};
  if (packet.truncated) return crossing.drop(Counter::dropped_truncated);
  const net::ParseError error = net::parse(packet.bytes, crossing.view);
  const bool has_no_ports = error == net::ParseError::unsupported_protocol || error == net::ParseError::fragment;
  const bool icmp =
      error == net::ParseError::unsupported_protocol &&
      (crossing.view.tuple.protocol == net::Protocol::icmp || crossing.view.tuple.protocol == net::Protocol::icmp6);
  if (icmp || (has_no_ports && rewrites_source(packet.hook))) return crossing.accept(Counter::accepted_miss);
  if (error != net::ParseError::none) return crossing.drop(counter_of(error));

  for (;;) {
    if (LockedFlow flow = flows_.find(crossing.view.tuple)) {
      if (!outlived(*flow, flow.role(), crossing)) return translate(std::move(flow), crossing);
      if (flow->deadline < now) worker.counters.add(Counter::expired_flows);
      end(std::move(flow), crossing);
    }
    if (!rewrites_destination(packet.hook)) return crossing.accept(Counter::accepted_miss);
    if (const std::optional<Verdict> verdict = begin(crossing)) return *verdict;
  }
}

std::size_t Pipeline::sweep(std::size_t budget, flow::Instant now, WorkerContext& worker) {
  const std::size_t removed = flows_.sweep(budget, now, [&](const Flow& flow) { retire(flow, now, worker); });
  worker.counters.add(Counter::expired_flows, removed);
  return removed;
}

// ---- a hit ----

bool Pipeline::outlived(const Flow& flow, KeyRole role, const Crossing& crossing) const noexcept {
  if (flow.deadline < crossing.now) return true;
  const bool from_client =
      role == KeyRole::outer && rewrites_destination(crossing.packet.hook) && crossing.view.tuple.source == flow.client;
  if (!from_client) return false;
  if (flow.is_tcp()) return flow.tcp.over() && is_plain_syn(crossing.view);
  return !decider_.still_valid(flow.endpoint_id);
}

Verdict Pipeline::translate(LockedFlow flow, Crossing& crossing) {
  const net::AddressPort& source = crossing.view.tuple.source;
  if (rewrites_destination(crossing.packet.hook)) {
    if (flow.role() == KeyRole::outer && source == flow->client) return request(*flow, crossing);
    if (flow.role() == KeyRole::inner && source == flow->endpoint) {
      return rewrite(crossing, flow->endpoint, flow->client_near, false);
    }
  } else if (flow.role() == KeyRole::middle) {
    // The mark tells the directions of a connection apart whose two ends are one and the same.
    const bool marked = (crossing.packet.mark & options_.mark_mask) != 0;
    if (flow->masquerade && source == flow->client_near && (marked || source != flow->endpoint)) {
      return masquerade(std::move(flow), crossing);
    }
    if (source == flow->endpoint) return reply(std::move(flow), crossing);
    if (marked && is_udp_super_packet(crossing.packet, crossing.view)) {  // the addresses stand already
      return rewrite(crossing, flow->client_near, flow->endpoint, false);
    }
  }
  return crossing.accept(Counter::accepted_direct);
}

Verdict Pipeline::request(Flow& flow, Crossing& crossing) {
  track(flow, Direction::original, crossing);
  if (!flow.confirmed) confirm(flow, crossing);
  const bool again = flow.masquerade || is_udp_super_packet(crossing.packet, crossing.view);  // for its checksum
  return rewrite(crossing, flow.client_near, flow.endpoint, again);
}

Verdict Pipeline::reply(LockedFlow flow, Crossing& crossing) {
  if (const std::optional<Verdict> verdict = leave_to_direct(flow, crossing)) return *verdict;
  const bool waiting = flow->is_tcp() && flow->tcp.state() == flow::TcpState::syn_sent;
  track(*flow, Direction::reply, crossing);
  if (waiting && flow->tcp.state() == flow::TcpState::close) {
    crossing.worker.load.on(FlowEvent::refused, flow->endpoint_id);
  }
  return rewrite(crossing, flow->service, flow->client, false);
}

/// A client may use one port towards an endpoint directly and through a service. The direct connection's own SYN is not
/// diverted, but the answer to it shows that it is there; from then on sequence numbers tell the two apart, and a flow
/// that is over makes way.
std::optional<Verdict> Pipeline::leave_to_direct(LockedFlow& flow, Crossing& crossing) {
  if (!flow->is_tcp()) return std::nullopt;
  if (!flow->tcp.is_foreign(crossing.view)) {
    if (!flow->shared || flow->tcp.is_plausible(crossing.view, Direction::reply)) return std::nullopt;
    return crossing.accept(Counter::accepted_direct);
  }
  flow->shared = true;
  if (flow->tcp.over()) end(std::move(flow), crossing);
  return crossing.accept(Counter::foreign_syn_ack);
}

Verdict Pipeline::masquerade(LockedFlow flow, Crossing& crossing) {
  if (flow->egress.port != 0 && !crossing.node.is_local(flow->egress.address)) {
    // The address has left the node, and replies to it with it. A UDP client's next packet begins a new flow.
    if (!flow->is_tcp()) end(std::move(flow), crossing);
    return crossing.drop(Counter::dropped_no_egress);
  }
  if (flow->egress.port == 0) {
    const auto egress = crossing.node.egress(crossing.packet.out_interface, flow->endpoint.address);
    if (!egress) return crossing.drop(Counter::dropped_no_egress);
    if (!assign_port(flow, *egress, crossing)) return crossing.drop(Counter::dropped_no_port);
  }
  return rewrite(crossing, flow->egress, flow->endpoint, false);
}

Verdict Pipeline::rewrite(Crossing& crossing, const net::AddressPort& source, const net::AddressPort& destination,
                          bool mark) const noexcept {
  net::rewrite(crossing.view, {source, destination}, checksum_mode(crossing.packet, crossing.view));
  crossing.worker.counters.add(Counter::rewritten);
  Verdict verdict{.rewritten = true};
  verdict.mark = (crossing.packet.mark & ~options_.mark_mask) | (mark ? options_.mark_mask : 0);
  verdict.set_mark = verdict.mark != crossing.packet.mark;
  return verdict;
}

// ---- a miss ----

std::optional<Verdict> Pipeline::begin(Crossing& crossing) {
  LockedFlow flow;
  switch (flows_.create(crossing.view.tuple, flow)) {
    case flow::FlowTable::Create::created:
      break;
    case flow::FlowTable::Create::exists:
      return std::nullopt;
    case flow::FlowTable::Create::full:
      return make_room(crossing);
  }

  const bool midstream = is_midstream(crossing.view);
  const Decision decision = decide(crossing, midstream && options_.midstream != MidstreamPolicy::pick);
  if (decision.action != Action::dnat) {
    flows_.remove(std::move(flow));
    return refuse(decision, crossing);
  }

  flow->endpoint = decision.endpoint;
  flow->endpoint_id = decision.endpoint_id;
  flow->affinity_scope = decision.affinity_scope;
  flow->masquerade = decision.masquerade;
  if (midstream) flow->tcp.adopt();
  if (!link_middle(*flow, crossing)) {
    flows_.remove(std::move(flow));
    return crossing.drop(Counter::dropped_no_port);
  }
  crossing.worker.counters.add(Counter::new_flows);
  if (decision.affinity != AffinityOutcome::none) crossing.worker.counters.add(counter_of(decision.affinity));
  crossing.worker.load.on(FlowEvent::opened, decision.endpoint_id);
  return request(*flow, crossing);
}

Decision Pipeline::decide(const Crossing& crossing, bool known_clients_only) {
  const net::PacketView& view = crossing.view;
  const Decision decision = decider_.decide({.tuple = view.tuple,
                                             .hook = crossing.packet.hook,
                                             .in_interface = crossing.packet.in_interface,
                                             .mark = crossing.packet.mark,
                                             .ttl = view.ttl,
                                             .known_clients_only = known_clients_only},
                                            crossing.node, crossing.now, crossing.worker.rng);
  if (decision.action != Action::dnat) return decision;
  Decision instead;
  if (decision.endpoint == view.tuple.destination && !decision.masquerade) return instead;  // nothing to translate
  if (!is_midstream(view) || options_.midstream != MidstreamPolicy::drop) return decision;
  instead.action = Action::drop;
  instead.reason = Reason::midstream;
  return instead;
}

std::optional<Verdict> Pipeline::make_room(Crossing& crossing) {
  // Asked without consequences: only what will need a record may cost another flow its own.
  const Decision decision = decide(crossing, true);
  const bool welcomes_strangers = !is_midstream(crossing.view) || options_.midstream == MidstreamPolicy::pick;
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
    case Action::reject:
      return crossing.drop(Counter::dropped_rejected);
    case Action::drop:
      return crossing.drop(decision.reason == Reason::midstream ? Counter::dropped_midstream
                                                                : Counter::dropped_no_local);
    case Action::none:
    case Action::dnat:
      break;
  }
  return crossing.accept(Counter::accepted_not_a_service);
}

bool Pipeline::link_middle(Flow& flow, Crossing& crossing) {
  if (flows_.link(flow, KeyRole::middle)) return true;
  crossing.worker.counters.add(Counter::tuple_clashes);
  for (unsigned attempt = 0; attempt < kPortAttempts; ++attempt) {
    flow.client_near.port = ports_.random_port(crossing.worker.rng());
    if (flows_.link(flow, KeyRole::middle)) return true;
  }
  return false;
}

// ---- ports for masquerading ----

bool Pipeline::assign_port(LockedFlow& flow, const net::Address& egress, Crossing& crossing) {
  const flow::PoolKey pool = pool_of(*flow, egress);
  std::uint16_t preferred = flow->client.port;
  for (unsigned attempt = 0; attempt < kPortAttempts; ++attempt) {
    const std::optional<std::uint16_t> port = ports_.acquire(pool, preferred, crossing.worker.rng());
    if (!port) {
      if (!reclaim_port(flow, pool, crossing)) return false;
      if (flow->egress.port != 0) return true;  // another worker was faster
      continue;
    }
    flow->egress = {egress, *port};
    if (flows_.link(*flow, KeyRole::inner)) return true;
    // The pair is taken by a flow that has nothing to do with this pool: a local client's, say.
    flow->egress.port = 0;
    ports_.release(pool, *port);
    preferred = 0;
  }
  return false;
}

bool Pipeline::reclaim_port(LockedFlow& flow, const flow::PoolKey& pool, Crossing& crossing) {
  const std::optional<std::uint16_t> port = ports_.oldest_held(pool);
  if (!port) return false;
  const flow::FlowRef ref = flows_.ref(*flow);
  flow.unlock();  // never two records at once
  LockedFlow old = flows_.find({pool.protocol, {pool.egress, *port}, pool.endpoint});
  if (old && old.role() == KeyRole::inner && old->tcp.over()) {
    end(std::move(old), crossing);
    crossing.worker.counters.add(Counter::ports_reclaimed);
  }
  old.unlock();
  flow = flows_.relock(ref, KeyRole::middle);
  return static_cast<bool>(flow);
}

// ---- every hit ----

void Pipeline::track(Flow& flow, Direction direction, Crossing& crossing) {
  if (direction == Direction::reply) flow.replied = true;
  if (flow.is_tcp()) {
    const bool was_over = flow.tcp.over();
    flow.tcp.see(crossing.view, direction);
    if (!was_over && flow.tcp.over() && flow.egress.port != 0) {
      ports_.hold(pool_of(flow, flow.egress.address), flow.egress.port);
    }
  }
  flow.touch(flows_.timeouts(), crossing.now);
}

void Pipeline::confirm(Flow& flow, Crossing& crossing) {
  const bool proved = flow.is_tcp() ? flow.tcp.proves_client(crossing.view) : flow.replied;
  if (!proved) return;
  flow.confirmed = true;
  crossing.worker.counters.add(Counter::confirmed);
  crossing.worker.load.on(FlowEvent::established, flow.endpoint_id);
  if (flow.affinity_scope != 0) decider_.confirm(flow.client.address, flow.affinity_scope, flow.endpoint_id);
}

void Pipeline::retire(const Flow& flow, flow::Instant now, WorkerContext& worker) noexcept {
  if (!flow.replied && flow.deadline < now) worker.load.on(FlowEvent::timed_out, flow.endpoint_id);
  worker.load.on(FlowEvent::closed, flow.endpoint_id);
  if (flow.egress.port != 0) ports_.release(pool_of(flow, flow.egress.address), flow.egress.port);
}

void Pipeline::end(LockedFlow flow, Crossing& crossing) noexcept {
  retire(*flow, crossing.now, crossing.worker);
  flows_.remove(std::move(flow));
}

}  // namespace limpet::datapath
