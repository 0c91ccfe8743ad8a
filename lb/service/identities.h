// identities.h: the names under which tables remember what the configuration says, from one configuration to the next.
//
//   endpoint ids   one per endpoint of a service port, in force in the EndpointSlots
//   scopes         one per service port with affinity: the first half of an affinity's key
//
//   assign(new services)   same service name, same address:port   → same EndpointId
//                          same service name, affinity still on   → same scope
//                          gone from the configuration            → its slot is cleared, its name forgotten:
//                                                                   if it returns it is new, and its clients choose
//                                                                   afresh
//
// Neither ids nor scopes are ever reused, nor, in this table, are slots. Scopes have 24 bits (the affinity entry's
// layout). When either runs out, assign() refuses and changes nothing.
// Control thread only. O(endpoints) a call.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/service/service.h"

namespace limpet::service {

/// The names of one service port.
struct ServiceIds {
  std::uint32_t affinity_scope = 0;             // 0: no affinity
  std::vector<datapath::EndpointId> endpoints;  // in the order of Service::endpoints
};

class Identities {
 public:
  static constexpr std::uint32_t kScopes = (1U << 24) - 1;

  explicit Identities(datapath::EndpointSlots& slots) noexcept : slots_(slots) {}

  /// One element per service, in order. Service names are unique. An endpoint of weight 0 drains: serving, not ready.
  store::Result<std::vector<ServiceIds>> assign(std::span<const Service> services);

 private:
  using EndpointName = std::pair<std::string, net::AddressPort>;
  using EndpointNames = std::map<EndpointName, datapath::EndpointId>;
  using ScopeNames = std::map<std::string, std::uint32_t>;

  store::Status check_room(std::span<const Service> services) const;
  void clear_gone(const EndpointNames& kept);

  datapath::EndpointSlots& slots_;
  EndpointNames endpoints_;
  ScopeNames scopes_;
  std::uint32_t next_slot_ = 0;
  std::uint32_t next_id_ = 1;
  std::uint32_t next_scope_ = 1;
};

}  // namespace limpet::service
