// rtnetlink.h: what the messages of rtnetlink(7) say, as the values of node_view.h and device_limits.h. Pure: bytes in, values out.
//
//   RTM_NEWADDR   nlmsghdr | ifaddrmsg | IFA_LOCAL, IFA_ADDRESS, IFA_FLAGS …            → one InterfaceAddress
//   RTM_NEWROUTE  nlmsghdr | rtmsg     | RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH … → one Route per next hop
//   RTM_NEWLINK   nlmsghdr | ifinfomsg | IFLA_IFNAME, IFLA_GSO_MAX_SIZE …               → one DeviceLimits
//
// A message that is too short, of another family or kind, or that lacks what makes it usable gives nothing: the kernel
// sends more (local tables, multicast, MPLS) than a NodeView holds. Every length is checked against the bytes that are
// there.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "lb/node/device_limits.h"
#include "lb/node/node_view.h"

namespace limpet::node {

/// `message`: one whole netlink message. nullopt unless it is an IPv4 or IPv6 RTM_NEWADDR.
std::optional<InterfaceAddress> parse_address(std::span<const std::byte> message);

/// `message`: one whole netlink message. Empty unless it is an IPv4 or IPv6 unicast RTM_NEWROUTE of the main table.
/// Dead next hops are left out; an IPv4 route through an IPv6 gateway counts as on link, as MASQUERADE counts it.
std::vector<Route> parse_route(std::span<const std::byte> message);

/// `message`: one whole netlink message. nullopt unless it is an RTM_NEWLINK that names its device.
std::optional<DeviceLimits> parse_limits(std::span<const std::byte> message);

}  // namespace limpet::node
