// identities.h: the names under which tables remember what the configuration says, from one configuration to the next and
// from one process to the next.
//
//   endpoint ids   one per endpoint of a service port, with a state in the EndpointSlots
//   scopes         one per service port with affinity (or one that several share): the first half of an affinity's key
//   address ids    one per address in a shared scope: what such a scope remembers instead of one port's endpoint. Where
//                  a port has several endpoints at an address, the n-th by port number is the address's n-th; who has
//                  fewer there counts round, so that each client keeps to one in every port
//
//   affinity ids   what a scope remembers of an endpoint: its id, or its address's, while it can be reached at all
//                  (endpoint_sets.h). One that has been out of every set comes back under another, as kube-proxy forgets
//                  the clients of an endpoint that has no rule; its flows and its own id are not touched by that
//
//   assign(services)       all that there are, from now on; their states are in force at once
//   update(gone, made)     the services of `gone` give way to those of `made`; all others stay as they are. Their states
//                          are for the caller to put in force, when it publishes them (endpoint_slots.h)
//                          same service name, same address:port   → same EndpointId
//                          same scope name, affinity still on     → same scope
//                          gone from the configuration            → its slot is cleared, its name forgotten:
//                                                                   if it returns it is new, and its clients choose
//                                                                   afresh
//
// The names lie in a given piece of memory, which may be a file that outlives the process:
//
//   header       next id, next scope
//   endpoint[n]  id (0: free), affinity id (0: not reachable), hash of the service's or scope's name, address, port
//                the index is the slot
//   scope[m]     scope (0: free), hash of its name
//
// Names are 128 bits of SipHash-1-3 under the file's key. A record's id is stored last and cleared first, and a number is
// used up before it is given: a process that is killed at any instant leaves whole records and no number twice.
//
// Ids and scopes are never reused; ids have 32 bits, scopes 24 (the affinity entry's layout). A slot is reused once it is
// free and, as the caller says, no flow names it; of those the one that has been free longest. When any of them runs out,
// assign() and update() refuse and change nothing.
// Control thread only. O(1) expected an endpoint of the services named, and a look at each free slot that flows still name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "conntrack/store/result.h"
#include "conntrack/store/siphash.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/service/endpoint_sets.h"
#include "lb/service/service.h"

namespace limpet::service {

/// Ids as an affinity stores them, each with the index of the endpoint that it means here.
using AffinityAliases = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// The names of one service port.
struct ServiceIds {
  std::uint32_t affinity_scope = 0;             // 0: no affinity
  std::vector<datapath::EndpointId> endpoints;  // in the order of Service::endpoints
  std::vector<std::uint32_t> affinity_ids;      // the same order: what an affinity of this scope stores; 0: nothing
  AffinityAliases aliases;                      // what else it may store
};

struct NamedServices {
  std::vector<ServiceIds> ids;                 // one element per service, in order
  std::vector<datapath::StateChange> changes;  // of the endpoints of all services named
};

struct IdentityLimits {
  std::uint32_t endpoints = 65536;  // names of endpoints and of addresses at once: slots
  std::uint32_t scopes = 16384;     // affinity scopes at once
};

class Identities {
 public:
  static constexpr std::uint32_t kScopes = (1U << 24) - 1;

  /// Remembered in this object alone; as many names as there are slots.
  explicit Identities(datapath::EndpointSlots& slots);
  /// `memory` has memory(limits) bytes, aligned to 8: all zero, or what another process left. `slots` has room for
  /// limits.endpoints.
  Identities(datapath::EndpointSlots& slots, const IdentityLimits& limits, const store::HashKey& key,
             std::span<std::byte> memory);
  ~Identities();
  Identities(const Identities&) = delete;
  Identities& operator=(const Identities&) = delete;

  static std::size_t memory(const IdentityLimits& limits) noexcept;
  /// Names what the memory looks like: two builds that agree on it may take over each other's.
  static std::string layout(const IdentityLimits& limits);

