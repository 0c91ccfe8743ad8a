// known_destination.h: what is known of the destination of packets that come to a rule, from what rules on the way asked.
//
//   address   value and mask, or any; perhaps one of the node's own       protocol   one, or any       ports   ranges
//
// A superset: what cannot be followed (several networks that lie across each other, sets, kinds but LOCAL) is taken for
// fulfilled. Plain value; pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/rules/demands.h"

namespace limpet::rules {

struct KnownDestination {
  static constexpr PortRange kAllPorts{0, 65535};

  std::optional<std::pair<net::Address, net::Address>> network;  // value, mask; nullopt: any
  bool local = false;
  std::optional<std::uint8_t> protocol;
  std::vector<PortRange> ports{kAllPorts};  // sorted

  /// And fulfils this, too. False: no packet does.
  bool narrow(const Demand& demand);
  friend auto operator<=>(const KnownDestination&, const KnownDestination&) = default;
};

/// Does the rule ask for nothing else than a destination?
bool asks_of_destination_alone(const Demand& demand);

}  // namespace limpet::rules
