// plan_parts.h: what both back-ends need to know of a diversion plan. Pure.
#pragma once

#include <vector>

#include "conntrack/net/address.h"
#include "lb/datapath/diversion_plan.h"

namespace limpet::divert {

/// The part of a plan that concerns one family.
datapath::DiversionPlan part_of(const datapath::DiversionPlan& plan, net::Family family);

/// Does a family take part, whose part this is?
bool is_active(const datapath::DiversionPlan& part) noexcept;

/// Echo requests to a VIP: the "port" is ICMP type << 8 | code.
constexpr bool is_icmp(net::Protocol protocol) noexcept {
  return protocol == net::Protocol::icmp || protocol == net::Protocol::icmp6;
}

/// The addresses of services that are not the node's own. Sorted, each once.
std::vector<net::Address> vips(const datapath::DiversionPlan& plan);

/// The addresses of endpoints. Sorted, each once.
std::vector<net::Address> hosts(const datapath::DiversionPlan& plan);

/// What becomes of one of these two when a plan changes: what comes, what goes. Sorted, each once.
struct AddressDelta {
  std::vector<net::Address> added;
  std::vector<net::Address> removed;
};

/// Of vips() and hosts(), for `after`, which `delta` has led to. O(change · log plan).
AddressDelta vips_delta(const datapath::DiversionPlan& after, const datapath::PlanDelta& delta);
AddressDelta hosts_delta(const datapath::DiversionPlan& after, const datapath::PlanDelta& delta);

/// The part of a change that concerns one family.
datapath::PlanDelta part_of(const datapath::PlanDelta& delta, net::Family family);

}  // namespace limpet::divert
