// diversion.h: which packets must reach the queues for an iptables program: from its rules to a DiversionPlan.
//
//   nat PREROUTING, OUTPUT ── what rules on the way ask of the destination ──▶ DNAT, REDIRECT
//     -d 10.31.240.99/32 -p tcp --dport 80        a door: 10.31.240.99:80
//     --dst-type LOCAL, then -p tcp --dport 31332    a door: port 31332 on each of the node's addresses
//     … -j DNAT --to-destination 10.28.8.5:80     a goal: replies come from 10.28.8.5:80
//     … -j REDIRECT --to-ports 8080               a goal: port 8080 of each of the node's addresses
//
// Only the destination is followed: who the client is, memory and chance may lead a packet anywhere that its destination
// allows. So doors are never too few; a rule that is passed by everybody with one demand (… ! -d X -j RETURN) narrows
// what comes behind it. Sources, marks, interfaces and sets do not.
//
// Packets are diverted by protocol, address and port, each combination by itself. So a rule that translates whatever
// comes, or more than kMost combinations, is an error that names its line and what is missing in it.
//
// What is refused (DROP, REJECT in raw, mangle and filter) is diverted where the rule names one address that is neither the
// node's own nor a goal's, and its ports: as kube-proxy refuses a service without endpoints. Other refusals are for the
// kernel's own rules; limpet obeys them for connections that it translates.
//
// Chains are looked at once for each different set of destinations that comes there: O(rules) where, as in kube-proxy's,
// few ways lead to a chain. Immutable once made; plan() is pure, any thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/line_error.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/node/node_view.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// Addresses [first, last], or the node's own among them, and ports, of one protocol.
struct Places {
  net::Protocol protocol = net::Protocol::tcp;
  net::Address first, last;
  bool local = false;
  PortRange ports;

  bool holds(net::Protocol protocol, const net::AddressPort& at) const noexcept;
  friend auto operator<=>(const Places&, const Places&) noexcept = default;
};

class Diversion {
 public:
  static constexpr std::uint64_t kMost = 65536;

  /// Where connections are translated, by which line, and what comments call the service ("": nothing).
  struct Door {
    Places places;
    std::size_t line = 0;
    std::string service;
  };

  /// `rules` link without errors. `file` is what errors call it.
  Diversion(const Ruleset& rules, const std::string& file);

  /// What cannot be diverted.
  const std::vector<store::LineError>& errors() const noexcept { return errors_; }
  /// Each once; not those of errors().
  const std::vector<Door>& doors() const noexcept { return doors_; }
  /// Is any of them on the node's own addresses?
  bool has_local_doors() const noexcept;
  /// Of this destination; `local`: it is one of the node's own. nullptr: none. O(1), plus the doors of many places.
  const Door* door_at(net::Protocol protocol, const net::AddressPort& at, bool local) const;

  /// On a node with these addresses. `localhost`: doors on the node's own addresses are on 127.0.0.1, too.
  datapath::DiversionPlan plan(const node::NodeView& node, bool localhost) const;

 private:
  class Finder;

  net::Family family_;
  std::vector<store::LineError> errors_;
  std::vector<Door> doors_;
  std::map<datapath::L4Address, std::size_t> singles_;  // of one place, or of one port of the node: its address is 0
  std::vector<std::size_t> others_;
  std::vector<Places> goals_;     // local: of the node itself
  std::vector<Places> refusals_;  // of single addresses
};

}  // namespace limpet::rules
