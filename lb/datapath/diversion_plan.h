// diversion_plan.h: which packets must reach the queues. Pure data: made from what is balanced,
// carried out by lb/divert.
//
// Requests are recognised by their destination, replies by their source (design: rules of one kind per hook):
//   services    every (protocol, address, port) that clients address: VIPs, and nodePorts on each of
//               the node's addresses
//   endpoints   every (protocol, address, port) that may answer
//   locals      the node's own addresses: where replies to masqueraded flows arrive
//
// Each list is sorted and free of duplicates, so that two plans can be compared and differences applied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::datapath {

struct L4Address {
  net::Protocol protocol{};
  net::AddressPort at;
  friend auto operator<=>(const L4Address&, const L4Address&) noexcept = default;
};

struct DiversionPlan {
  std::vector<L4Address> services;
  std::vector<L4Address> endpoints;
  std::vector<net::Address> locals;
  friend bool operator==(const DiversionPlan&, const DiversionPlan&) = default;
};

/// What either asks for.
inline DiversionPlan united(DiversionPlan one, const DiversionPlan& other) {
  const auto take = [](auto& into, const auto& from) {
    into.insert(into.end(), from.begin(), from.end());
    std::ranges::sort(into);
    into.erase(std::unique(into.begin(), into.end()), into.end());
  };
  take(one.services, other.services);
  take(one.endpoints, other.endpoints);
  take(one.locals, other.locals);
  return one;
}

}  // namespace limpet::datapath
