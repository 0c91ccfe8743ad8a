// nft_rules.h: the nftables rules of a diversion plan, as text for nft -f. Pure. The same packets as rules.h takes.
//
//   table ip limpet     sets services, endpoints   address . protocol . port        (table ip6 limpet alike)
//                            echoes                address . ICMP type . code
//                            locals, hosts, vips   addresses; the latter two for fragments only
//                            addresses             of services, whose other ports are refused
//                       chains prerouting, output       priority -300 (raw)
//                              postrouting, input       priority -150 (mangle)
//
// A table a family, not one of `inet`: a family without services has no hooks that its packets would pay for, and needs
// nothing of the kernel; and the sets' types differ anyway. All chains are of type filter: a packet whose destination
// userspace has changed at OUTPUT is routed again by nf_queue itself, as with iptables' raw table.
//
// A transaction replaces the content of chains and sets, not the chains: to delete a base chain drops all packets that
// any queue holds. Elements change one by one otherwise. Any change is one transaction, so there is no order to keep.
//
// Nothing here turns connection tracking on: no `ct`; `notrack` does not. To have datagrams put together it takes an
// expression that asks for it: `socket` does not (unlike xt_socket), `tproxy` does, in a rule that no packet meets.
//
// Protocols are written as words of nft's own grammar: "ipv6-icmp", say, it would look up in /etc/protocols, which not
// every machine has.
#pragma once

#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/options.h"

namespace limpet::divert {

/// What of the kernel the rules may use, besides sets and `queue`.
struct NftAbilities {
  bool tproxy = false;
  bool notrack = false;
};

/// "ip limpet" or "ip6 limpet".
std::string nft_table(net::Family family);

/// The statement that makes the kernel put fragments together.
std::string nft_defragmenting_rule(net::Family family);

/// The content of the chains, with the chains around it.
std::string render_nft_chains(net::Family family, const datapath::DiversionPlan& plan, const Options& options,
                              NftAbilities able);

/// The transaction that makes the table what the plan (one family's part) asks for, whatever it held.
std::string render_nft_install(net::Family family, const datapath::DiversionPlan& plan, const Options& options,
                               NftAbilities able);

/// The transaction that writes the chains anew and leaves the sets alone. The table stands.
std::string render_nft_renewal(net::Family family, const std::string& chains);

/// A change, element by element; `after` is what it leads to. Empty if there is nothing to do.
std::string render_nft_changes(net::Family family, const datapath::DiversionPlan& after,
                               const datapath::PlanDelta& delta);

/// Of each set that has any, three elements: the first, the last, and one between. "ip limpet locals { 10.1.0.1 }"
std::vector<std::string> render_nft_samples(net::Family family, const datapath::DiversionPlan& plan);

/// The guard (rules.h): a table of its own, since it outlives the other.
std::string render_nft_guard();

}  // namespace limpet::divert
