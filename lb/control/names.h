// names.h: what endpoint ids and affinity scopes are called, by a snapshot. Built once for each snapshot, O(endpoints); each
// question O(1).
//
// Where several service ports share a scope, an id in it is an address's, and so the endpoints of several of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/service/snapshot.h"

namespace limpet::control {

class Names {
 public:
  struct Endpoint {
    const service::ServicePort* port = nullptr;  // nullptr: it has left the configuration
    std::uint32_t index = 0;
  };

  explicit Names(std::shared_ptr<const service::Snapshot> snapshot);

  const service::Snapshot& snapshot() const noexcept { return *snapshot_; }
  /// In the order in which they are listed.
  const service::Snapshot::Ports& ports() const noexcept { return ports_; }
  bool is_of(const service::Snapshot* snapshot) const noexcept { return snapshot_.get() == snapshot; }
  /// The first of endpoints().
  Endpoint endpoint(std::uint32_t id) const;
  /// All that the id names, in the order of the services; empty: it has left the configuration.
  std::span<const Endpoint> endpoints(std::uint32_t id) const;
  // nullptr: no such service.
  const service::ServicePort* scope(std::uint32_t scope) const;
  /// The network under which the scope knows a client that it has remembered as `client`.
  net::Prefix network(std::uint32_t scope, const net::Address& client) const;
  const service::ServicePort* service(const std::string& name) const;

 private:
  std::shared_ptr<const service::Snapshot> snapshot_;
  service::Snapshot::Ports ports_;
  struct Scope {
    const service::ServicePort* first = nullptr;
    std::array<std::uint8_t, 2> prefix{};  // of IPv4 and IPv6 clients; 0: whole addresses
  };

  std::unordered_map<std::uint32_t, std::vector<Endpoint>> endpoints_;
  std::unordered_map<std::uint32_t, Scope> scopes_;
  std::unordered_map<std::string, const service::ServicePort*> services_;
};

}  // namespace limpet::control
