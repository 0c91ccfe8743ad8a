// rules.h: the iptables rules of a diversion plan, as text for iptables-restore --noflush. Pure.
//
//   raw    PREROUTING  ─▶ LIMPET-PREROUTING   (whole datagrams: see below)
//                                             to a service                   ─▶ NFQUEUE  request
//                                             from an endpoint, to the node  ─▶ NFQUEUE  reply, masqueraded
//                                             to a service's address, in one
//                                             of its networks, but ICMP      ─▶ NFQUEUE  request, to be refused
//          OUTPUT      ─▶ LIMPET-OUTPUT       (an answer of limpet's own     ─▶ CT --notrack, and on)
//                                             to a service                   ─▶ NFQUEUE  request
//                                             the same addresses, networks   ─▶ NFQUEUE  request, to be refused
//          both                               to an endpoint, if direct      ─▶ NFQUEUE  direct
//                                             ICMP   ─▶ LIMPET-ICMP   error  ─▶ NFQUEUE  error
//   mangle POSTROUTING ─▶ LIMPET-POSTROUTING  mark bit set                   ─▶ NFQUEUE  request, masqueraded
//                                             from an endpoint               ─▶ NFQUEUE  reply
//          INPUT       ─▶ LIMPET-INPUT        from an endpoint               ─▶ NFQUEUE  reply, local client
//          both                               ICMP   ─▶ LIMPET-ICMP   error  ─▶ NFQUEUE  error
//
// With sets each line above is one rule, but networks, which are few, have one each. Without, it is one rule per address, and "from an endpoint, to the node"
// takes a chain of its own, LIMPET-REPLIES, so that the rules number endpoints + locals, not their product.
// Services at 127.0.0.0/8 and ::1 are matched at OUTPUT only: what reaches PREROUTING with such a destination is either limpet's
// own work, on its way through lo, or a neighbour's attempt at what is none of its business.
//
// Only the first fragment of a datagram has ports. The kernel puts fragments together before raw while conntrack is in
// use, or while a rule names the socket match: hence one that no packet meets and that does nothing. Where the kernel
// lacks that match, or is not to do it (Options::defragment), the later fragments come by their addresses, through
// LIMPET-FRAGMENTS: to a VIP; to the node; at POSTROUTING, from an endpoint's address. Local processes' datagrams are
// cut up after POSTROUTING and put together before INPUT (IPv6: behind it, so later ones are queued there, too).
//
//   wait when nobody reads the queue   requests; replies, unless on_death is bypass; fragments to a VIP, as requests
//   pass unseen (--queue-bypass)       direct, ICMP errors, fragments to the node's own addresses
//
// A verdict ends the packet's way through that table at that hook, so no packet is queued twice by one of these chains.
// Base chains are neither created nor deleted; each has one jump, at the top, where no other rule's ACCEPT hides
// packets. A transaction that is rendered again replaces the former content: applying twice is applying once.
//
// The guard: LIMPET-LOCALNET, at the top of raw PREROUTING, drops what comes with an address of 127.0.0.0/8 from
// elsewhere than lo, as kube-proxy's KUBE-FIREWALL does while route_localnet is set (CVE-2020-8558).
#pragma once

#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/options.h"
#include "lb/divert/traces.h"

namespace limpet::divert {

/// What of the kernel the rules may use, besides what every one has.
struct Abilities {
  bool sets = false;       // set match, ipset
  bool socket = false;     // socket match
  bool notrack = false;    // CT target
  bool icmp = false;       // icmp (icmp6) match
  bool sctp = false;       // sctp match
  bool multiport = false;  // the ports of UDP-Lite have no match of their own
  bool frag = false;       // IPv6: frag match. IPv4 needs none
};

/// Are later fragments queued one by one?
bool queues_fragments(net::Family family, const Options& options, Abilities able) noexcept;

/// The protocols of a list that neither a rule nor a set can match there, named: "SCTP (sctp match)"; empty if none.
std::string unmatchable(const datapath::DiversionPlan& plan, Abilities able);

/// The matches of the rule that makes the kernel put fragments together.
std::string defragmenting_match(net::Family family);

/// The transaction that makes a table what the plan asks for. `plan` is one family's part.
std::string render_install(Table table, net::Family family, const datapath::DiversionPlan& plan, const Options& options,
                           Abilities able, const Traces& present);

/// The transaction that puts the guard in place (IPv4, raw).
std::string render_guard(const Traces& present);

}  // namespace limpet::divert
