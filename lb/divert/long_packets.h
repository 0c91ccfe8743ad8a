// long_packets.h: devices whose super-packets are longer than what a queue's message carries (BIG TCP). Pure.
//
// The message's attribute has 16 bits for its length: of a packet of more than 65,531 bytes the rest is missing, so that
// it cannot be written back, and is dropped where it needs translation. With limits of 65,536, the kernel's default, TCP
// leaves room for its headers, and fits.
//
// The command names gso_ipv4_max_size only where lowering gso_max_size does not take it along (lb/node/device_limits.h),
// and gro_ipv4_max_size likewise: `ip` knows these words since iproute2 6.3.
#pragma once

#include <string>
#include <vector>

#include "lb/node/device_limits.h"

namespace limpet::divert {

struct LongPackets {
  std::string device;
  std::string limits;  // "gso_max_size 131072, gro_max_size 131072"
  std::string remedy;  // "ip link set dev eth0 gso_max_size 65536 gro_max_size 65536"
};

/// Of these devices those that are concerned.
std::vector<LongPackets> find_long_packets(const std::vector<node::DeviceLimits>& devices);

}  // namespace limpet::divert
