#include "lb/divert/plan_parts.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using datapath::PlanDelta;
using net::Address;
using net::Protocol;

std::vector<Address> addresses(const std::vector<L4Address>& list) {
  std::vector<Address> found;
  found.reserve(list.size());
  for (const L4Address& entry : list) found.push_back(entry.at.address);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

constexpr Protocol kProtocols[] = {Protocol::icmp,  Protocol::tcp,  Protocol::udp,
                                   Protocol::icmp6, Protocol::sctp, Protocol::udplite};

net::Family family_of(const L4Address& entry) noexcept {
  return entry.at.address.family();
}
net::Family family_of(const Address& address) noexcept {
  return address.family();
}
net::Family family_of(const net::Prefix& prefix) noexcept {
  return prefix.address().family();
}

/// How many entries of a sorted list are at that address.
std::ptrdiff_t count_at(const std::vector<L4Address>& list, const Address& address) {
  std::ptrdiff_t found = 0;
  for (const Protocol protocol : kProtocols) {
    const auto first = std::lower_bound(list.begin(), list.end(), L4Address{protocol, {address, 0}});
    const auto last = std::upper_bound(first, list.end(), L4Address{protocol, {address, 0xffff}});
    found += last - first;
  }
  return found;
}

/// The same before the change.
std::ptrdiff_t counted_at(std::vector<L4Address> DiversionPlan::*list, const DiversionPlan& after,
                          const PlanDelta& delta, const Address& address) {
  return count_at(after.*list, address) - count_at(delta.added.*list, address) + count_at(delta.removed.*list, address);
}

bool is_local(const DiversionPlan& plan, const Address& address) {
  return std::binary_search(plan.locals.begin(), plan.locals.end(), address);
}

template <typename Before, typename After>
AddressDelta compare(std::vector<Address> candidates, Before before, After after) {
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  AddressDelta delta;
  for (const Address& address : candidates) {
    const bool was = before(address);
    const bool is = after(address);
    if (is && !was) delta.added.push_back(address);
    if (was && !is) delta.removed.push_back(address);
  }
  return delta;
}

void append(std::vector<Address>& to, const std::vector<Address>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

PlanDelta part_of(const PlanDelta& delta, net::Family family) {
  return {part_of(delta.added, family), part_of(delta.removed, family)};
}

AddressDelta vips_delta(const DiversionPlan& after, const PlanDelta& delta) {
  std::vector<Address> touched = addresses(delta.added.services);
  append(touched, addresses(delta.removed.services));
  append(touched, delta.added.locals);
  append(touched, delta.removed.locals);
  std::erase_if(touched, [](const Address& address) { return address.is_loopback(); });
  return compare(
      std::move(touched),
      [&](const Address& address) {
        const bool local =
            (is_local(after, address) && !is_local(delta.added, address)) || is_local(delta.removed, address);
        return !local && counted_at(&DiversionPlan::services, after, delta, address) > 0;
      },
      [&](const Address& address) { return !is_local(after, address) && count_at(after.services, address) > 0; });
}

AddressDelta hosts_delta(const DiversionPlan& after, const PlanDelta& delta) {
  std::vector<Address> touched = addresses(delta.added.endpoints);
  append(touched, addresses(delta.removed.endpoints));
  return compare(
      std::move(touched),
      [&](const Address& address) { return counted_at(&DiversionPlan::endpoints, after, delta, address) > 0; },
      [&](const Address& address) { return count_at(after.endpoints, address) > 0; });
}

DiversionPlan part_of(const DiversionPlan& plan, net::Family family) {
  DiversionPlan part;
  datapath::each_list([&](auto list) {
    std::ranges::copy_if(plan.*list, std::back_inserter(part.*list),
                         [family](const auto& entry) { return family_of(entry) == family; });
  });
  return part;
}

bool is_active(const DiversionPlan& part) noexcept {
  return !part.services.empty() || !part.endpoints.empty() || !part.addresses.empty() || !part.prefixes.empty();
}

std::vector<Address> vips(const DiversionPlan& plan) {
  const std::vector<Address> served = addresses(plan.services);
  std::vector<Address> found;
  std::set_difference(served.begin(), served.end(), plan.locals.begin(), plan.locals.end(), std::back_inserter(found));
  std::erase_if(found, [](const Address& address) { return address.is_loopback(); });
  return found;
}

std::vector<Address> hosts(const DiversionPlan& plan) {
  return addresses(plan.endpoints);
}

}  // namespace limpet::divert
