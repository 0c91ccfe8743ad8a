#include "lb/cli/engine_tables.h"

namespace limpet::cli {

using datapath::EndpointSlots;
using datapath::FlowEvent;

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
  const service::Match match = engine_.snapshot()->match(connection, *engine_.node());
  return match.port == nullptr ? "" : match.port->service().name;
}

nlohmann::ordered_json EngineTables::stats() const {
  nlohmann::ordered_json all = engine_.stats();
  all["queues"] = queues_();
  return all;
}

// The tables do not show their entries yet.

std::optional<control::Tables::Cursor> EngineTables::visit_flows(
    Cursor, std::size_t, const std::function<void(const control::FlowEntry&)>&) const {
  return std::nullopt;
}

std::optional<control::Tables::Cursor> EngineTables::visit_affinity(
    Cursor, std::size_t, const std::function<void(const control::AffinityEntry&)>&) const {
  return std::nullopt;
}

std::size_t EngineTables::erase_affinity(std::uint32_t, const net::Address&) {
  return 0;
}

std::size_t EngineTables::erase_affinity_scope(std::uint32_t) {
  return 0;
}

std::size_t EngineTables::erase_all_affinity() {
  return 0;
}

}  // namespace limpet::cli
