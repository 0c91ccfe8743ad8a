// netlink.h: questions to rtnetlink(7), and their answers. For the control thread: it waits for the kernel.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "conntrack/store/result.h"

namespace limpet::node {

struct CloseNetlink {
  void operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }
};
using NetlinkSocket = std::unique_ptr<mnl_socket, CloseNetlink>;

/// "rtnetlink: what: the errno's words".
store::Error netlink_error(const char* what, int error);

/// A socket that is subscribed to these groups (RTMGRP_*; 0: none). `flags`: SOCK_NONBLOCK or 0; close-on-exec always.
store::Result<NetlinkSocket> open_netlink(unsigned groups = 0, int flags = 0);

/// Sends the request, whose flags ask for a dump or for an acknowledgement, and calls `each` with every whole message of
/// the answer. 0, or the errno; EINTR: the kernel's tables changed during the dump, whose rest goes with the socket.
template <typename Each>
int ask_netlink(mnl_socket* socket, const nlmsghdr* request, Each each) {
  if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) return errno;
  const mnl_cb_t callback = [](const nlmsghdr* message, void* context) {
    (*static_cast<Each*>(context))(std::span(reinterpret_cast<const std::byte*>(message), message->nlmsg_len));
    return MNL_CB_OK;
  };
  // The kernel fills at most this much of a reader's buffer per datagram of a dump (net/netlink/af_netlink.c).
  alignas(nlmsghdr) std::array<char, 32768> buffer;
  for (;;) {
    const ssize_t received = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (received < 0) return errno;
    const int state = mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), 0, mnl_socket_get_portid(socket),
                                 callback, &each);
    if (state < 0) return errno;
    if (state == MNL_CB_STOP) return 0;
  }
}

/// A dump that is interrupted so many times is of tables that never rest.
inline constexpr int kDumpAttempts = 20;

/// Calls `each` with every message of one RTM_GET* dump, of both families. 0, or the errno, as ask_netlink().
template <typename Each>
int dump_netlink(mnl_socket* socket, std::uint16_t type, Each each) {
  alignas(nlmsghdr) std::array<char, MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(rtgenmsg))> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  static_cast<rtgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtgenmsg)))->rtgen_family = AF_UNSPEC;
  return ask_netlink(socket, header, each);
}

}  // namespace limpet::node
