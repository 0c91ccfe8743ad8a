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

/// Is there a service at 127.0.0.0/8 or ::1?
bool serves_loopback(const datapath::DiversionPlan& plan) noexcept;

/// The addresses of services that are not the node's own. Sorted, each once.
std::vector<net::Address> vips(const datapath::DiversionPlan& plan);

/// The addresses of endpoints. Sorted, each once.
std::vector<net::Address> hosts(const datapath::DiversionPlan& plan);

}  // namespace limpet::divert
