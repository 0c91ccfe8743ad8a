#include "lb/divert/vip_routes.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace limpet::divert {

namespace {

using net::Address;
using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

struct CloseSocket {
  void operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }
};
using Socket = std::unique_ptr<mnl_socket, CloseSocket>;
/// Holds any request here, and one datagram of a dump (at most 32 KiB).
using Buffer = std::array<char, 32768>;

Error route_error(const std::string& what, int error) {
  const bool forbidden = error == EPERM || error == EACCES;
  return {forbidden ? ErrorKind::permission : ErrorKind::runtime,
          "route to " + what + ": " + std::strerror(error) + (forbidden ? " (needs root, or CAP_NET_ADMIN)" : "")};
}

Result<Socket> open_socket() {
  Socket socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return Error{ErrorKind::unavailable, std::string("rtnetlink: cannot open a socket: ") + std::strerror(errno)};
  }
  return socket;
}

unsigned char kernel_family(const Address& address) noexcept {
  return address.is_v4() ? AF_INET : AF_INET6;
}

nlmsghdr* start(Buffer& buffer, std::uint16_t type, std::uint16_t flags, unsigned char family) noexcept {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = family;
  return header;
}

void put_address(nlmsghdr* header, std::uint16_t type, const Address& address) noexcept {
  mnl_attr_put(header, type, address.size(), address.bytes().data());
}

/// Send, then hand every message of the answer to `callback`. 0, or the errno.
int talk(mnl_socket* socket, Buffer& buffer, const nlmsghdr* header, mnl_cb_t callback, void* context) {
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  for (;;) {
    const ssize_t received = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (received < 0) return errno;
    const int state = mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), 0, mnl_socket_get_portid(socket),
                                 callback, context);
    if (state < 0) return errno;
    if (state == MNL_CB_STOP) return 0;
  }
}

/// The destination that a route message states; nullopt if it states none (a default route).
std::optional<Address> destination_of(const nlmsghdr* message) {
  const nlattr* found = nullptr;
  const mnl_attr_cb_t find = [](const nlattr* attribute, void* context) -> int {
    if (mnl_attr_get_type(attribute) == RTA_DST) *static_cast<const nlattr**>(context) = attribute;
    return MNL_CB_OK;
  };
  mnl_attr_parse(message, sizeof(rtmsg), find, &found);
  const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const bool v4 = route->rtm_family == AF_INET;
  if (found == nullptr || mnl_attr_get_payload_len(found) != (v4 ? 4 : 16)) return std::nullopt;
  return Address::from_wire(v4 ? net::Family::v4 : net::Family::v6,
                            static_cast<const std::byte*>(mnl_attr_get_payload(found)));
}

/// Collects the destinations of limpet's routes from a dump into a set.
int collect_ours(const nlmsghdr* message, void* context) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg)) return MNL_CB_OK;
  const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const bool known_family = route->rtm_family == AF_INET || route->rtm_family == AF_INET6;
  if (route->rtm_protocol != kRouteProtocol || !known_family) return MNL_CB_OK;
  if (const auto destination = destination_of(message)) static_cast<std::set<Address>*>(context)->insert(*destination);
  return MNL_CB_OK;
}

Result<std::set<Address>> our_routes(mnl_socket* socket) {
  Buffer buffer;
  std::set<Address> found;
  const nlmsghdr* header = start(buffer, RTM_GETROUTE, NLM_F_DUMP, AF_UNSPEC);
  if (const int error = talk(socket, buffer, header, collect_ours, &found)) return route_error("any VIP", error);
  return found;
}

/// Would a local client find a route?
bool is_routed(mnl_socket* socket, const Address& address) {
  Buffer buffer;
  nlmsghdr* header = start(buffer, RTM_GETROUTE, NLM_F_ACK, kernel_family(address));
  static_cast<rtmsg*>(mnl_nlmsg_get_payload(header))->rtm_dst_len = static_cast<unsigned char>(address.bits());
  put_address(header, RTA_DST, address);
  bool usable = false;
  const mnl_cb_t callback = [](const nlmsghdr* message, void* context) -> int {
    const auto type = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type;
    *static_cast<bool*>(context) = type == RTN_UNICAST || type == RTN_LOCAL;
    return MNL_CB_OK;
  };
  return talk(socket, buffer, header, callback, &usable) == 0 && usable;
}

nlmsghdr* start_vip_route(Buffer& buffer, std::uint16_t type, std::uint16_t flags, const Address& vip) {
  nlmsghdr* header = start(buffer, type, static_cast<std::uint16_t>(NLM_F_ACK | flags), kernel_family(vip));
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_get_payload(header));
  route->rtm_dst_len = static_cast<unsigned char>(vip.bits());
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = kRouteProtocol;
  route->rtm_scope = RT_SCOPE_LINK;
  route->rtm_type = RTN_UNICAST;
  put_address(header, RTA_DST, vip);
  mnl_attr_put_u32(header, RTA_OIF, if_nametoindex("lo"));
  return header;
}

Status add_route(mnl_socket* socket, const Address& vip, const std::optional<Address>& source) {
  Buffer buffer;
  nlmsghdr* header = start_vip_route(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, vip);
  if (source) put_address(header, RTA_PREFSRC, *source);
  const int error = talk(socket, buffer, header, nullptr, nullptr);
  return error == 0 ? store::ok() : route_error(vip.to_string(), error);
}

Status delete_route(mnl_socket* socket, const Address& vip) {
  Buffer buffer;
  const nlmsghdr* header = start_vip_route(buffer, RTM_DELROUTE, 0, vip);
  const int error = talk(socket, buffer, header, nullptr, nullptr);
  return error == 0 || error == ESRCH ? store::ok() : route_error(vip.to_string(), error);
}

}  // namespace

Status set_vip_routes(const datapath::DiversionPlan& plan, const RouteSources& sources) {
  const auto socket = open_socket();
  if (!socket) return socket.error();
  auto ours = our_routes(socket->get());
  if (!ours) return ours.error();

  std::set<Address> vips;
  for (const auto& service : plan.services) vips.insert(service.at.address);
  for (const Address& local : plan.locals) vips.erase(local);
  for (const Address& vip : vips) {
    const bool kept = ours->erase(vip) != 0;
    if (!kept && is_routed(socket->get(), vip)) continue;
    const Status added = add_route(socket->get(), vip, vip.is_v4() ? sources.v4 : sources.v6);
    if (!added) return added;
  }
  for (const Address& unwanted : *ours) {
    if (const Status deleted = delete_route(socket->get(), unwanted); !deleted) return deleted;
  }
  return store::ok();
}

Status remove_vip_routes() {
  return set_vip_routes({}, {});
}

}  // namespace limpet::divert
