// vip_routes.h: routes that let local clients speak to VIPs.
//
//   connect(VIP) ─▶ route lookup: must find *some* route, or ENETUNREACH ─▶ raw OUTPUT: dst := endpoint ─▶ routed again
//
// A VIP that no route covers gets one: `VIP dev lo src NODE proto 76`. Where it leads is of no importance (the packet
// is routed again), that it gives the client a source address is. VIPs that the node owns, or that a route covers
// already (a default route, most often), are left alone. The protocol number is limpet's own mark on what it added:
// exactly the routes that carry it are removed in the end.
//
// Only what differs from the kernel's own table is sent: a route that is set again is announced to every listener
// (IPv6: even if nothing changed), and the daemon is one.
#pragma once

#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"
#include "lb/divert/options.h"
#include "lb/divert/plan_parts.h"

namespace limpet::divert {

/// rtm_protocol: free in /etc/iproute2/rt_protos and in linux/rtnetlink.h.
inline constexpr unsigned char kRouteProtocol = 76;

/// Make limpet's routes what these VIPs, which the node does not own, need: add, correct, remove. A route that cannot be set is a warning: it concerns
/// this node's own clients only.
Warnings set_vip_routes(const std::vector<net::Address>& vips, const RouteSources& sources);

/// The same where only VIPs have come and gone, and neither the node's addresses nor its routes have changed: at the
/// price of the change.
Warnings change_vip_routes(const AddressDelta& vips, const RouteSources& sources);

/// Remove every route of limpet's.
store::Status remove_vip_routes();

}  // namespace limpet::divert
