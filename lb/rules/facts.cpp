#include "lb/rules/facts.h"

#include <algorithm>

namespace limpet::rules {
namespace {

bool interface_matches(const std::string& pattern, std::string_view name) {
  return pattern.ends_with('+') ? name.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1))
                                : name == pattern;
}

template <typename T>
bool holds(const std::optional<Condition<T>>& condition, const auto& test) {
  return !condition || test(condition->value) != condition->inverted;
}

/// The last address of a subnet of at least four.
bool is_subnet_broadcast(const node::InterfaceAddress& own, const net::Address& address) {
  if (!own.address.is_v4() || own.prefix_length > 30) return false;
  const net::Address mask = mask_of_length(net::Family::v4, own.prefix_length);
  const auto at = address.words(), of = own.address.words(), bits = mask.words();
  const std::uint64_t host = ~bits[0] & 0xffffffffU;
  return (at[0] & bits[0]) == (of[0] & bits[0]) && (at[0] & host) == host;
}

bool is_multicast(const net::Address& address) {
  const auto first = static_cast<unsigned>(address.bytes()[0]);
  return address.is_v4() ? first >> 4 == 0xe : first == 0xff;
}

bool is_local(const net::Address& address, const node::NodeView* node) {
  return address.is_loopback() || (node != nullptr && node->is_local(address));
}

/// IPv6: each kind that is asked for must hold (match_type6 of net/netfilter/xt_addrtype.c).
bool kinds_hold_v6(std::uint8_t kinds, const net::Address& address, const node::NodeView* node) {
  if ((kinds & kMulticast) != 0 && !is_multicast(address)) return false;
  if ((kinds & kUnicast) != 0 && (is_multicast(address) || address.is_unspecified())) return false;
  return (kinds & kLocal) == 0 || is_local(address, node);
}

bool kinds_hold(std::uint8_t kinds, const net::Address& address, const node::NodeView* node) {
  return address.is_v4() ? (kinds & kind_of_v4(address, node)) != 0 : kinds_hold_v6(kinds, address, node);
}

}  // namespace

AddressKind kind_of_v4(const net::Address& address, const node::NodeView* node) {
  static const net::Address kAll = net::Address::from_v4(0xffffffff);
  if (address.is_unspecified() || address == kAll) return kBroadcast;
  if (is_multicast(address)) return kMulticast;
  if (is_local(address, node)) return kLocal;
  if (node == nullptr) return kUnicast;
  const auto& own = node->addresses();
  return std::any_of(own.begin(), own.end(), [&](const auto& a) { return is_subnet_broadcast(a, address); })
             ? kBroadcast
             : kUnicast;
}

bool header_matches(const Rule& rule, const Facts& facts) {
  const net::Tuple& tuple = facts.tuple;
  return holds(rule.source, [&](const auto& net) { return net.contains(tuple.source.address); }) &&
         holds(rule.destination, [&](const auto& net) { return net.contains(tuple.destination.address); }) &&
         holds(rule.in_interface, [&](const auto& name) { return interface_matches(name, facts.in_interface); }) &&
         holds(rule.out_interface, [&](const auto& name) { return interface_matches(name, facts.out_interface); }) &&
         holds(rule.protocol, [&](std::uint8_t number) { return number == static_cast<std::uint8_t>(tuple.protocol); });
}

bool matches(const TransportMatch& match, const Facts& facts) {
  return holds(match.source, [&](const PortRange& range) { return range.contains(facts.tuple.source.port); }) &&
         holds(match.destination, [&](const PortRange& range) { return range.contains(facts.tuple.destination.port); });
}

bool matches(const MultiportMatch& match, const Facts& facts) {
  using enum MultiportMatch::Side;
  const bool found = std::any_of(match.ports.begin(), match.ports.end(), [&](const PortRange& range) {
    return (match.side != destination && range.contains(facts.tuple.source.port)) ||
           (match.side != source && range.contains(facts.tuple.destination.port));
  });
  return found != match.inverted;
}

bool matches(const MarkMatch& match, const Facts& facts) {
  return ((facts.mark & match.mask) == match.value) != match.inverted;
}

bool matches(const AddrtypeMatch& match, const Facts& facts) {
  const auto test = [&](const net::Address& address) {
    return [&](std::uint8_t kinds) { return kinds_hold(kinds, address, facts.node); };
  };
  return holds(match.source, test(facts.tuple.source.address)) &&
         holds(match.destination, test(facts.tuple.destination.address));
}

bool matches(const ConntrackMatch& match, const Facts& facts) {
  return ((match.states & facts.states) != 0) != match.inverted;
}

}  // namespace limpet::rules
