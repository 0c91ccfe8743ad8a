// meaning.h: what an iptables program does for services: who reaches which endpoints, with which shares and masquerade.
//
//   PREROUTING, OUTPUT ──▶ rules with an exact destination ──▶ … ──▶ a cascade (balance.h) ──▶ an endpoint
//                          └ a frontend of a service: VIP or node port     └ a route: who, then in which cascade
//   POSTROUTING        ──▶ rules that masquerade, most by a mark       filter ──▶ what is refused instead
//
// Found by following the rules from the hooks with what is known of a packet so far (demands.h), never by the names of
// chains. kube-proxy's layouts come out as
//
//   service "default/web:http" tcp                           its name from comments; without any, none
//     cluster_ip  10.31.240.99:80     everybody ─▶ SVC        masqueraded unless -s POD-NETWORK
//     node_port   :31332              -s POD-NETWORK ─▶ SVC   the short circuit (XLB, EXT): all endpoints
//                                     --src-type LOCAL ─▶ SVC masqueraded
//                                     everybody ─▶ SVL, XLB   the node's own endpoints, or dropped if it has none
//     load_balancer 1.2.3.4:80        as node_port, each route with -s RANGE (FW)
//
// Routes are in the order of the rules: the first whose demands a packet fulfils is its. Rules that take no part in this
// stand `apart`, each with a reason: they may take packets before a route does.
//
// Chain and rule numbers as in balance.h. Pure; any thread. Cost: O(routes · rules on the way); a program of more than
// kMostSteps rules on all its ways is followed no further, its rest stands apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/rules/balance.h"
#include "lb/rules/demands.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// What is known of connections that are meant for one port of a service.
struct Frontend {
  enum class Role : std::uint8_t { cluster_ip, external_ip, load_balancer, node_port, address };

  Role role = Role::address;            // `address`: a VIP, of what kind no comment says
  std::optional<net::Address> address;  // nullopt: any
  bool local = false;                   // any of the node's own (destination type LOCAL)
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;  // nullopt: any
};
std::string_view to_string(Frontend::Role role) noexcept;

/// Hooks are these, or-ed.
enum RouteHook : std::uint8_t { kAtPrerouting = 1, kAtOutput = 2 };

struct Route {
  enum class Outcome : std::uint8_t { balance, drop, reject, leave };  // leave: not translated, by a rule that says so

  Outcome outcome = Outcome::balance;
  std::uint8_t hooks = 0;                // RouteHook; 0: in the table filter, behind the others
  std::optional<std::uint32_t> cascade;  // of balance: index into Balance::cascades
  Demands when;                          // beyond the frontend's; empty: everybody
  /// It is masqueraded if one of these is fulfilled (an empty one always is), besides hairpins (Leaf::marks).
  std::vector<Demands> masquerade;
  std::size_t line = 0;  // of the first rule that does it

  bool always_masquerades() const noexcept;
};

struct RuledFrontend {
  Frontend at;
  std::vector<Route> routes;  // in order; those of filter last
};

struct RuledService {
  std::string name;  // "namespace/name:port"; "": no comment says
  std::optional<std::uint8_t> protocol;
  std::vector<RuledFrontend> frontends;  // in the order of the rules
};

/// A rule behind POSTROUTING that hides the client: MASQUERADE or SNAT.
struct MasqueradeRule {
  RuleAt at;
  Demands when;
};

/// A rule that takes no part in a service.
struct ApartRule {
  Table table = Table::nat;
  RuleAt at;
  std::size_t line = 0;
  std::string why;
};

struct Meaning {
  static constexpr std::size_t kMostSteps = std::size_t{1} << 22;

  Balance balance;
  std::vector<RuledService> services;
  std::vector<MasqueradeRule> masquerades;
  std::uint32_t masquerade_bits = 0;  // marks that are masqueraded whatever else
  std::uint32_t drop_bits = 0;        // marks that filter drops
  std::vector<ApartRule> apart;       // table by table, in order
};

/// `rules` completed (completion.h) or whole.
Meaning find_meaning(const Ruleset& rules);

/// How the clients of a cascade are remembered.
struct CascadeAffinity {
  std::uint32_t seconds = 0;  // 0: for ever
  bool by_destination = false;
  affinity::RecentMask mask;
  bool alike = true;     // all asks have the same options
  bool complete = true;  // whoever is picked is remembered, in a list that is asked for that endpoint
};
/// nullopt: it asks no list.
std::optional<CascadeAffinity> affinity_of(const Balance& balance, const Cascade& cascade);

/// "default/web:http" of "default/web:http cluster IP"; "" if the comment does not begin so.
std::string_view service_name(std::string_view comment) noexcept;

}  // namespace limpet::rules
