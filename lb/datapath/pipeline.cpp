#include "lb/datapath/pipeline.h"

#include <algorithm>
#include <array>
#include <utility>

#include "conntrack/net/checksum.h"
#include "conntrack/net/wire.h"

namespace limpet::datapath {

using flow::Direction;
using flow::Flow;
using flow::KeyRole;
using flow::LockedFlow;

namespace {

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

bool is_udp_super_packet(const Packet& packet, const net::PacketView& view) noexcept {
  return packet.segmented_later && view.tuple.protocol == net::Protocol::udp;
}

net::ChecksumMode checksum_mode(const Packet& packet, const net::PacketView& view) noexcept {
  if (is_udp_super_packet(packet, view)) {
    return packet.hook == Hook::prerouting ? net::ChecksumMode::absent : net::ChecksumMode::pending;
  }
  return packet.checksum_pending ? net::ChecksumMode::full : net::ChecksumMode::incremental;
}

/// UDP over IPv6 needs one (RFC 8200 section 8.1); without, nobody could tell a wrong address.
bool lacks_checksum(const net::PacketView& view, net::ChecksumMode mode) noexcept {
  return view.tuple.protocol == net::Protocol::udp && view.family() == net::Family::v6 &&
         mode == net::ChecksumMode::incremental &&
         net::load_native<std::uint16_t>(&view.bytes[net::l4_checksum_offset(view)]) == 0;
}

}  // namespace

Verdict Pipeline::Crossing::accept(Counter why) const noexcept {
  worker.counters.add(why);
  if (report != nullptr) report->outcome = why;
  return {};
}

Verdict Pipeline::Crossing::drop(Counter why) const noexcept {
  worker.counters.add(why);
  if (report != nullptr) report->outcome = why;
  return {.accept = false};
}

void Pipeline::Crossing::count_rewritten() const noexcept {
  worker.counters.add(Counter::rewritten);
  if (report != nullptr) report->outcome = Counter::rewritten;
}

void Pipeline::Crossing::note_hit(const LockedFlow& flow) const noexcept {
  if (report == nullptr) return;
  report->hit = flow.role();
  report->client = flow->client.address;
}

std::uint64_t Pipeline::prefetch(std::span<std::byte> packet) const noexcept {
  net::PacketView view;
  return net::parse(packet, view) == net::ParseError::none ? flows_.prefetch(view.tuple) : 0;
}

Verdict Pipeline::process(const Packet& packet, const node::NodeView& node, flow::Instant now, WorkerContext& worker) {
  worker.counters.add(Counter::packets);
  Crossing crossing{.packet = packet, .view = {}, .node = node, .now = now, .worker = worker};
  return worker.observer == nullptr ? cross(crossing) : observe(crossing);
}

Verdict Pipeline::observe(Crossing& crossing) {
  const std::span<const std::byte> bytes = crossing.packet.bytes;
  std::array<std::byte, kHead> head;
  std::copy_n(bytes.begin(), std::min(bytes.size(), kHead), head.begin());
  Verdict verdict;
  CrossingReport report{.now = crossing.now,
                        .hook = crossing.packet.hook,
                        .verdict = verdict,
                        .head = std::span(head).first(std::min(bytes.size(), kHead)),
                        .packet = crossing.packet};
  crossing.report = &report;
  verdict = cross(crossing);
  if (!report.icmp_error) report.after = crossing.view.tuple;
  crossing.worker.observer->on(report);
  return verdict;
}

Verdict Pipeline::cross(Crossing& crossing) {
  const Packet& packet = crossing.packet;
  const net::Extent extent = packet.truncated ? net::Extent::headers : net::Extent::whole;
  switch (const net::ParseError error = net::parse(packet.bytes, crossing.view, extent)) {
    case net::ParseError::none:
      return follow(crossing);
    case net::ParseError::unsupported_protocol:
      return icmp(crossing);
    case net::ParseError::fragment:
      return fragment(crossing);
    default:
      return crossing.drop(counter_of(error));
  }
}

Verdict Pipeline::follow(Crossing& crossing) {
  if (crossing.report != nullptr) crossing.report->before = crossing.view.tuple;
  const net::Tuple& tuple = crossing.view.tuple;
  const std::uint64_t known = crossing.packet.flow_hash;
  for (;;) {
    if (LockedFlow flow = known != 0 ? flows_.find(tuple, known) : flows_.find(tuple)) {
      crossing.note_hit(flow);
      if (!outlived(*flow, flow.role(), crossing)) return translate(std::move(flow), crossing);
      if (flow->deadline < crossing.now) crossing.worker.counters.add(Counter::expired_flows);
      end(std::move(flow), crossing);
    }
    if (!rewrites_destination(crossing.packet.hook)) return pass(crossing, Counter::accepted_miss);
    if (const std::optional<Verdict> verdict = begin(crossing)) return *verdict;
  }
}

std::size_t Pipeline::sweep(std::size_t budget, flow::Instant now, WorkerContext& worker) {
  const std::size_t removed = flows_.sweep(budget, now, [&](const Flow& flow) { retire(flow, now, worker); });
  worker.counters.add(Counter::expired_flows, removed);
  return removed;
}

/// The node's own answers are made at no interface, carry the mark bit, and meet no flow.
Verdict Pipeline::pass(Crossing& crossing, Counter why) const noexcept {
  Verdict verdict = crossing.accept(why);
  const Packet& packet = crossing.packet;
  const bool own = packet.hook == Hook::postrouting && packet.in_interface == 0;
  const bool answer = crossing.view.is_tcp() ? crossing.view.tcp_flags.rst()
                                             : crossing.view.tuple.protocol == net::Protocol::icmp ||
                                                   crossing.view.tuple.protocol == net::Protocol::icmp6;
  if (own && answer) put_mark(verdict, packet, false);
  return verdict;
}

// ---- a hit ----

bool Pipeline::outlived(Flow& flow, KeyRole role, const Crossing& crossing) {
  if (flow.deadline < crossing.now) return true;
  const bool from_client =
      role == KeyRole::outer && rewrites_destination(crossing.packet.hook) && crossing.view.tuple.source == flow.client;
  if (!from_client) return false;
  if (net::is_connection_oriented(flow.protocol)) {
    return net::opens_connection(crossing.view) && (flow.over() || lost_egress(flow, crossing));
  }
  return !decider_.still_valid(flow.endpoint_id) && !(flow.direct && stays_direct(flow, crossing));
}

/// The address has left the node, and replies to it with it (as MASQUERADE forgets its connections then).
bool Pipeline::lost_egress(const Flow& flow, const Crossing& crossing) noexcept {
  return flow.egress.port != 0 && !crossing.node.is_local(flow.egress.address);
}

Verdict Pipeline::translate(LockedFlow flow, Crossing& crossing) {
  const net::AddressPort& source = crossing.view.tuple.source;
  if (flow->direct) return pass_direct(*flow, crossing);
  if (rewrites_destination(crossing.packet.hook)) {
    if (flow.role() == KeyRole::outer && source == flow->client) return request(*flow, crossing);
    if (flow.role() == KeyRole::inner && source == flow->endpoint) {
      // Addressed to the flow's own port it is this flow's, whatever its numbers say; the mark keeps that known.
      const bool odd = flow->is_tcp() && flow->tcp.is_foreign(crossing.view);
      return rewrite(crossing, flow->endpoint, flow->client_near, odd);
    }
  } else if (flow.role() == KeyRole::middle) {
    // The mark tells the directions of a connection apart whose two ends are one and the same.
    const bool marked = (crossing.packet.mark & options_.mark_mask) != 0;
    // A process of the node gets it as it is: there is no way out on which to masquerade it.
    const bool leaves = flow->masquerade && crossing.packet.hook == Hook::postrouting;
    if (leaves && source == flow->client_near && (marked || source != flow->endpoint)) {
      return masquerade(std::move(flow), crossing);
    }
    if (source == flow->endpoint) return reply(std::move(flow), crossing);
    if (marked && is_udp_super_packet(crossing.packet, crossing.view)) {  // the addresses stand already
      return rewrite(crossing, flow->client_near, flow->endpoint, false);
    }
  }
  return crossing.accept(Counter::accepted_direct);
}

Verdict Pipeline::pass_direct(Flow& flow, Crossing& crossing) {
  track(flow, crossing.view.tuple.source == flow.client ? Direction::original : Direction::reply, crossing);
  return crossing.accept(Counter::accepted_direct);
}

Verdict Pipeline::request(Flow& flow, Crossing& crossing) {
  if (const auto why = obstacle(crossing)) [[unlikely]]
    return crossing.drop(*why);  // it moves no state
  track(flow, Direction::original, crossing);
  if (!flow.confirmed) confirm(flow, crossing);
  if (flow.refreshes_affinity) decider_.refresh(flow.client.address, flow.remembered, crossing.now);
  const bool again = flow.masquerade || is_udp_super_packet(crossing.packet, crossing.view);  // for its checksum
  return rewrite(crossing, flow.client_near, flow.endpoint, again);
}

Verdict Pipeline::reply(LockedFlow flow, Crossing& crossing) {
  if (const std::optional<Verdict> verdict = leave_to_direct(flow, crossing)) return *verdict;
  if (const auto why = obstacle(crossing)) [[unlikely]]
    return crossing.drop(*why);
  const bool waiting = flow->opening();
  track(*flow, Direction::reply, crossing);
  if (waiting && flow->over()) crossing.worker.load.on(FlowEvent::refused, flow->endpoint_id);
  return rewrite(crossing, flow->service, flow->client, false);
}

/// A client may use one port towards an endpoint directly and through a service. The direct connection's own SYN is not
/// diverted, but the answer to it shows that it is there; from then on sequence numbers tell the two apart, and a flow
/// that is over makes way.
std::optional<Verdict> Pipeline::leave_to_direct(LockedFlow& flow, Crossing& crossing) {
  if (!flow->is_tcp() || (crossing.packet.mark & options_.mark_mask) != 0) return std::nullopt;
  if (!flow->tcp.is_foreign(crossing.view)) {
    if (!flow->shared || flow->tcp.is_plausible(crossing.view, Direction::reply)) return std::nullopt;
    return crossing.accept(Counter::accepted_direct);
  }
  flow->shared = true;
  if (flow->tcp.over()) end(std::move(flow), crossing);
  return crossing.accept(Counter::foreign_syn_ack);
}

std::optional<Counter> Pipeline::obstacle(const Crossing& crossing) noexcept {
  const net::ChecksumMode mode = checksum_mode(crossing.packet, crossing.view);
  if (crossing.packet.truncated) return Counter::dropped_truncated;
  if (crossing.is_fragment && mode != net::ChecksumMode::incremental) return Counter::dropped_fragment;
  if (lacks_checksum(crossing.view, mode)) return Counter::dropped_zero_checksum;
  return std::nullopt;
}

Verdict Pipeline::rewrite(Crossing& crossing, const net::AddressPort& source, const net::AddressPort& destination,
                          bool mark) const noexcept {
  const Packet& packet = crossing.packet;
  if (const auto why = obstacle(crossing)) [[unlikely]]
    return crossing.drop(*why);
  net::rewrite(crossing.view, {source, destination}, checksum_mode(packet, crossing.view));
  crossing.count_rewritten();
  Verdict verdict{.rewritten = true};
  put_mark(verdict, packet, mark);
  return verdict;
}

void Pipeline::put_mark(Verdict& verdict, const Packet& packet, bool mark) const noexcept {
  verdict.mark = (packet.mark & ~options_.mark_mask) | (mark ? options_.mark_mask : 0);
  verdict.set_mark = verdict.mark != packet.mark;
}

// ---- every hit ----

void Pipeline::track(Flow& flow, Direction direction, Crossing& crossing) {
  const bool was_over = flow.over();
  flow.see(crossing.view, direction);
  if (!was_over && flow.over()) hold_port(flow);
  flow.touch(flows_.timeouts(), crossing.now);
}

void Pipeline::confirm(Flow& flow, Crossing& crossing) {
  const bool proved = flow.proves_client(crossing.view);
  if (!proved) return;
  // Before the flow says so: killed in between, the next process hears of it from the client's next packet.
  if (flow.remembered) decider_.confirm(flow.client.address, flow.remembered, crossing.now);
  flow.confirmed = true;
  crossing.worker.counters.add(Counter::confirmed);
  crossing.worker.load.on(FlowEvent::established, flow.endpoint_id);
}

void Pipeline::retire(const Flow& flow, flow::Instant now, WorkerContext& worker) noexcept {
  if (flow.direct) return;
  if (!flow.replied && flow.deadline < now) worker.load.on(FlowEvent::timed_out, flow.endpoint_id);
  worker.load.on(FlowEvent::closed, flow.endpoint_id);
  release_port(flow);
}

void Pipeline::end(LockedFlow flow, Crossing& crossing) noexcept {
  retire(*flow, crossing.now, crossing.worker);
  flows_.remove(std::move(flow));
}

}  // namespace limpet::datapath
