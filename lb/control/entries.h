// entries.h: the objects that lists are made of. Keys in the order that they stand here; in brackets only where they have a
// meaning; seconds to the millisecond.
//
//   service   service, protocol, clusterIP|null, port, [externalIPs], [loadBalancerIPs], nodePort|null, affinity:
//             seconds|null (0: never expires), externalTrafficPolicy, internalTrafficPolicy, masquerade, endpoints: how
//             many, usable: of these that new connections may be sent to, by any door
//   endpoint  service, protocol, endpoint, node|null, weight, state: "ready|draining|gone", id, opened, active, established,
//             refused, timed_out
//   affinity  service|null, client, endpoint|null, confirmed, age, expires_in|null (never; or its service is gone),
//             [endpoint_id] (of an endpoint that has left the configuration), [scope] (of such a service). The service
//             is the endpoint's own, also where several share the scope
//   flow      protocol, state, client, service_address, endpoint, service|null, [client_near], [egress], confirmed, direct,
//             expires_in
//   recent list   list, entries, capacity: of entries|null (unlimited), stamps: of an entry, evicted,
//             starved, reaped, flushed: entries so far, bytes
//   recent entry  client, ttl, last_seen, oldest_pkt, stamps: as in /proc/net/xt_recent (jiffies; lb/affinity/recent_text.h)
#pragma once

#include <nlohmann/json.hpp>

#include "lb/affinity/recent_table.h"
#include "lb/control/names.h"
#include "lb/control/tables.h"

namespace limpet::control {

nlohmann::ordered_json to_json(const service::ServicePort& port);
nlohmann::ordered_json to_json(const service::ServicePort& port, std::uint32_t endpoint,
                               const EndpointFigures& figures);
/// `endpoint`: of those that names.endpoints(entry.endpoint_id) gives; its port is nullptr if there is none.
nlohmann::ordered_json to_json(const AffinityEntry& entry, const Names::Endpoint& endpoint, const Names& names);
nlohmann::ordered_json to_json(const FlowEntry& entry, const Names& names);
nlohmann::ordered_json to_json(const affinity::RecentTable& list);
nlohmann::ordered_json to_json(const affinity::RecentRecord& record);

}  // namespace limpet::control
