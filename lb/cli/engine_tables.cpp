#include "lb/cli/engine_tables.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace limpet::cli {

using datapath::EndpointSlots;
using datapath::FlowEvent;

namespace {

std::string_view state_of(const flow::Flow& flow) {
  if (flow.is_tcp()) return to_string(flow.tcp.state());
  if (flow.is_sctp()) return to_string(flow.sctp.state());
  if (!flow.replied) return "UNREPLIED";
  return flow.confirmed ? "ASSURED" : "REPLIED";
}

control::FlowEntry entry_of(const flow::Flow& flow, flow::Instant now) {
  return {.protocol = flow.protocol,
          .state = state_of(flow),
          .client = flow.client,
          .service = flow.service,
          .endpoint = flow.endpoint,
          .client_near = flow.client_near,
          .egress = flow.egress,
          .endpoint_id = flow.direct ? 0 : flow.endpoint_id.id,
          .masquerade = flow.masquerade,
          .confirmed = flow.confirmed,
          .replied = flow.replied,
          .direct = flow.direct,
          .left = flow.deadline - now};
}

}  // namespace

control::EndpointFigures EngineTables::figures(flow::EndpointId endpoint) const {
  const datapath::EndpointLoad& load = engine_.load();
  return {.ready = engine_.slots().is(endpoint, EndpointSlots::ready),
          .serving = engine_.slots().is(endpoint, EndpointSlots::serving),
          .opened = load.count(FlowEvent::opened, endpoint.slot),
          .active = load.active(endpoint.slot),
          .established = load.count(FlowEvent::established, endpoint.slot),
          .refused = load.count(FlowEvent::refused, endpoint.slot),
          .timed_out = load.count(FlowEvent::timed_out, endpoint.slot)};
}

std::string EngineTables::service_of(const datapath::NewConnection& connection) const {
  const auto node = engine_.node();
  const service::Match match = engine_.snapshot()->match(connection, *node);
  if (match.port != nullptr) return match.port->service().name;
  if (engine_.rules() == nullptr) return "";
  return std::string(engine_.rules()->service_of(connection.tuple.protocol, connection.tuple.destination, *node));
}

nlohmann::ordered_json EngineTables::stats() const {
  nlohmann::ordered_json all = engine_.stats();
  all.update(diversion_());
  all["queues"] = queues_();
  return all;
}

std::optional<control::Tables::Cursor> EngineTables::visit_flows(
    Cursor from, std::size_t budget, const std::function<void(const control::FlowEntry&)>& visit) const {
  if (from > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  const flow::Instant now = flow::now();
  std::vector<control::FlowEntry> entries;  // copied under each flow's lock, shown without it
  entries.reserve(budget);
  const auto next = engine_.flows().visit(static_cast<std::uint32_t>(from), budget, [&](const flow::Flow& flow) {
    if (flow.deadline >= now) entries.push_back(entry_of(flow, now));
  });
  const auto node = engine_.node();
  for (control::FlowEntry& entry : entries) {
    if (engine_.rules() != nullptr) {
      entry.ruled_service = engine_.rules()->service_of(entry.protocol, entry.service, *node);
    }
    visit(entry);
  }
  return next ? std::optional<Cursor>(*next) : std::nullopt;
}

std::optional<control::Tables::Cursor> EngineTables::visit_affinity(
    Cursor from, std::size_t budget, const std::function<void(const control::AffinityEntry&)>& visit) const {
  const flow::Instant now = flow::now();
  const affinity::Cursor next =
      engine_.affinity().visit(affinity::Cursor{from}, budget, now, [&](const affinity::EntryView& entry) {
        if (entry.expired) return;
        visit({.scope = entry.key.scope,
               .client = entry.key.client,
               .endpoint_id = entry.endpoint,
               .confirmed = entry.confirmed,
               .age = now - entry.stamp});
      });
  return next.at_end() ? std::nullopt : std::optional(next.next);
}

control::Tables::Put EngineTables::put_affinity(const control::AffinityEntry& entry) {
  const flow::Instant now = flow::now();
  const auto age = std::min<flow::Milliseconds>(entry.age, affinity::ScopePolicy::kLongest);
  return engine_.affinity().put_if_absent({entry.scope, entry.client}, entry.endpoint_id, now - age, entry.confirmed,
                                          now);
}

std::size_t EngineTables::erase_affinity(std::uint32_t scope, const net::Address& client) {
  return engine_.affinity().erase({scope, client}) ? 1 : 0;
}

std::size_t EngineTables::erase_affinity_scope(std::uint32_t scope) {
  return engine_.affinity().erase_scope(scope);
}

std::size_t EngineTables::erase_all_affinity() {
  return engine_.affinity().erase_all();
}

}  // namespace limpet::cli
