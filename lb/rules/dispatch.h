// dispatch.h: runs of rules that ask for one exact destination each, of which a packet can match only those with its own.
//
//   -A KUBE-SERVICES … -d 10.31.240.99/32 -p tcp … --dport 80 -j …      a run by (address, protocol, port)
//   -A KUBE-SERVICES … -d 10.31.0.10/32   -p udp … --dport 53 -j …
//   -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS     ends the run: no key
//   -A KUBE-NODEPORTS -p tcp … --dport 31332 -j …                       a run by (protocol, port)
//
// A rule's other demands and its events come on top: of the rules with a packet's key each is evaluated as it stands, in
// order; the others of the run cannot match and change nothing. Runs of at least two rules, as long as they go; all keys
// of a run have the same parts. A rule whose events remember or count before all of its key was asked is in no run.
//
// Chain and rule numbers as in balance.h. Pure; any thread. Cost: O(rules).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct DispatchKey {
  std::optional<net::Address> address;
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  friend bool operator==(const DispatchKey&, const DispatchKey&) noexcept = default;
};

struct Dispatch {
  std::uint32_t chain = 0;
  std::uint32_t first = 0, end = 0;  // rules
  bool by_address = false;           // each key has one; else none has
  std::vector<DispatchKey> keys;     // of rule first + i
};

/// nullopt: the rule asks for no exact protocol and port.
std::optional<DispatchKey> dispatch_key(const Rule& rule);
/// In any chain of nat, by chain, then by rule.
std::vector<Dispatch> find_dispatches(const TableRules& nat);

}  // namespace limpet::rules
