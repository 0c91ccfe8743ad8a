// doctor_machine.h: this machine's settings, as far as they decide what limpet can do. Looks only; sets nothing.
//
//   privileges      CAP_NET_ADMIN (queues, rules), CAP_NET_RAW (answers to rejected connections)
//   forwarding      net.ipv4.ip_forward, net.ipv6.conf.all.forwarding: else a node serves its own clients only
//   rp_filter, accept_local, route_localnet    for information: limpet rewrites no source before the kernel's check
//   local ports     ip_local_port_range against the ports that masquerading takes by default
//   buffers         rmem_max, wmem_max against what a queue asks for, unless SO_RCVBUFFORCE is allowed
//   bridges         packets between two ports of a bridge pass no hook without br_netfilter
//   conntrack       is it there, and at work; with it, fragments are put together
//   interfaces      for information
//   BIG TCP         devices whose super-packets do not fit into a queue (long_packets.h)
#pragma once

#include <filesystem>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/divert/doctor_check.h"
#include "lb/node/device_limits.h"

namespace limpet::divert {

/// All rows but the last. `root`: where /proc and /sys are. The buffers' privilege is tried on a socket of this process.
Checks check_machine(const std::filesystem::path& root = "/");

/// The last row: of these devices, or of why they could not be read.
Check check_long_packets(const store::Result<std::vector<node::DeviceLimits>>& devices);

/// "6.18.44"
std::string kernel_release();

}  // namespace limpet::divert
