// Fragments, on nodes whose kernel does not put datagrams together before the hooks (flow/fragment_table.h).
#include "lb/datapath/pipeline.h"

namespace limpet::datapath {

namespace {

/// A datagram may have one name at both kinds of hook, and different fates.
std::uint8_t stage(Hook hook) noexcept {
  return rewrites_destination(hook) ? 0 : 1;
}

}  // namespace

Verdict Pipeline::fragment(Crossing& crossing) {
  net::Fragment fragment;
  switch (net::parse_fragment(crossing.packet.bytes, fragment)) {
    case net::ParseError::none:
      return fragment.first ? first_fragment(fragment, crossing) : later_fragment(fragment, crossing);
    case net::ParseError::fragment:
    case net::ParseError::unsupported_protocol:
      return foreign_fragment(fragment, crossing);
    default:
      return rewrites_destination(crossing.packet.hook) ? crossing.drop(Counter::dropped_fragment)
                                                        : crossing.accept(Counter::accepted_miss);
  }
}

/// Of a datagram that is never translated in pieces. What is for a service must not go on; but to the node come other
/// datagrams, too, whose first pieces are not queued, and an ICMP error in pieces is nobody's that can be told.
Verdict Pipeline::foreign_fragment(const net::Fragment& fragment, Crossing& crossing) {
  const net::Tuple& tuple = fragment.view.tuple;
  const bool icmp = tuple.protocol == net::icmp_protocol(fragment.view.family());
  const bool others = icmp || (!fragment.first && crossing.node.is_local(tuple.destination.address));
  const bool to_service = rewrites_destination(crossing.packet.hook) && !others;
  return to_service ? crossing.drop(Counter::dropped_fragment) : crossing.accept(Counter::accepted_miss);
}

Verdict Pipeline::first_fragment(const net::Fragment& fragment, Crossing& crossing) {
  crossing.view = fragment.view;
  crossing.is_fragment = true;
  const Verdict verdict = follow(crossing);
  const net::Tuple& now = crossing.view.tuple;
  const flow::FragmentFate fate{.accept = verdict.accept,
                                .source = now.source.address,
                                .destination = now.destination.address,
                                .rewritten = verdict.rewritten,
                                .mark = verdict.rewritten ? verdict.mark & options_.mark_mask : 0};
  remember(fragment.datagram, fate, crossing);
  if (verdict.rewritten && rewrites_destination(crossing.packet.hook)) {
    // Should the others be queued a second time, they cross under their new name.
    const flow::FragmentFate again{.accept = true, .source = {}, .destination = {}};
    remember({fate.source, fate.destination, fragment.datagram.protocol, fragment.datagram.identification}, again,
             crossing);
  }
  return verdict;
}

void Pipeline::remember(const net::DatagramId& datagram, const flow::FragmentFate& fate, Crossing& crossing) {
  if (!fragments_.remember(datagram, fate, crossing.now, stage(crossing.packet.hook))) {
    crossing.worker.counters.add(Counter::fragments_forgotten);
  }
}

Verdict Pipeline::later_fragment(net::Fragment& fragment, Crossing& crossing) {
  const Packet& packet = crossing.packet;
  const auto fate = fragments_.find(fragment.datagram, crossing.now, stage(packet.hook));
  if (!fate) {
    // It has overtaken its first. To a service's address it must not go on alone; the node's own hear other datagrams, too.
    const bool to_service = rewrites_destination(packet.hook) && !crossing.node.is_local(fragment.datagram.destination);
    return to_service ? crossing.drop(Counter::dropped_fragment) : crossing.accept(Counter::accepted_miss);
  }
  if (!fate->accept) return crossing.drop(Counter::dropped_fragment);
  if (!fate->rewritten) return crossing.accept(Counter::accepted_miss);
  if (packet.truncated) return crossing.drop(Counter::dropped_truncated);
  net::rewrite_later(fragment.view, fate->source, fate->destination);
  crossing.worker.counters.add(Counter::fragments);
  crossing.count_rewritten();
  Verdict verdict{.rewritten = true};
  put_mark(verdict, packet, fate->mark != 0);
  return verdict;
}

}  // namespace limpet::datapath