  using SlotInUse = std::function<bool(std::uint32_t slot)>;
  /// One element per service, in order. Service names are unique within a family. An endpoint of weight 0 drains: serving,
  /// not ready. `place` is this node's; without it every endpoint counts as reachable.
  store::Result<std::vector<ServiceIds>> assign(
      std::span<const Service> services, const SlotInUse& in_use = [](std::uint32_t) { return false; },
      const std::optional<Place>& place = std::nullopt);
  store::Result<std::vector<ServiceIds>> assign(std::span<const Service* const> services, const SlotInUse& in_use,
                                                const std::optional<Place>& place);
  /// The same for `made`, which take the place of `gone`: those are services as assign() or update() had them. Of a scope
  /// that several share all must be named, or none: they know of each other's addresses.
  store::Result<NamedServices> update(std::span<const Service* const> gone, std::span<const Service* const> made,
                                      const SlotInUse& in_use, const std::optional<Place>& place);
  /// Takes out endpoints whose names are not known, and services that would need a name all the same.
  void leave_known(std::vector<Service>& services) const;
  const IdentityLimits& limits() const noexcept { return limits_; }

 private:
  using NameHash = std::array<std::uint64_t, 2>;
  using EndpointName = std::pair<NameHash, net::AddressPort>;
  struct Header;
  struct EndpointRecord;
  struct ScopeRecord;
  struct NameHasher {
    std::size_t operator()(const NameHash& name) const noexcept { return static_cast<std::size_t>(name[0]); }
    std::size_t operator()(const EndpointName& name) const noexcept;
  };
  /// Names, by how many more of the services named have them than before.
  struct Change {
    std::unordered_map<EndpointName, int, NameHasher> endpoints;
    std::unordered_map<NameHash, int, NameHasher> scopes;
  };
  struct KnownEndpoint {
    datapath::EndpointId id;
    std::uint32_t services = 0;  // that have it; 0: only the memory says so
  };
  struct KnownScope {
    std::uint32_t index = 0;  // of its record
    std::uint32_t services = 0;
  };

  void attach(std::span<std::byte> memory);
  void attach_endpoints();
  void attach_scopes();
  NameHash hash(std::string_view name) const noexcept;
  /// Adds `by` to the names that each service needs.
  void count(std::span<const Service* const> services, const std::optional<Place>& place, int by, Change& change) const;
  store::Result<NamedServices> carry_out(const Change& change, std::span<const Service* const> made,
                                         const SlotInUse& in_use, const std::optional<Place>& place);
  ServiceIds ids_of(const Service& service, const std::optional<Place>& place, const SlotInUse& in_use,
                    std::vector<datapath::StateChange>& changes);
  store::Status check_room(const Change& change, const SlotInUse& in_use);
  /// Takes over what the change says of names that are known, and forgets those that nobody has any more.
  void settle(const Change& change, std::vector<datapath::StateChange>& changes);
  datapath::EndpointId forget(const EndpointName& name);
  /// The ids of addresses of `service` that another service port of its scope has more endpoints at.
  AffinityAliases aliases(const Service& service) const;
  datapath::EndpointId endpoint(const EndpointName& name, const SlotInUse& in_use);
  std::uint32_t take_slot(const SlotInUse& in_use);
  /// What an affinity stores of the endpoint or address in this slot.
  std::uint32_t affinity_id(std::uint32_t slot, bool reachable);
  std::uint32_t scope(const NameHash& name);

  datapath::EndpointSlots& slots_;
  IdentityLimits limits_;
  store::HashKey key_;
  std::unique_ptr<std::uint64_t[]> own_memory_;
  Header* header_ = nullptr;
  std::span<EndpointRecord> endpoint_records_;
  std::span<ScopeRecord> scope_records_;
  // What the records say, and which of them are free.
  std::unordered_map<EndpointName, KnownEndpoint, NameHasher> endpoints_;
  std::unordered_map<NameHash, KnownScope, NameHasher> scopes_;
  std::deque<std::uint32_t> free_slots_;  // the next first
  std::deque<std::uint32_t> free_scopes_;
};

}  // namespace limpet::service
