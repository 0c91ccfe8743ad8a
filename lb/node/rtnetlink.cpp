#include "lb/node/rtnetlink.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace limpet::node {

namespace {

using net::Address;
using net::Family;

// linux/if_link.h; the last two since Linux 6.3, which the headers here need not be.
constexpr std::size_t kGsoMaxSize = 41;
constexpr std::size_t kGroMaxSize = 58;
constexpr std::size_t kGsoIpv4MaxSize = 63;
constexpr std::size_t kGroIpv4MaxSize = 64;

std::optional<Family> family_of(unsigned char kernel_family) noexcept {
  if (kernel_family == AF_INET) return Family::v4;
  if (kernel_family == AF_INET6) return Family::v6;
  return std::nullopt;
}

/// The attributes of one message (or of one next hop) by type; types beyond kMax are not wanted here.
class Attributes {
 public:
  static constexpr std::size_t kMax = 64;

  explicit Attributes(std::span<const std::byte> bytes) noexcept {
    while (bytes.size() >= sizeof(nlattr)) {
      nlattr header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (header.nla_len < sizeof header || header.nla_len > bytes.size()) return;
      const std::size_t type = header.nla_type & NLA_TYPE_MASK;
      if (type <= kMax) values_[type] = bytes.subspan(sizeof header, header.nla_len - sizeof header);
      bytes = bytes.subspan(std::min<std::size_t>(MNL_ALIGN(header.nla_len), bytes.size()));
    }
  }

  std::span<const std::byte> bytes(std::size_t type) const noexcept { return values_[type]; }
  std::optional<std::uint32_t> u32(std::size_t type) const noexcept {
    std::uint32_t value;
    if (values_[type].size() != sizeof value) return std::nullopt;
    std::memcpy(&value, values_[type].data(), sizeof value);
    return value;
  }
  /// Up to the first NUL; empty if it is not there.
  std::string text(std::size_t type) const {
    std::string value;
    for (const std::byte byte : values_[type]) {
      if (byte == std::byte{0}) break;
      value += static_cast<char>(byte);
    }
    return value;
  }
  std::optional<Address> address(std::size_t type, Family family) const noexcept {
    if (values_[type].size() != (family == Family::v4 ? 4U : 16U)) return std::nullopt;
    return Address::from_wire(family, values_[type].data());
  }

 private:
  std::array<std::span<const std::byte>, kMax + 1> values_{};
};

/// The family header after the nlmsghdr, and what follows it. nullopt if the message is of another type, or too short.
template <typename Header>
std::optional<std::pair<Header, Attributes>> open_message(std::span<const std::byte> message, unsigned type) {
  nlmsghdr outer;
  if (message.size() < sizeof outer) return std::nullopt;
  std::memcpy(&outer, message.data(), sizeof outer);
  const std::size_t start = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(Header));
  if (outer.nlmsg_type != type || outer.nlmsg_len < start || outer.nlmsg_len > message.size()) return std::nullopt;
  Header header;
  std::memcpy(&header, message.data() + MNL_NLMSG_HDRLEN, sizeof header);
  return std::pair(header, Attributes(message.subspan(start, outer.nlmsg_len - start)));
}

/// One Route per live rtnexthop of RTA_MULTIPATH; `route` has everything but interface and gateway.
void append_next_hops(const Route& route, Family family, std::span<const std::byte> bytes, std::vector<Route>& out) {
  while (bytes.size() >= sizeof(rtnexthop)) {
    rtnexthop hop;
    std::memcpy(&hop, bytes.data(), sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > bytes.size()) return;
    if ((hop.rtnh_flags & RTNH_F_DEAD) == 0) {
      const Attributes attributes(bytes.subspan(sizeof hop, hop.rtnh_len - sizeof hop));
      Route& leg = out.emplace_back(route);
      leg.interface = static_cast<std::uint32_t>(hop.rtnh_ifindex);
      leg.gateway = attributes.address(RTA_GATEWAY, family);
    }
    bytes = bytes.subspan(std::min<std::size_t>(RTNH_ALIGN(hop.rtnh_len), bytes.size()));
  }
}

}  // namespace

