#include "lb/lab/offline_rules.h"

#include <algorithm>
#include <utility>

namespace limpet::lab {
namespace {

using datapath::Hook;
using datapath::L4Address;
using Kind = PacketFacts::Kind;

template <typename T>
bool holds(const std::vector<T>& sorted, const T& value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

std::vector<net::Address> addresses_of(const std::vector<L4Address>& list) {
  std::vector<net::Address> result;
  for (const L4Address& entry : list) result.push_back(entry.at.address);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace

OfflineRules::OfflineRules(datapath::DiversionPlan plan, std::uint32_t mark_mask, bool direct)
    : plan_(std::move(plan)),
      service_addresses_(addresses_of(plan_.services)),
      endpoint_addresses_(addresses_of(plan_.endpoints)),
      mark_mask_(mark_mask),
      direct_(direct) {}

bool OfflineRules::is_service(net::Protocol protocol, const net::AddressPort& at) const {
  return holds(plan_.services, {protocol, at});
}

bool OfflineRules::is_endpoint(net::Protocol protocol, const net::AddressPort& at) const {
  return holds(plan_.endpoints, {protocol, at});
}

bool OfflineRules::is_refused(net::Protocol protocol, const net::Address& address) const {
  if (protocol == net::Protocol::icmp || protocol == net::Protocol::icmp6) return false;
  const auto contains = [&](const net::Prefix& prefix) { return prefix.contains(address); };
  return std::ranges::any_of(plan_.prefixes, contains) || holds(plan_.addresses, address);
}

bool OfflineRules::divert(const PacketFacts& packet, Hook hook, std::uint32_t mark) const {
  if (packet.kind == Kind::unreadable) return false;
  if (packet.kind == Kind::icmp_error) return true;
  if (datapath::rewrites_destination(hook)) return divert_destination(packet, hook);
  if (hook == Hook::postrouting && (mark & mark_mask_) != 0) return true;
  if (packet.kind != Kind::later_fragment) return is_endpoint(packet.tuple.protocol, packet.tuple.source);
  return hook == Hook::postrouting && holds(endpoint_addresses_, packet.tuple.source.address);
}

bool OfflineRules::divert_destination(const PacketFacts& packet, Hook hook) const {
  const auto& [protocol, source, destination] = packet.tuple;
  const bool to_node = hook == Hook::prerouting && holds(plan_.locals, destination.address);
  if (packet.kind == Kind::later_fragment) {
    const bool to_vip = holds(service_addresses_, destination.address);
    return (hook == Hook::prerouting && (to_node || to_vip)) || is_refused(protocol, destination.address);
  }
  const bool loopback = hook == Hook::prerouting && destination.address.is_loopback();  // served at OUTPUT only
  if (!loopback && is_service(protocol, destination)) return true;
  if (to_node && is_endpoint(protocol, source)) return true;
  if (is_refused(protocol, destination.address)) return true;
  return direct_ && is_endpoint(protocol, destination);
}

}  // namespace limpet::lab
