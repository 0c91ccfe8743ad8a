// options.h: how packets are to be diverted. What to divert is the plan's business (lb/datapath/diversion_plan.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::divert {

/// Whose rules.
enum class Backend {
  automatic,        // as `iptables`; if neither variant works here, nft
  iptables,         // what the machine's own `iptables` is, if it works here; else the other variant
  iptables_nft,     // nf_tables through its xtables compatibility
  iptables_legacy,  // ip_tables
  nft,              // nf_tables' own `queue`
};

/// What becomes of replies when nobody reads the queues.
enum class OnDeath {
  hold,    // they wait for the next process: nothing untranslated leaves, direct traffic from endpoints' ports stalls
  bypass,  // they pass untranslated
};

enum class Sets {
  automatic,  // ipset where tool and kernel have it, else one rule per address
  never,
};

/// How later fragments, which have no ports, come to the queues.
enum class Defragment {
  automatic,  // they do not: the kernel puts datagrams together before, if it can
  never,      // one by one, by address
};

struct Options {
  Backend backend = Backend::automatic;
  Sets sets = Sets::automatic;
  /// Lists of at most so many addresses are spelled out as rules even where there are sets: a rule that does not match costs
  /// the kernel about a tenth of a set's lookup, on every packet of the node.
  std::size_t short_list = 8;
  std::uint16_t first_queue = 0;
  std::uint16_t queue_count = 1;
  std::uint32_t mark_mask = 0x00001000;  // "masquerade me", set at PREROUTING, looked for at POSTROUTING
  OnDeath on_death = OnDeath::hold;
  Defragment defragment = Defragment::automatic;
  bool direct = false;                // what clients send to endpoints without a service is queued, too
  bool reset_rejected_tcp = false;    // limpet sends RSTs of its own: connection tracking must not see them
  bool localhost_node_ports = false;  // set route_localnet, behind a guard
};

/// The address that local clients of a VIP speak from where only our route leads to it; it changes as the node's
/// addresses do. nullopt: the kernel's choice.
struct RouteSources {
  std::optional<net::Address> v4 = std::nullopt;
  std::optional<net::Address> v6 = std::nullopt;
};

/// What could not be done, and does not keep packets from being diverted. One line each: what is so, what follows, what
/// to do.
using Warnings = std::vector<std::string>;

}  // namespace limpet::divert
