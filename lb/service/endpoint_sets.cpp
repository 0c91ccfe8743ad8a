#include "lb/service/endpoint_sets.h"

#include <algorithm>

namespace limpet::service {
namespace {

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_fallback(const Endpoint& endpoint) noexcept {
  return endpoint.serving && endpoint.terminating;
}

/// LeftOut::no: it is ready, or it serves while it terminates and `fallback` is due.
LeftOut by_condition(const Endpoint& endpoint, bool fallback) noexcept {
  if (endpoint.weight == 0) return LeftOut::no_weight;
  if (fallback) return is_fallback(endpoint) ? LeftOut::no : LeftOut::not_ready;
  if (endpoint.ready) return LeftOut::no;
  return is_fallback(endpoint) ? LeftOut::terminating : LeftOut::not_ready;
}

/// Which of the endpoints' hints count.
enum class Hints { none, node, zone };

bool names_place(const Endpoint& endpoint, Hints hints, const Place& place) {
  return hints == Hints::node ? contains(endpoint.node_hints, place.node) : contains(endpoint.zone_hints, place.zone);
}

bool has(const Endpoint& endpoint, Hints hints) {
  return !(hints == Hints::node ? endpoint.node_hints : endpoint.zone_hints).empty();
}

/// Has every ready endpoint such hints, and is one of them for this place?
bool count(const std::vector<Endpoint>& endpoints, Hints hints, const Place& place) {
  bool named = false;
  for (const Endpoint& endpoint : endpoints) {
    if (by_condition(endpoint, false) != LeftOut::no) continue;
    if (!has(endpoint, hints)) return false;
    named = named || names_place(endpoint, hints, place);
  }
  return named;
}

Hints hints_of(const std::vector<Endpoint>& endpoints, const Place& place) {
  if (!place.node.empty() && count(endpoints, Hints::node, place)) return Hints::node;
  if (!place.zone.empty() && count(endpoints, Hints::zone, place)) return Hints::zone;
  return Hints::none;
}

LeftOut by_hints(const Endpoint& endpoint, Hints hints, const Place& place) {
  if (hints == Hints::none || names_place(endpoint, hints, place)) return LeftOut::no;
  return hints == Hints::node ? LeftOut::node_hint : LeftOut::zone_hint;
}

}  // namespace

std::string_view to_string(LeftOut cause) noexcept {
  switch (cause) {
    case LeftOut::no:
      break;
    case LeftOut::no_weight:
      return "weight 0";
    case LeftOut::not_ready:
      return "not ready";
    case LeftOut::terminating:
      return "terminating, and others are ready";
    case LeftOut::other_node:
      return "not on this node";
    case LeftOut::node_hint:
      return "its hints are for other nodes";
    case LeftOut::zone_hint:
      return "its hints are for other zones";
  }
  return {};
}

EndpointSets::EndpointSets(const Service& service, const Place& place) {
  const std::vector<Endpoint>& endpoints = service.endpoints;
  const auto here = [&](const Endpoint& endpoint) {
    return !endpoint.node_name.empty() && endpoint.node_name == place.node;
  };
  const auto any = [&](const auto& condition) { return std::any_of(endpoints.begin(), endpoints.end(), condition); };
  const auto is_ready = [](const Endpoint& endpoint) { return by_condition(endpoint, false) == LeftOut::no; };
  const bool ready = any(is_ready);
  const bool ready_here = any([&](const Endpoint& endpoint) { return here(endpoint) && is_ready(endpoint); });
  usable = ready || any([](const Endpoint& endpoint) { return by_condition(endpoint, true) == LeftOut::no; });

  const Hints hints = hints_of(endpoints, place);
  causes.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) {
    LeftOut cluster = by_condition(endpoint, !ready);
    if (cluster == LeftOut::no && ready) cluster = by_hints(endpoint, hints, place);
    const LeftOut local = here(endpoint) ? by_condition(endpoint, !ready_here) : LeftOut::other_node;
    causes.push_back({cluster, local});
  }
}

bool uses(const Service& service, Set set) noexcept {
  const bool external = service.is_external();
  if (set == Set::cluster) return service.internal_policy == TrafficPolicy::cluster || external;
  return service.internal_policy == TrafficPolicy::local ||
         (external && service.external_policy == TrafficPolicy::local);
}

bool is_reachable(const Service& service, const EndpointSets& sets, std::uint32_t index) noexcept {
  const auto in = [&](Set set) {
    const LeftOut cause = sets.left_out(index, set);
    return uses(service, set) && (cause == LeftOut::no || cause == LeftOut::no_weight);
  };
  return in(Set::cluster) || in(Set::local);
}

}  // namespace limpet::service
