// node_monitor.h: the node's addresses, interfaces and routes, from rtnetlink(7), followed live.
//
//   kernel ──RTMGRP_LINK, IPV4/6_IFADDR, IPV4/6_ROUTE──▶ descriptor()   readable: something changed
//                                                        drain()        empty it: true if anything did
//   kernel ──dumps of addresses, links, routes─────────▶ snapshot()     a whole NodeView, published by the caller
//
// Notifications only say *that* something changed; what is true then is read anew, whole. So a lost notification
// (ENOBUFS: the socket was full) costs nothing, and a view never mixes old and new. A dump during which the kernel's
// tables changed (NLM_F_DUMP_INTR) is repeated. Subscribe first, then dump: the order of open() and snapshot() loses no
// change.
//
// One thread. Every descriptor is close-on-exec. Interfaces are named by libnfnetlink's nlif table.
#pragma once

#include <utility>

#include <libmnl/libmnl.h>

#include "conntrack/store/result.h"
#include "lb/node/netlink.h"
#include "lb/node/node_view.h"

namespace limpet::node {

class NodeMonitor {
 public:
  /// Errors: unavailable or permission, if there is no netlink here.
  static store::Result<NodeMonitor> open();

  /// For poll, epoll or Asio; non-blocking. Stays the monitor's.
  int descriptor() const noexcept { return mnl_socket_get_fd(socket_.get()); }
  /// Discard what is waiting. True if anything was: the last snapshot may be out of date.
  bool drain() noexcept;
  /// The node as it is now.
  store::Result<NodeView> snapshot() const;

 private:
  explicit NodeMonitor(NetlinkSocket socket) noexcept : socket_(std::move(socket)) {}

  NetlinkSocket socket_;
};

}  // namespace limpet::node
