// rules.h: the iptables rules of a diversion plan, as text for iptables-restore --noflush. Pure.
//
//   raw    PREROUTING  ─▶ LIMPET-PREROUTING   (whole datagrams: see below)
//                                             to a service                   ─▶ NFQUEUE  request
//                                             from an endpoint, to the node  ─▶ NFQUEUE  reply, masqueraded
//          OUTPUT      ─▶ LIMPET-OUTPUT       to a service                   ─▶ NFQUEUE  request
//   mangle POSTROUTING ─▶ LIMPET-POSTROUTING  mark bit set                   ─▶ NFQUEUE  request, masqueraded
//                                             from an endpoint               ─▶ NFQUEUE  reply
//          INPUT       ─▶ LIMPET-INPUT        from an endpoint               ─▶ NFQUEUE  reply, local client
//
// With sets each line above is one rule. Without, it is one rule per address, and "from an endpoint, to the node"
// takes a chain of its own, LIMPET-REPLIES, so that the rules number endpoints + locals, not their product.
//
// Only the first fragment of a datagram has ports. The kernel puts fragments together before raw while conntrack is in
// use, or while a rule names the socket match: hence one that no packet meets and that does nothing. Where the kernel
// lacks that match, there is no such rule, and fragments to a VIP are lost unless conntrack is in use.
//
// Requests carry no --queue-bypass: they wait for a process. Replies carry it only when on_death is bypass.
// A verdict ends the packet's way through that table at that hook, so no packet is queued twice by one of these chains.
// Base chains are neither created nor deleted; each has one jump, at the top, where no other rule's ACCEPT hides
// packets. A transaction that is rendered again replaces the former content: applying twice is applying once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/options.h"

namespace limpet::divert {

/// Where features are tried out (xtables.h); nothing jumps to it.
inline constexpr std::string_view kProbeChain = "LIMPET-PROBE";

enum class Table { raw, mangle };
/// "raw" or "mangle".
std::string_view to_string(Table table) noexcept;

/// What of limpet's stands in a table already.
struct Traces {
  std::vector<std::string> chains;  // names
  std::vector<std::string>
      jumps;  // rules of other chains that lead to them, as iptables-save prints them: "-A PREROUTING …"
  bool empty() const noexcept { return chains.empty() && jumps.empty(); }
};

/// Find them in the text of `iptables-save -t TABLE`. Any bytes are accepted; what is not understood is not limpet's.
Traces find_traces(std::string_view saved);

/// The part of a plan that concerns one family.
datapath::DiversionPlan part_of(const datapath::DiversionPlan& plan, net::Family family);

/// What of the kernel the rules may use.
struct Abilities {
  bool sets = false;    // set match, ipset
  bool socket = false;  // socket match
};

/// The matches of the rule that makes the kernel put fragments together.
std::string defragmenting_match(net::Family family);

/// The transaction that makes a table what the plan asks for. `plan` is one family's part.
std::string render_install(Table table, net::Family family, const datapath::DiversionPlan& plan, const Options& options,
                           Abilities able, const Traces& present);

/// The transaction that removes these traces.
std::string render_removal(Table table, const Traces& present);

}  // namespace limpet::divert
