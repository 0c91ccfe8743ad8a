#include "lb/rules/recent_import.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "lb/affinity/affinity.h"
#include "lb/rules/chain_names.h"

namespace limpet::rules {
namespace {

struct Owned {
  const RecentList* list;
  const KnownEndpoint* endpoint;
  std::string text;  // "ip:port": the rules' order
};

using ByChain = std::unordered_map<std::string, const KnownEndpoint*>;

ByChain by_chain(std::span<const KnownEndpoint> endpoints) {
  ByChain chains;
  for (const KnownEndpoint& endpoint : endpoints) {
    chains.emplace(endpoint_chain(endpoint.service, endpoint.protocol, endpoint.at), &endpoint);
  }
  return chains;
}

/// The lists of known endpoints, in the order in which kube-proxy's rules ask them.
std::vector<Owned> owned_lists(std::span<const RecentList> lists, const ByChain& chains, ImportedAffinities& imported) {
  std::vector<Owned> owned;
  for (const RecentList& list : lists) {
    const auto found = chains.find(list.name);
    if (found != chains.end()) {
      owned.push_back({&list, found->second, found->second->at.to_string()});
    } else {
      imported.unknown_lists.push_back(list.name);
      imported.unknown_entries += list.entries.size();
    }
  }
  std::sort(owned.begin(), owned.end(), [](const Owned& a, const Owned& b) {
    return std::tie(a.endpoint->service, a.text) < std::tie(b.endpoint->service, b.text);
  });
  imported.lists = owned.size();
  return owned;
}

}  // namespace

ImportedAffinities import_recent(std::span<const RecentList> lists, std::span<const KnownEndpoint> endpoints,
                                 const Jiffies& jiffies) {
  ImportedAffinities imported;
  std::set<std::pair<std::string_view, net::Address>> taken;
  for (const auto& [list, endpoint, text] : owned_lists(lists, by_chain(endpoints), imported)) {
    if (!endpoint->timeout) {
      imported.without_affinity += list->entries.size();
      continue;
    }
    for (const RecentEntry& entry : list->entries) {
      const flow::Milliseconds age = jiffies.age(entry.last_seen);
      if (affinity::has_expired(age, *endpoint->timeout)) {
        ++imported.expired;
      } else if (!taken.emplace(endpoint->service, entry.source).second) {
        ++imported.in_several;
      } else {
        imported.entries.push_back({endpoint->service, entry.source, endpoint->at, age, true});
      }
    }
  }
  return imported;
}

}  // namespace limpet::rules
