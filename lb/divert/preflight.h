// preflight.h: what in the machine's settings keeps diverted packets from arriving. Looks only; sets nothing.
//
//   net.ipv4.ip_forward, net.ipv6.conf.all.forwarding   0: a node forwards nothing to endpoints elsewhere
//   net.bridge.bridge-nf-call-iptables, -ip6tables      absent or 0 while there are bridges: packets between
//                                                       two ports of one bridge pass no hook, pods beside
//                                                       each other included
//   net.ipv4.conf.all.route_localnet                    0: an endpoint at 127.0.0.0/8 hears local clients only
//   gso_max_size and the like of each device            too long: BIG TCP does not fit into a queue (long_packets.h)
//
// rp_filter is not among them: no source is rewritten before the kernel has validated it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lb/datapath/diversion_plan.h"
#include "lb/node/device_limits.h"

namespace limpet::divert {

/// One line each: what is so, what follows, what to do. `root`: where /proc and /sys are.
std::vector<std::string> preflight(const datapath::DiversionPlan& plan, const std::vector<node::DeviceLimits>& devices,
                                   const std::filesystem::path& root);

/// The same of this machine and network namespace.
std::vector<std::string> preflight(const datapath::DiversionPlan& plan);

}  // namespace limpet::divert
