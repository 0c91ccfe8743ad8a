// recent_import.h: the live affinities of kube-proxy's iptables mode, as limpet's.
//
//   KUBE-SEP-SXIVWICOYRO3J4NJ ── the same hash of a known service and endpoint ──▶ (service, endpoint)
//     src=198.18.0.7 last_seen: …  ───────────────────────────────────────────▶ client, age, confirmed
//
// What the kernel honours is taken: stamps no older than the service's timeout, inclusive. Where a client is in the
// lists of several endpoints of one service, kube-proxy's rules would send it to the first of them in the order of
// "ip:port" as text; so does this. Imported clients count as confirmed: the kernel did not ask, and to believe a live
// table is the point.
//
// A list without an endpoint here is reported by name: another node's configuration, a service that was not moved, or a
// service whose name is written otherwise than in Kubernetes (namespace/name:port). Pure; O(entries log entries).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lb/affinity/affinity_text.h"
#include "lb/rules/jiffies.h"
#include "lb/rules/recent_file.h"

namespace limpet::rules {

struct KnownEndpoint {
  std::string service;
  net::Protocol protocol{};
  net::AddressPort at;
  std::optional<flow::Seconds> timeout;  // of the service's affinity; 0: never expires; nullopt: it has none
};

struct ImportedAffinities {
  std::vector<affinity::NamedEntry> entries;  // by list, in the order of the rules
  std::size_t lists = 0;                      // that belong to an endpoint
  std::size_t expired = 0;
  std::size_t in_several = 0;              // entries that an earlier endpoint's list overrules
  std::size_t without_affinity = 0;        // entries of services that remember nobody
  std::vector<std::string> unknown_lists;  // that belong to no endpoint here
  std::size_t unknown_entries = 0;         // in those
};

ImportedAffinities import_recent(std::span<const RecentList> lists, std::span<const KnownEndpoint> endpoints,
                                 const Jiffies& jiffies);

}  // namespace limpet::rules
