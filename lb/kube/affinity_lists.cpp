#include "lb/kube/affinity_lists.h"

#include <algorithm>

#include "lb/rules/chain_names.h"

namespace limpet::kube {
namespace {

using service::Endpoint;
using service::Service;

/// How many endpoints of the service are at this address, with a port below `port`.
std::uint32_t count_at(const Service& service, const net::Address& address, std::uint32_t below = 65536) {
  const auto count = std::ranges::count_if(service.endpoints, [&](const Endpoint& endpoint) {
    return endpoint.at.address == address && endpoint.at.port < below;
  });
  return static_cast<std::uint32_t>(count);
}

/// A list's name is a file's: without '/'.
std::string shared_list(std::string scope, const net::Address& address, std::uint32_t rank) {
  std::ranges::replace_if(
      scope, [](char letter) { return letter == '/' || letter == ' '; }, ':');
  return "limpet:" + scope + ":" + address.to_string() + ":" + std::to_string(rank);
}

}  // namespace

AffinityLists::AffinityLists(std::span<const Service> services) {
  for (const Service& service : services) {
    if (!service.affinity_timeout || !service.shares_affinity()) continue;
    for (const Endpoint& endpoint : service.endpoints) {
      std::uint32_t& ranks = ranks_[{service.affinity_group, endpoint.at.address}];
      ranks = std::max(ranks, count_at(service, endpoint.at.address));
    }
  }
}

EndpointLists AffinityLists::of(const Service& service, std::uint32_t index) const {
  const net::AddressPort& at = service.endpoints[index].at;
  if (!service.shares_affinity()) {
    std::string list = rules::endpoint_chain(service.name, service.protocol, at);
    return {list, {list}};
  }
  const std::uint32_t own = count_at(service, at.address), all = ranks_.at({service.affinity_group, at.address});
  std::uint32_t rank = count_at(service, at.address, at.port);
  EndpointLists lists{shared_list(service.affinity_group, at.address, rank), {}};
  for (; rank < all; rank += own) lists.asked.push_back(shared_list(service.affinity_group, at.address, rank));
  return lists;
}

}  // namespace limpet::kube
