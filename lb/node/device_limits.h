// device_limits.h: how long the packets are that a network device puts together, or takes whole: its super-packets.
//
//   gso, gso_v4   on the way out: TCP makes segments of up to so many bytes; the device, or the kernel, cuts them up
//   gro, gro_v4   on the way in: so many bytes of segments that arrived are joined
//
// 65,536 unless somebody has asked for more (BIG TCP, Linux 5.19; IPv4 has limits of its own from 6.3). Lowered to
// 65,536 or less, gso takes gso_v4 along, and gro takes gro_v4 (net/core/dev.h: netif_set_gso_max_size).
// Each namespace tells of its own devices; the far end of a veth pair has limits of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conntrack/store/result.h"

namespace limpet::node {

/// Bytes; 0 where the kernel does not tell.
struct DeviceLimits {
  std::string device;
  std::uint32_t gso = 0;
  std::uint32_t gro = 0;
  std::uint32_t gso_v4 = 0;
  std::uint32_t gro_v4 = 0;
  friend bool operator==(const DeviceLimits&, const DeviceLimits&) = default;
};

/// Of every device of this network namespace, by index. Errors: unavailable or permission, if there is no netlink here.
store::Result<std::vector<DeviceLimits>> read_device_limits();

}  // namespace limpet::node
