// affinity_lists.h: the `recent` lists that remember clients of an endpoint, by name.
//
//   a scope of its own   one list an endpoint, named as its chain: KUBE-SEP-SXIVWICOYRO3J4NJ (kube-proxy)
//   a shared scope       one list an address and rank, whatever service port: limpet:group:web:10.28.8.6:0
//
// In a shared scope clients are remembered for addresses. A service port may have several endpoints at one: the n-th by
// port number is the address's n-th (its rank). Where another service port has more there, ranks count round, so an
// endpoint is asked for under several (service/identities.h says the same of limpet's own table).
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lb/service/service.h"

namespace limpet::kube {

struct EndpointLists {
  std::string set;                 // who is sent there is remembered in this one
  std::vector<std::string> asked;  // who is in one of these is sent there
};

class AffinityLists {
 public:
  explicit AffinityLists(std::span<const service::Service> services);

  /// Of `service.endpoints[index]`.
  EndpointLists of(const service::Service& service, std::uint32_t index) const;

 private:
  using Place = std::pair<std::string, net::Address>;  // shared scope, address
  std::map<Place, std::uint32_t> ranks_;               // how many the address has
};

}  // namespace limpet::kube
