#include "lb/service/identities.h"

namespace limpet::service {
namespace {

std::uint8_t state_of(const Endpoint& endpoint) {
  constexpr std::uint8_t kServing = datapath::EndpointSlots::serving;
  constexpr std::uint8_t kReady = datapath::EndpointSlots::ready;
  return endpoint.weight == 0 ? kServing : kServing | kReady;
}

/// The known value for `name`, else the next unused one.
template <typename Names, typename Make>
auto keep_or_make(const Names& known, const typename Names::key_type& name, Make make) {
  const auto found = known.find(name);
  return found != known.end() ? found->second : make();
}

}  // namespace

store::Result<std::vector<ServiceIds>> Identities::assign(std::span<const Service> services) {
  if (const store::Status room = check_room(services); !room) return room.error();
  EndpointNames endpoints;
  ScopeNames scopes;
  std::vector<ServiceIds> all;
  all.reserve(services.size());
  for (const Service& service : services) {
    ServiceIds ids;
    if (service.affinity_timeout) {
      ids.affinity_scope = keep_or_make(scopes_, service.name, [&] { return next_scope_++; });
      scopes.emplace(service.name, ids.affinity_scope);
    }
    for (const Endpoint& endpoint : service.endpoints) {
      const EndpointName name{service.name, endpoint.at};
      const auto id = keep_or_make(endpoints_, name, [&] { return datapath::EndpointId{next_slot_++, next_id_++}; });
      slots_.set(id, state_of(endpoint));
      endpoints.emplace(name, id);
      ids.endpoints.push_back(id);
    }
    all.push_back(std::move(ids));
  }
  clear_gone(endpoints);
  endpoints_ = std::move(endpoints);
  scopes_ = std::move(scopes);
  return all;
}

store::Status Identities::check_room(std::span<const Service> services) const {
  std::uint64_t new_endpoints = 0;
  std::uint64_t new_scopes = 0;
  for (const Service& service : services) {
    if (service.affinity_timeout && !scopes_.contains(service.name)) ++new_scopes;
    for (const Endpoint& endpoint : service.endpoints) {
      if (!endpoints_.contains({service.name, endpoint.at})) ++new_endpoints;
    }
  }
  if (next_slot_ + new_endpoints > slots_.capacity()) {
    return store::Error{store::ErrorKind::configuration,
                        std::to_string(new_endpoints) + " new endpoints do not fit: " + std::to_string(next_slot_) +
                            " of " + std::to_string(slots_.capacity()) + " slots have been used; restart to free them"};
  }
  if (next_scope_ - 1 + new_scopes > kScopes) {
    return store::Error{
        store::ErrorKind::configuration,
        "all " + std::to_string(kScopes) + " affinity scopes have been used since the start; restart to free them"};
  }
  return store::ok();
}

void Identities::clear_gone(const EndpointNames& kept) {
  for (const auto& [name, id] : endpoints_) {
    if (!kept.contains(name)) slots_.set(id, 0);
  }
}

}  // namespace limpet::service
