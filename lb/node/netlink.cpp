#include "lb/node/netlink.h"

#include <cstring>
#include <string>

#include <linux/netlink.h>
#include <sys/socket.h>

namespace limpet::node {

store::Error netlink_error(const char* what, int error) {
  const bool forbidden = error == EPERM || error == EACCES;
  return {forbidden ? store::ErrorKind::permission : store::ErrorKind::unavailable,
          std::string("rtnetlink: ") + what + ": " + std::strerror(error)};
}

store::Result<NetlinkSocket> open_netlink(unsigned groups, int flags) {
  NetlinkSocket socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags));
  if (!socket || mnl_socket_bind(socket.get(), groups, MNL_SOCKET_AUTOPID) < 0) {
    return netlink_error(groups != 0 ? "cannot subscribe to changes" : "cannot open a socket", errno);
  }
  return socket;
}

}  // namespace limpet::node
