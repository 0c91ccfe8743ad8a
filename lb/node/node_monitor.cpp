#include "lb/node/node_monitor.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include <fcntl.h>
#include <libnfnetlink/libnfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "lb/node/netlink.h"
#include "lb/node/rtnetlink.h"

namespace limpet::node {

namespace {

using store::Error;
using store::ErrorKind;
using store::Result;

/// What the three dumps gather.
struct Dumped {
  std::vector<InterfaceAddress> addresses;
  std::vector<Route> routes;
  std::vector<std::uint32_t> interfaces;
};

int dump_all(mnl_socket* socket, Dumped& out) {
  auto on_link = [&](std::span<const std::byte> message) {
    ifinfomsg link;
    if (message.size() < MNL_NLMSG_HDRLEN + sizeof link) return;
    std::memcpy(&link, message.data() + MNL_NLMSG_HDRLEN, sizeof link);
    out.interfaces.push_back(static_cast<std::uint32_t>(link.ifi_index));
  };
  auto on_address = [&](std::span<const std::byte> message) {
    if (const auto entry = parse_address(message)) out.addresses.push_back(*entry);
  };
  auto on_route = [&](std::span<const std::byte> message) {
    for (const Route& route : parse_route(message)) out.routes.push_back(route);
  };
  if (const int error = dump_netlink(socket, RTM_GETLINK, on_link)) return error;
  if (const int error = dump_netlink(socket, RTM_GETADDR, on_address)) return error;
  return dump_netlink(socket, RTM_GETROUTE, on_route);
}

Result<std::unordered_map<std::uint32_t, std::string>> name_interfaces(const std::vector<std::uint32_t>& indices) {
  const std::unique_ptr<nlif_handle, void (*)(nlif_handle*)> table(nlif_open(), nlif_close);
  if (!table) return netlink_error("cannot open the interface table", errno);
  ::fcntl(nlif_fd(table.get()), F_SETFD, FD_CLOEXEC);
  if (nlif_query(table.get()) < 0) return netlink_error("cannot read the interface table", errno);
  std::unordered_map<std::uint32_t, std::string> names;
  for (const std::uint32_t index : indices) {
    std::array<char, IFNAMSIZ> name{};
    if (nlif_index2name(table.get(), index, name.data()) > 0) names.emplace(index, name.data());
  }
  return names;
}

}  // namespace

Result<NodeMonitor> NodeMonitor::open() {
  constexpr unsigned kGroups =
      RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  auto socket = open_netlink(kGroups, SOCK_NONBLOCK);
  if (!socket) return socket.error();
  return NodeMonitor(std::move(*socket));
}

bool NodeMonitor::drain() noexcept {
  std::array<char, 512> discarded;  // a datagram is consumed whole, however little of it is copied
  bool changed = false;
  for (;;) {
    if (::recv(descriptor(), discarded.data(), discarded.size(), MSG_TRUNC) >= 0 || errno == ENOBUFS) {
      changed = true;
    } else if (errno != EINTR) {
      return changed;
    }
  }
}

Result<NodeView> NodeMonitor::snapshot() const {
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    // A fresh socket for each attempt: the rest of an interrupted dump goes away with its socket.
    const auto socket = open_netlink();
    if (!socket) return socket.error();
    Dumped dumped;
    const int error = dump_all(socket->get(), dumped);
    if (error == EINTR) continue;
    if (error != 0) return netlink_error("cannot read addresses and routes", error);
    auto names = name_interfaces(dumped.interfaces);
    if (!names) return names.error();
    return NodeView(std::move(dumped.addresses), std::move(dumped.routes), std::move(*names));
  }
  return Error{ErrorKind::unavailable,
               "rtnetlink: addresses and routes change faster than they can be read; try again"};
}

}  // namespace limpet::node
