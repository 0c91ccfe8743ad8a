#include "lb/service/balancer.h"

#include <optional>
#include <utility>

namespace limpet::service {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using datapath::Decision;
using datapath::EndpointId;
using datapath::Reason;

AffinityOutcome outcome_of(affinity::Outcome outcome) noexcept {
  switch (outcome) {
    case affinity::Outcome::miss:
      return AffinityOutcome::miss;
    case affinity::Outcome::hit:
      return AffinityOutcome::hit;
    case affinity::Outcome::expired:
      return AffinityOutcome::expired;
    case affinity::Outcome::moved:
      return AffinityOutcome::moved;
  }
  return AffinityOutcome::none;
}

Decision dnat_to(const Match& match, std::uint32_t index, const net::Address& client, AffinityOutcome affinity) {
  Decision decision;
  decision.action = Action::dnat;
  decision.reason = affinity == AffinityOutcome::hit ? Reason::affinity : Reason::picked;
  decision.affinity = affinity;
  decision.endpoint_id = match.port->id(index);
  decision.endpoint = match.port->address(index);
  decision.masquerade = masquerades(match.masquerade_to(decision.endpoint.address, client));
  decision.affinity_scope = match.port->affinity_scope();
  return decision;
}

}  // namespace

Balancer::Balancer(const datapath::EndpointSlots& slots, std::shared_ptr<const Snapshot> snapshot,
                   affinity::AffinityTable& affinity)
    : Decider(slots), snapshot_(std::move(snapshot)), affinity_(affinity) {
  for (const auto& port : snapshot_->ports()) {
    if (port->affinity_scope() == 0) continue;
    affinity_.set_scope(port->affinity_scope(), {.timeout = *port->service().affinity_timeout});
  }
}

Decision Balancer::decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                          pick::Rng& rng) {
  const Match match = snapshot_->match(connection, node);
  if (match.action != Action::dnat) {
    Decision decision;
    decision.action = match.action;
    decision.reason = match.reason;
    return decision;
  }
  const net::Address& client = connection.tuple.source.address;
  if (connection.known_clients_only) return recall(match, client, now);
  if (match.port->affinity_scope() != 0) return assign(match, client, now, rng);
  return dnat_to(match, match.port->pick(match.set, rng), client, AffinityOutcome::none);
}

Decision Balancer::assign(const Match& match, const net::Address& client, flow::Instant now, pick::Rng& rng) {
  const ServicePort& port = *match.port;
  std::uint32_t chosen = 0;  // the index behind the id that the table returns
  const auto selectable = [&](std::uint32_t id) {
    const std::optional<std::uint32_t> index = port.find(id, match.set);
    chosen = index.value_or(0);
    return index.has_value();
  };
  const auto pick = [&] {
    chosen = port.pick(match.set, rng);
    return port.id(chosen).id;
  };
  const affinity::Key key{port.affinity_scope(), client};
  const auto given = affinity_.get_or_assign(key, now, selectable, pick);
  return dnat_to(match, chosen, client, outcome_of(given.outcome));
}

Decision Balancer::recall(const Match& match, const net::Address& client, flow::Instant now) const {
  const ServicePort& port = *match.port;
  Decision unknown;
  unknown.action = Action::drop;
  unknown.reason = Reason::midstream;
  if (port.affinity_scope() == 0) return unknown;
  unknown.affinity = AffinityOutcome::miss;
  const auto known = affinity_.find({port.affinity_scope(), client}, now);
  if (!known) return unknown;
  const std::optional<std::uint32_t> index = port.find(*known, match.set);
  if (index) return dnat_to(match, *index, client, AffinityOutcome::hit);
  unknown.affinity = AffinityOutcome::moved;
  return unknown;
}

void Balancer::confirm(net::Address client, std::uint32_t affinity_scope, EndpointId endpoint, flow::Instant now) {
  if (affinity_scope != 0) affinity_.confirm({affinity_scope, client}, endpoint.id, now);
}

}  // namespace limpet::service
