#include "lb/divert/plan_parts.h"

#include <algorithm>
#include <iterator>

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using net::Address;

std::vector<Address> addresses(const std::vector<L4Address>& list) {
  std::vector<Address> found;
  found.reserve(list.size());
  for (const L4Address& entry : list) found.push_back(entry.at.address);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace

DiversionPlan part_of(const DiversionPlan& plan, net::Family family) {
  DiversionPlan part;
  const auto belongs = [family](const L4Address& entry) { return entry.at.address.family() == family; };
  std::copy_if(plan.services.begin(), plan.services.end(), std::back_inserter(part.services), belongs);
  std::copy_if(plan.endpoints.begin(), plan.endpoints.end(), std::back_inserter(part.endpoints), belongs);
  std::copy_if(plan.locals.begin(), plan.locals.end(), std::back_inserter(part.locals),
               [family](const Address& address) { return address.family() == family; });
  return part;
}

bool is_active(const DiversionPlan& part) noexcept {
  return !part.services.empty() || !part.endpoints.empty();
}

bool serves_loopback(const DiversionPlan& plan) noexcept {
  return std::any_of(plan.services.begin(), plan.services.end(),
                     [](const L4Address& service) { return service.at.address.is_loopback(); });
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
