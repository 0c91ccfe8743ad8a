#include "lb/node/node_view.h"

#include <algorithm>
#include <array>
#include <bit>
#include <tuple>
#include <utility>

namespace limpet::node {

namespace {

using net::Address;
using net::Family;
using net::Prefix;

/// May MASQUERADE put it into an IPv4 packet?
bool selectable_v4(const InterfaceAddress& entry) noexcept {
  return entry.address.is_v4() && entry.global_scope && !entry.secondary;
}

Prefix subnet(const InterfaceAddress& entry) noexcept {
  return {entry.peer.value_or(entry.address), entry.prefix_length};
}

unsigned common_bits(const Address& a, const Address& b) noexcept {
  const auto left = a.bytes();
  const auto right = b.bytes();
  for (std::size_t i = 0; i < left.size(); ++i) {
    const auto difference = std::to_integer<std::uint8_t>(left[i] ^ right[i]);
    if (difference != 0) return static_cast<unsigned>(8 * i) + static_cast<unsigned>(std::countl_zero(difference));
  }
  return a.bits();
}

/// The kernel's default policy table (net/ipv6/addrlabel.c; RFC 6724 section 2.1 with two more rows).
unsigned address_label(const Address& address) noexcept {
  struct Row {
    Prefix prefix;
    unsigned label;
  };
  static const std::array<Row, 10> kRows{{{*Prefix::parse("::1/128"), 0},
                                          {*Prefix::parse("::ffff:0:0/96"), 4},
                                          {*Prefix::parse("::/96"), 3},
                                          {*Prefix::parse("2001::/32"), 6},
                                          {*Prefix::parse("2001:10::/28"), 7},
                                          {*Prefix::parse("2002::/16"), 2},
                                          {*Prefix::parse("3ffe::/16"), 12},
                                          {*Prefix::parse("fec0::/10"), 11},
                                          {*Prefix::parse("fc00::/7"), 5},
                                          {*Prefix::parse("::/0"), 1}}};
  return std::find_if(kRows.begin(), kRows.end(), [&](const Row& row) { return row.prefix.contains(address); })->label;
}

/// The better the greater (RFC 6724 section 5, rules 3, 5, 6, 7, 8).
auto score_v6(const InterfaceAddress& entry, std::uint32_t out_interface, const Address& destination) noexcept {
  return std::make_tuple(!entry.deprecated, entry.interface == out_interface,
                         address_label(entry.address) == address_label(destination), !entry.temporary,
                         std::min(common_bits(entry.address, destination), entry.prefix_length));
}

const InterfaceAddress* best_v6(std::span<const InterfaceAddress> candidates, std::uint32_t out_interface,
                                const Address& destination) noexcept {
  const InterfaceAddress* best = nullptr;
  for (const InterfaceAddress& entry : candidates) {
    if (entry.address.is_v4() || !entry.global_scope || !entry.usable) continue;
    if (best == nullptr || score_v6(entry, out_interface, destination) > score_v6(*best, out_interface, destination)) {
      best = &entry;
    }
  }
  return best;
}

}  // namespace

NodeView::NodeView(std::vector<InterfaceAddress> addresses, std::vector<Route> routes,
                   std::unordered_map<std::uint32_t, std::string> interfaces)
    : addresses_(std::move(addresses)), routes_(std::move(routes)), interfaces_(std::move(interfaces)) {
  std::stable_sort(addresses_.begin(), addresses_.end(),
                   [](const auto& a, const auto& b) { return a.interface < b.interface; });
  for (const InterfaceAddress& entry : addresses_) local_.insert(entry.address);
}

std::optional<Address> NodeView::egress(std::uint32_t out_interface, const Address& destination) const {
  return destination.is_v4() ? egress_v4(out_interface, destination) : egress_v6(out_interface, destination);
}

std::optional<Address> NodeView::egress_v4(std::uint32_t out_interface, const Address& destination) const {
  const Route* route = routes_.find(destination, out_interface);
  const Address next_hop = route != nullptr ? route->gateway.value_or(destination) : destination;
  const InterfaceAddress* first = nullptr;
  for (const InterfaceAddress& entry : addresses_of(out_interface)) {
    if (!selectable_v4(entry)) continue;
    if (subnet(entry).contains(next_hop)) return entry.address;
    if (first == nullptr) first = &entry;
  }
  if (first != nullptr) return first->address;
  const auto other = std::find_if(addresses_.begin(), addresses_.end(), selectable_v4);
  return other != addresses_.end() ? std::optional(other->address) : std::nullopt;
}

std::optional<Address> NodeView::egress_v6(std::uint32_t out_interface, const Address& destination) const {
  if (local_.contains(destination)) return destination;
  const InterfaceAddress* best = best_v6(addresses_of(out_interface), out_interface, destination);
  // Only deprecation weighs more than the interface: no other interface can beat an address that is not deprecated.
  if (best == nullptr || best->deprecated) best = best_v6(addresses_, out_interface, destination);
  return best != nullptr ? std::optional(best->address) : std::nullopt;
}

std::string_view NodeView::interface_name(std::uint32_t index) const noexcept {
  const auto found = interfaces_.find(index);
  return found != interfaces_.end() ? std::string_view(found->second) : std::string_view();
}

std::optional<Address> NodeView::primary(Family family) const {
  const Route* route = routes_.exact(*Prefix::parse(family == Family::v4 ? "0.0.0.0/0" : "::/0"));
  if (route == nullptr) return std::nullopt;
  if (route->preferred_source) return route->preferred_source;
  // IPv6 next hops are link-local and say nothing about the source: ask for global unicast space.
  if (family == Family::v6) return egress(route->interface, *Address::parse("2000::"));
  return egress(route->interface, route->gateway.value_or(Address{}));
}

std::span<const InterfaceAddress> NodeView::addresses_of(std::uint32_t interface) const noexcept {
  const auto first = std::lower_bound(addresses_.begin(), addresses_.end(), interface,
                                      [](const auto& entry, std::uint32_t index) { return entry.interface < index; });
  const auto last = std::upper_bound(first, addresses_.end(), interface,
                                     [](std::uint32_t index, const auto& entry) { return index < entry.interface; });
  return {first, last};
}

}  // namespace limpet::node
