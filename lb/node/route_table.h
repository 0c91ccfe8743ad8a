// route_table.h: longest prefix match over the unicast routes of one routing table. Immutable.
//
//   index    (prefix, interface) → route; every route stands twice: under its own interface and under 0, "any"
//   lengths  per family, the distinct prefix lengths present, longest first
//   find     mask the destination to each length in turn and probe the index: the first hit is the longest match
//
// O(distinct prefix lengths) probes, at most 33 (IPv4) or 129 (IPv6) and in practice a handful, whatever the number of
// routes. Equal prefixes: the lowest metric wins, then the one that came first, as in the kernel (net/ipv4/fib_trie.c);
// of a multipath route's next hops on one interface, therefore, the first. Any thread may read.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::node {

struct AddressHash {
  std::size_t operator()(const net::Address& address) const noexcept {
    const auto words = address.words();
    return static_cast<std::size_t>((words[0] * 0x9e3779b97f4a7c15) ^
                                    (words[1] + 0x632be59bd9b4e019 + (words[0] >> 29)));
  }
};

/// One unicast route, one next hop. A multipath route is several of these.
struct Route {
  net::Prefix destination;
  std::uint32_t interface = 0;
  std::optional<net::Address> gateway;  // of the destination's family; nullopt: on link
  std::uint32_t metric = 0;
  std::optional<net::Address> preferred_source = std::nullopt;  // RTA_PREFSRC ("src" in ip route)
};

class RouteTable {
 public:
  RouteTable() = default;
  explicit RouteTable(std::vector<Route> routes);

  /// The longest match over `interface`, or over all interfaces (0). nullptr if no route covers the destination.
  const Route* find(const net::Address& destination, std::uint32_t interface = 0) const noexcept;
  /// The best route for exactly this prefix; nullptr if there is none.
  const Route* exact(const net::Prefix& prefix) const noexcept { return at({prefix, 0}); }

 private:
  struct Key {
    net::Prefix prefix;
    std::uint32_t interface;
    friend bool operator==(const Key&, const Key&) noexcept = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept;
  };

  const Route* at(const Key& key) const noexcept;

  std::vector<Route> routes_;  // lowest metric first
  std::unordered_map<Key, std::size_t, KeyHash> index_;
  std::array<std::vector<unsigned>, 2> lengths_;  // IPv4, IPv6
};

}  // namespace limpet::node
