// doctor_rules.h: which of the kernel's parts rules can name, tried out through the tools that write rules.
//
// Each function makes rules in the network namespace that it is called in, and leaves them there: call it in a sandbox
// (doctor_sandbox.h). Each alone, since one unknown match makes a whole transaction fail.
#pragma once

#include <string_view>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/divert/doctor_check.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

/// Can these tools divert packets of that family: raw and mangle tables, NFQUEUE, mark match?
Observation probe_backend(const Xtables& tools, net::Family family);
/// nft's own `queue` statement, both families.
Observation probe_nft_queue();
/// What nft's rules have fragments put together by, both families.
Observation probe_nft_tproxy();
/// nft's `notrack` statement, both families.
Observation probe_nft_notrack();

/// What of iptables limpet or its rivals may name.
enum class Extension { sets, socket, notrack, icmp, sctp, multiport, frag, comment, state, dnat, recent, statistic };

/// Found if one variant's tools have it for both families, or for all that the variant can divert; the detail names the
/// variants and families. `installed`: the tools, the preferred ones first.
Observation probe_extension(const std::vector<Xtables>& installed, Extension extension);

/// A map in nf_tables from marks to destinations.
Observation probe_nft_map();
/// Routing by mark.
Observation probe_policy_routing();
/// A socket that answers are sent from: the whole packet, with a mark, both families.
Observation probe_raw_sockets();

}  // namespace limpet::divert
