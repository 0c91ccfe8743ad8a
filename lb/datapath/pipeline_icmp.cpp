// ICMP errors follow the flow of the packet that they quote; echo requests to a service's address are answered.
#include <utility>

#include "lb/datapath/pipeline.h"

namespace limpet::datapath {

using flow::Flow;
using flow::KeyRole;
using flow::LockedFlow;

Verdict Pipeline::icmp(Crossing& crossing) {
  const bool asked_for = rewrites_destination(crossing.packet.hook);
  const net::Protocol protocol = crossing.view.tuple.protocol;
  if (protocol != net::Protocol::icmp && protocol != net::Protocol::icmp6) {
    return asked_for ? crossing.drop(Counter::dropped_unsupported) : crossing.accept(Counter::accepted_miss);
  }
  net::IcmpView message;
  // One that cannot be read cannot be about a flow.
  if (net::parse_icmp(crossing.packet.bytes, message) != net::ParseError::none) {
    return pass(crossing, Counter::accepted_miss);
  }
  if (message.kind == net::IcmpKind::error || message.kind == net::IcmpKind::redirect) {
    return icmp_error(message, crossing);
  }
  if (message.kind == net::IcmpKind::echo_request && asked_for && options_.answer_echo) {
    Verdict verdict = crossing.drop(Counter::dropped_echo_request);
    verdict.reply = net::ReplyKind::echo_reply;
    return verdict;
  }
  return pass(crossing, Counter::accepted_miss);
}

Verdict Pipeline::icmp_error(net::IcmpView& error, Crossing& crossing) {
  const Packet& packet = crossing.packet;
  if (crossing.report != nullptr) {
    crossing.report->icmp_error = true;
    crossing.report->before = crossing.report->after = error.quoted;
  }
  // An error goes to who sent the packet that it quotes; any other is forged (nf_conntrack_inet_error).
  if (error.destination != error.quoted.source.address) return pass(crossing, Counter::accepted_miss);
  LockedFlow flow = flows_.find(error.quoted);
  if (!flow || flow->deadline < crossing.now) return pass(crossing, Counter::accepted_miss);
  crossing.note_hit(flow);

  if (error.kind == net::IcmpKind::redirect && !flow->direct) return crossing.drop(Counter::dropped_redirect);
  const std::optional<net::IcmpRewrite> to = translation(*flow, flow.role(), error, packet.hook);
  if (!to) return pass(crossing, Counter::accepted_direct);
  if (packet.truncated) return crossing.drop(Counter::dropped_truncated);
  net::rewrite(error, *to, packet.checksum_pending ? net::ChecksumMode::full : net::ChecksumMode::incremental);
  crossing.worker.counters.add(Counter::icmp_errors);
  crossing.count_rewritten();
  if (crossing.report != nullptr) crossing.report->after = error.quoted;
  return {.rewritten = true};
}

/// nullopt: to be left as it is at this hook.
std::optional<net::IcmpRewrite> Pipeline::translation(const Flow& flow, KeyRole role, const net::IcmpView& error,
                                                      Hook hook) const noexcept {
  const net::AddressPort& sender = error.quoted.source;
  if (flow.direct) return std::nullopt;
  if (rewrites_destination(hook)) {
    if (role == KeyRole::outer && sender == flow.service) {
      return net::IcmpRewrite{error.source, flow.endpoint.address, {flow.endpoint, flow.client_near}};
    }
    if (role == KeyRole::inner && sender == flow.egress) {
      return net::IcmpRewrite{error.source, flow.client_near.address, {flow.client_near, flow.endpoint}};
    }
  } else if (role == KeyRole::middle) {
    if (sender == flow.client_near) {
      return net::IcmpRewrite{flow.service.address, error.destination, {flow.client, flow.service}};
    }
    if (flow.egress.port != 0) {
      return net::IcmpRewrite{flow.egress.address, error.destination, {flow.endpoint, flow.egress}};
    }
  }
  return std::nullopt;
}

}  // namespace limpet::datapath
