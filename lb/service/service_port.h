// service_port.h: one service port, ready to be served. Immutable.
//
//   endpoints   [ e0 e1 e2 e3 … ]      as configured; an index names one from here on
//   sets        cluster  {e0 e1 e2 e3}  + alias table      (endpoint_sets.h says who is in them)
//               local    {e0 e2}        + alias table
//   by id       what an affinity stores (an endpoint's id; in a shared scope its address's) → index, and from there in O(1)
//               whether it is in a set: what affinity asks
//
// Each is built from its own Service and knows no other: one service can be replaced in a snapshot without its
// neighbours. pick and find are O(1), admits O(log ranges); build is O(endpoints). Any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conntrack/flow/affinity_name.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/pick/alias.h"
#include "lb/pick/rng.h"
#include "lb/service/address_ranges.h"
#include "lb/service/endpoint_sets.h"
#include "lb/service/id_index.h"
#include "lb/service/identities.h"
#include "lb/service/service.h"

namespace limpet::service {

class ServicePort {
 public:
  /// `place` decides which endpoints are local, and whose hints are followed.
  ServicePort(std::shared_ptr<const Service> service, ServiceIds ids, const Place& place);
  ServicePort(Service service, ServiceIds ids, const Place& place)
      : ServicePort(std::make_shared<const Service>(std::move(service)), std::move(ids), place) {}

  const Service& service() const noexcept { return *service_; }
  std::uint32_t affinity_scope() const noexcept { return ids_.affinity_scope; }
  datapath::EndpointId id(std::uint32_t index) const noexcept { return ids_.endpoints[index]; }
  /// What an affinity remembers in place of this endpoint: its id, or where the scope is shared, its address's; 0: nothing,
  /// for it can be reached by nobody.
  std::uint32_t affinity_id(std::uint32_t index) const noexcept { return ids_.affinity_ids[index]; }
  const net::AddressPort& address(std::uint32_t index) const noexcept { return service_->endpoints[index].at; }

  bool empty(Set set) const noexcept { return members(set).table.empty(); }
  /// Is there an endpoint that anybody anywhere could use?
  bool usable() const noexcept { return sets_.usable; }
  /// May this source use the load balancer's addresses?
  bool admits(const net::Address& source) const noexcept {
    return service_->source_ranges.empty() || sources_.contain(source);
  }
  /// Index of an endpoint. Not on an empty set.
  std::uint32_t pick(Set set, pick::Rng& rng) const noexcept {
    const Members& from = members(set);
    return from.indices[from.table.pick(rng)];
  }
  /// The index of the endpoint that `id`, as an affinity stores it, names, if it is in `set` and holds any weight.
  std::optional<std::uint32_t> find(std::uint32_t id, Set set) const noexcept;
  /// Why a client that is remembered for `id` must choose afresh, where find() has nothing.
  datapath::Move move_from(std::uint32_t id) const noexcept;
  /// What is remembered of a client that is sent to this endpoint; empty without affinity.
  flow::AffinityName remembered(std::uint32_t index) const noexcept { return remembered_by(affinity_id(index)); }
  /// Of one that is remembered for `id`; empty without affinity.
  flow::AffinityName remembered_by(std::uint32_t id) const noexcept {
    if (affinity_scope() == 0) return {};
    return {affinity_scope(), service_->affinity_prefix, id};
  }

  /// The address under which affinity knows this client: its network's, where a prefix is configured.
  net::Address known_as(const net::Address& client) const noexcept {
    return flow::AffinityName(affinity_scope(), service_->affinity_prefix, 0).mask(client);
  }

  /// Why an endpoint is not in `set`.
  LeftOut left_out(std::uint32_t index, Set set) const noexcept { return sets_.left_out(index, set); }
  /// "ip:port" of every member, sorted as text (kube-proxy's rule order).
  std::vector<std::string> candidates(Set set) const;

 private:
  struct Members {
    std::vector<std::uint32_t> indices;  // ascending
    pick::AliasTable table;              // over indices
  };
  const Members& members(Set set) const noexcept { return set == Set::local ? local_ : cluster_; }
  Members gather(Set set) const;

  std::shared_ptr<const Service> service_;
  ServiceIds ids_;
  EndpointSets sets_;
  AddressRanges sources_;
  IdIndex by_id_;  // as an affinity stores it → index
  Members cluster_;
  Members local_;
};

}  // namespace limpet::service
