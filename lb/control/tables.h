// tables.h: what the API shows of a running limpet. The API's only way to it: in tests a few lines stand in its place.
//
// Entries are handed over as values, endpoints and scopes by their numbers (names.h knows what they are called). Visits go
// piece by piece: a piece looks at `budget` places of the table and holds no lock for longer than the table itself thinks
// right, so a listing of millions of entries never stops a worker. An entry that stays where it is while a listing goes on is
// shown once; one that comes, goes or moves meanwhile may be missed.
//
// Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "conntrack/flow/endpoint_id.h"
#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "lb/affinity/affinity.h"
#include "lb/affinity/recent_lists.h"
#include "lb/datapath/decider.h"
#include "lb/service/snapshot.h"

namespace limpet::control {

struct FlowEntry {
  net::Protocol protocol{};
  std::string_view state;  // nf_conntrack's word; UNREPLIED, REPLIED or ASSURED where the protocol has no states
  net::AddressPort client;
  net::AddressPort service;
  std::string_view ruled_service = {};  // its name, where an iptables program has it and says so
  net::AddressPort endpoint;
  net::AddressPort client_near;  // the client as it is known behind the destination NAT
  net::AddressPort egress;       // port 0: not masqueraded, or not yet
  std::uint32_t endpoint_id = 0;
  bool masquerade = false;
  bool confirmed = false;
  bool replied = false;
  bool direct = false;
  flow::Milliseconds left{};  // until it is idle for too long
};

struct AffinityEntry {
  std::uint32_t scope = 0;
  net::Address client;
  std::uint32_t endpoint_id = 0;
  bool confirmed = false;
  flow::Milliseconds age{};  // since its last refresh
};

/// How an endpoint fares now.
struct EndpointFigures {
  bool ready = false;
  bool serving = false;
  std::uint64_t opened = 0;
  std::uint64_t active = 0;
  std::uint64_t established = 0;
  std::uint64_t refused = 0;
  std::uint64_t timed_out = 0;
};

class Tables {
 public:
  /// Where a visit goes on; 0: the beginning.
  using Cursor = std::uint64_t;

  Tables() = default;
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
  virtual ~Tables() = default;

  virtual std::shared_ptr<const service::Snapshot> snapshot() const = 0;
  virtual EndpointFigures figures(flow::EndpointId endpoint) const = 0;
  /// The name of the service that such a connection is for; empty: none.
  virtual std::string service_of(const datapath::NewConnection& connection) const = 0;
  virtual nlohmann::ordered_json stats() const = 0;   // an object
  virtual nlohmann::ordered_json queues() const = 0;  // an array of objects, each with "queue"

  /// What the rules of an iptables program remember; nullptr: none runs. Lives as long as the object.
  virtual const affinity::RecentLists* recent_lists() const = 0;

  // At most `budget` places looked at and entries visited; where to go on, nullopt at the end. A cursor that never was one
  // is the end.
  virtual std::optional<Cursor> visit_flows(Cursor from, std::size_t budget,
                                            const std::function<void(const FlowEntry&)>& visit) const = 0;
  virtual std::optional<Cursor> visit_affinity(Cursor from, std::size_t budget,
                                               const std::function<void(const AffinityEntry&)>& visit) const = 0;

  /// An entry that comes from elsewhere: nobody who is remembered already is moved.
  using Put = affinity::Put;
  virtual Put put_affinity(const AffinityEntry& entry) = 0;

  // How many there were.
  virtual std::size_t erase_affinity(std::uint32_t scope, const net::Address& client) = 0;
  virtual std::size_t erase_affinity_scope(std::uint32_t scope) = 0;
  virtual std::size_t erase_all_affinity() = 0;
};

}  // namespace limpet::control
