#include "lb/service/balancer.h"

#include <optional>
#include <utility>

namespace limpet::service {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using datapath::Decision;
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

affinity::Key key_of(const net::Address& client, const flow::AffinityName& remembered) noexcept {
  return {remembered.scope(), remembered.mask(client)};
}
affinity::Key key_of(const ServicePort& port, const net::Address& client) noexcept {
  return {port.affinity_scope(), port.known_as(client)};
}

Decision dnat_to(const Match& match, std::uint32_t index, const net::Address& client, AffinityOutcome affinity) {
  Decision decision;
  decision.action = Action::dnat;
  decision.reason = affinity == AffinityOutcome::hit ? Reason::affinity : Reason::picked;
  decision.affinity = affinity;
  decision.endpoint_id = match.port->id(index);
  decision.endpoint = match.port->address(index);
  decision.masquerade = masquerades(match.masquerade_to(decision.endpoint.address, client));
  decision.remembered = match.port->remembered(index);
  decision.refreshed_by_packets =
      decision.remembered && match.port->service().affinity_refresh == AffinityRefresh::packets;
  return decision;
}

}  // namespace

Balancer::Balancer(const datapath::EndpointSlots& slots, std::shared_ptr<const Snapshot> snapshot,
                   affinity::AffinityTable& affinity)
    : Decider(slots), snapshot_(std::move(snapshot)), current_(snapshot_.get()), affinity_(affinity) {
  remember_for(snapshot_->ports());
}

void Balancer::remember_for(std::span<const std::shared_ptr<const ServicePort>> ports) {
  for (const auto& port : ports) {
    if (port->affinity_scope() == 0) continue;
    const Service& service = port->service();
    affinity_.set_scope(port->affinity_scope(), {.timeout = *service.affinity_timeout,
                                                 .sliding = service.affinity_refresh != AffinityRefresh::never});
  }
}

std::shared_ptr<const Snapshot> Balancer::publish(std::shared_ptr<const Snapshot> next,
                                                  std::span<const std::shared_ptr<const ServicePort>> made) {
  remember_for(made);
  current_.store(next.get(), std::memory_order_seq_cst);  // as epochs.h asks
  snapshot_.swap(next);
  return next;
}

Decision Balancer::decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                          pick::Rng& rng) {
  const Match match = current_.load(std::memory_order_seq_cst)->match(connection, node);
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
  datapath::Move move = datapath::Move::none;
  const auto selectable = [&](std::uint32_t id) {
    const std::optional<std::uint32_t> index = port.find(id, match.set);
    chosen = index.value_or(0);
    if (!index) move = port.move_from(id);
    return index.has_value();
  };
  const auto pick = [&] {
    chosen = port.pick(match.set, rng);
    return port.remembered(chosen).endpoint();
  };
  const auto given = affinity_.get_or_assign(key_of(port, client), now, selectable, pick);
  Decision decision = dnat_to(match, chosen, client, outcome_of(given.outcome));
  decision.remembered = port.remembered_by(given.endpoint);
  decision.move = move;
  return decision;
}

Decision Balancer::recall(const Match& match, const net::Address& client, flow::Instant now) const {
  const ServicePort& port = *match.port;
  Decision unknown;
  unknown.action = Action::drop;
  unknown.reason = Reason::midstream;
  if (port.affinity_scope() == 0) return unknown;
  unknown.affinity = AffinityOutcome::miss;
  const auto known = affinity_.find(key_of(port, client), now);
  if (!known) return unknown;
  const std::optional<std::uint32_t> index = port.find(*known, match.set);
  if (index) {
    Decision decision = dnat_to(match, *index, client, AffinityOutcome::hit);
    decision.remembered = port.remembered_by(*known);
    return decision;
  }
  unknown.affinity = AffinityOutcome::moved;
  unknown.move = port.move_from(*known);
  return unknown;
}

void Balancer::confirm(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) {
  affinity_.confirm(key_of(client, remembered), remembered.endpoint(), now);
}

void Balancer::refresh(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) {
  affinity_.refresh(key_of(client, remembered), remembered.endpoint(), now);
}

}  // namespace limpet::service