std::optional<InterfaceAddress> parse_address(std::span<const std::byte> message) {
  const auto opened = open_message<ifaddrmsg>(message, RTM_NEWADDR);
  if (!opened) return std::nullopt;
  const auto& [header, attributes] = *opened;
  const auto family = family_of(header.ifa_family);
  if (!family) return std::nullopt;
  const auto far = attributes.address(IFA_ADDRESS, *family);
  const auto own = attributes.address(IFA_LOCAL, *family);
  if (!far && !own) return std::nullopt;

  const std::uint32_t flags = attributes.u32(IFA_FLAGS).value_or(header.ifa_flags);
  const bool v6 = *family == Family::v6;
  InterfaceAddress entry;
  entry.interface = header.ifa_index;
  entry.address = own.value_or(*far);  // without IFA_LOCAL (IPv6) the address is IFA_ADDRESS
  if (own && far && *own != *far) entry.peer = far;
  entry.prefix_length = std::min<unsigned>(header.ifa_prefixlen, entry.address.bits());
  entry.global_scope = header.ifa_scope == RT_SCOPE_UNIVERSE;
  // One bit, two meanings: IFA_F_SECONDARY for IPv4 is IFA_F_TEMPORARY for IPv6.
  entry.secondary = !v6 && (flags & IFA_F_SECONDARY) != 0;
  entry.temporary = v6 && (flags & IFA_F_TEMPORARY) != 0;
  const bool tentative = (flags & IFA_F_TENTATIVE) != 0 && (flags & IFA_F_OPTIMISTIC) == 0;
  entry.usable = !v6 || (!tentative && (flags & IFA_F_DADFAILED) == 0);
  entry.deprecated = v6 && (flags & IFA_F_DEPRECATED) != 0;
  return entry;
}

std::vector<Route> parse_route(std::span<const std::byte> message) {
  const auto opened = open_message<rtmsg>(message, RTM_NEWROUTE);
  if (!opened) return {};
  const auto& [header, attributes] = *opened;
  const auto family = family_of(header.rtm_family);
  const bool wanted = family && header.rtm_type == RTN_UNICAST &&
                      (header.rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD)) == 0 &&
                      attributes.u32(RTA_TABLE).value_or(header.rtm_table) == RT_TABLE_MAIN;
  if (!wanted) return {};

  const Address none = *family == Family::v4 ? Address{} : *Address::parse("::");
  const Address destination = attributes.address(RTA_DST, *family).value_or(none);
  Route route{.destination = {destination, std::min<unsigned>(header.rtm_dst_len, destination.bits())},
              .interface = attributes.u32(RTA_OIF).value_or(0),
              .gateway = attributes.address(RTA_GATEWAY, *family),
              .metric = attributes.u32(RTA_PRIORITY).value_or(0),
              .preferred_source = attributes.address(RTA_PREFSRC, *family)};
  std::vector<Route> routes;
  if (!attributes.bytes(RTA_MULTIPATH).empty()) {
    append_next_hops(route, *family, attributes.bytes(RTA_MULTIPATH), routes);
  } else if (route.interface != 0) {
    routes.push_back(route);
  }
  return routes;
}

std::optional<DeviceLimits> parse_limits(std::span<const std::byte> message) {
  const auto opened = open_message<ifinfomsg>(message, RTM_NEWLINK);
  if (!opened) return std::nullopt;
  const Attributes& attributes = opened->second;
  std::string name = attributes.text(IFLA_IFNAME);
  if (name.empty()) return std::nullopt;
  return DeviceLimits{.device = std::move(name),
                      .gso = attributes.u32(kGsoMaxSize).value_or(0),
                      .gro = attributes.u32(kGroMaxSize).value_or(0),
                      .gso_v4 = attributes.u32(kGsoIpv4MaxSize).value_or(0),
                      .gro_v4 = attributes.u32(kGroIpv4MaxSize).value_or(0)};
}

}  // namespace limpet::node
