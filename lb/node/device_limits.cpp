#include "lb/node/device_limits.h"

#include <cerrno>
#include <cstddef>
#include <span>
#include <utility>

#include <linux/rtnetlink.h>

#include "lb/node/netlink.h"
#include "lb/node/rtnetlink.h"

namespace limpet::node {

store::Result<std::vector<DeviceLimits>> read_device_limits() {
  int error = EINTR;
  for (int attempt = 0; error == EINTR && attempt < kDumpAttempts; ++attempt) {
    const auto socket = open_netlink();
    if (!socket) return socket.error();
    std::vector<DeviceLimits> found;
    error = dump_netlink(socket->get(), RTM_GETLINK, [&](std::span<const std::byte> message) {
      if (auto limits = parse_limits(message)) found.push_back(std::move(*limits));
    });
    if (error == 0) return found;
  }
  return netlink_error("cannot read the devices", error);
}

}  // namespace limpet::node
