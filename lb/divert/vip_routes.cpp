#include "lb/divert/vip_routes.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "lb/node/netlink.h"
#include "lb/node/rtnetlink.h"

namespace limpet::divert {

namespace {

using net::Address;
using store::Result;
using store::Status;
using Message = std::span<const std::byte>;

/// Destination → source.
using VipRoutes = std::map<Address, std::optional<Address>>;

/// Room for any request here.
struct Request {
  alignas(nlmsghdr) std::array<char, 256> bytes{};
};

unsigned char kernel_family(const Address& address) noexcept {
  return address.is_v4() ? AF_INET : AF_INET6;
}

nlmsghdr* start(Request& request, std::uint16_t type, unsigned flags, unsigned char family) noexcept {
  nlmsghdr* header = mnl_nlmsg_put_header(request.bytes.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = family;
  return header;
}

void put_address(nlmsghdr* header, std::uint16_t type, const Address& address) noexcept {
  mnl_attr_put(header, type, address.size(), address.bytes().data());
}

/// The header of a route's message; nullopt if it is none.
std::optional<rtmsg> route_header(Message message) noexcept {
  rtmsg route;
  if (message.size() < MNL_NLMSG_HDRLEN + sizeof route) return std::nullopt;
  std::memcpy(&route, message.data() + MNL_NLMSG_HDRLEN, sizeof route);
  return route;
}

Result<VipRoutes> our_routes() {
  int error = EINTR;
  for (int attempt = 0; error == EINTR && attempt < node::kDumpAttempts; ++attempt) {
    const auto socket = node::open_netlink();
    if (!socket) return socket.error();
    VipRoutes found;
    Request request;
    error = node::ask_netlink(socket->get(), start(request, RTM_GETROUTE, NLM_F_DUMP, AF_UNSPEC), [&](Message message) {
      const auto header = route_header(message);
      if (!header || header->rtm_protocol != kRouteProtocol) return;
      for (const node::Route& route : node::parse_route(message)) {
        found.emplace(route.destination.address(), route.preferred_source);
      }
    });
    if (error == 0) return found;
  }
  return node::netlink_error("cannot read the routes to VIPs", error);
}

/// Would a local client find a route?
bool is_routed(mnl_socket* socket, const Address& address) {
  Request request;
  nlmsghdr* header = start(request, RTM_GETROUTE, NLM_F_ACK, kernel_family(address));
  static_cast<rtmsg*>(mnl_nlmsg_get_payload(header))->rtm_dst_len = static_cast<unsigned char>(address.bits());
  put_address(header, RTA_DST, address);
  bool usable = false;
  const int error = node::ask_netlink(socket, header, [&](Message message) {
    const auto route = route_header(message);
    usable = route && (route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL);
  });
  return error == 0 && usable;
}

nlmsghdr* start_vip_route(Request& request, std::uint16_t type, unsigned flags, const Address& vip) {
  nlmsghdr* header = start(request, type, NLM_F_ACK | flags, kernel_family(vip));
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

/// 0, or the errno.
int add_route(mnl_socket* socket, const Address& vip, const std::optional<Address>& source) {
  Request request;
  nlmsghdr* header = start_vip_route(request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, vip);
  if (source) put_address(header, RTA_PREFSRC, *source);
  return node::ask_netlink(socket, header, [](Message) {});
}

/// 0, or the errno.
int delete_route(mnl_socket* socket, const Address& vip) {
  Request request;
  const nlmsghdr* header = start_vip_route(request, RTM_DELROUTE, 0, vip);
  const int error = node::ask_netlink(socket, header, [](Message) {});
  return error == ESRCH ? 0 : error;
}

std::string not_added(const Address& vip, const std::optional<Address>& source, int error) {
  return "VIP " + vip.to_string() + ": no route leads to it and none could be added with source " +
         (source ? source->to_string() : "of the kernel's choice") + " (" + std::strerror(error) +
         "): clients on this node do not reach it; correct node.nodeIP, or add a route to it";
}

store::Error not_deleted(const Address& vip, int error) {
  return node::netlink_error(("cannot remove the route to VIP " + vip.to_string()).c_str(), error);
}

}  // namespace

Warnings set_vip_routes(const std::vector<Address>& vips, const RouteSources& sources) {
  const auto socket = node::open_netlink();
  if (!socket) return {socket.error().message};
  auto ours = our_routes();
  if (!ours) return {ours.error().message};

  Warnings warnings;
  for (const Address& vip : vips) {
    const std::optional<Address>& source = vip.is_v4() ? sources.v4 : sources.v6;
    const auto present = ours->extract(vip);
    if (present ? present.mapped() == source : is_routed(socket->get(), vip)) continue;
    if (const int error = add_route(socket->get(), vip, source)) warnings.push_back(not_added(vip, source, error));
  }
  for (const auto& [vip, source] : *ours) {
    if (const int error = delete_route(socket->get(), vip)) warnings.push_back(not_deleted(vip, error).message);
  }
  return warnings;
}

Warnings change_vip_routes(const AddressDelta& vips, const RouteSources& sources) {
  if (vips.added.empty() && vips.removed.empty()) return {};
  const auto socket = node::open_netlink();
  if (!socket) return {socket.error().message};
  Warnings warnings;
  for (const Address& vip : vips.added) {
    const std::optional<Address>& source = vip.is_v4() ? sources.v4 : sources.v6;
    if (is_routed(socket->get(), vip)) continue;
    if (const int error = add_route(socket->get(), vip, source)) warnings.push_back(not_added(vip, source, error));
  }
  for (const Address& vip : vips.removed) {
    if (const int error = delete_route(socket->get(), vip)) warnings.push_back(not_deleted(vip, error).message);
  }
  return warnings;
}

Status remove_vip_routes() {
  const auto socket = node::open_netlink();
  if (!socket) return socket.error();
  const auto ours = our_routes();
  if (!ours) return ours.error();
  for (const auto& [vip, source] : *ours) {
    if (const int error = delete_route(socket->get(), vip)) return not_deleted(vip, error);
  }
  return store::ok();
}

}  // namespace limpet::divert
