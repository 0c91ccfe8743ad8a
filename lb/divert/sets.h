// sets.h: the address sets that the rules look into, as text for `ipset restore`. Pure.
//
//   limpet4-services    hash:ip,port   every (address, protocol:port) that clients address
//   limpet4-endpoints   hash:ip,port   every one that may answer
//   limpet4-locals      hash:ip        the node's own addresses             limpet6-… the same for IPv6
//   limpet4-addresses   hash:ip        services' addresses whose other ports are refused
//   limpet4-hosts       hash:ip        endpoints' addresses      } only where later fragments, which
//   limpet4-vips        hash:ip        services' other addresses } have no ports, are queued (rules.h)
//
// Protocols are numbers: 10.96.0.1,6:80. A name the tool would look up in /etc/protocols, once an element, which takes
// four times as long, and which not every machine has. ICMP type and code stand in the place of the port:
// 10.96.0.1,icmp:8/0.
//
// A set is made anew beside the old one under NAME-new and swapped in: the rules never see it half full, and the new
// one has the capacity that the plan needs, whatever the old one had: twice its elements, with as many buckets as they
// need. A change is made element by element instead, at its own price: added before anything is removed, locals and
// endpoints before services, so that no request is translated whose reply would not be found; removed in reverse. A set
// that is full then is made anew, twice as large.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/datapath/diversion_plan.h"

namespace limpet::divert {

enum class SetRole { locals, hosts, endpoints, vips, addresses, services };

/// For trying out the set match (xtables.h).
inline constexpr std::string_view kProbeSet = "limpet-probe";

/// "limpet4-services", …
std::string set_name(net::Family family, SetRole role);

/// What a set of n elements is made for: room to double before it must be made anew; a power of two, at least 1024.
std::size_t set_capacity(std::size_t elements) noexcept;

/// Which names of `ipset list -n`'s text are limpet's, of that family; the probe's set counts as IPv4's.
std::vector<std::string> find_sets(std::string_view listed, net::Family family);

/// Which sets the rules look into.
enum class SetChoice { usual, with_fragments };

/// Make the sets what the plan (one family's part) asks for. `present`: those of limpet's sets that exist.
std::string render_sets(net::Family family, const datapath::DiversionPlan& plan, SetChoice choice,
                        const std::vector<std::string>& present);

/// A change of one family's part, element by element; `after` is the part that it leads to. Empty if there is nothing to do.
std::string render_set_additions(net::Family family, const datapath::DiversionPlan& after,
                                 const datapath::PlanDelta& delta, SetChoice choice);
std::string render_set_removals(net::Family family, const datapath::DiversionPlan& after,
                                const datapath::PlanDelta& delta, SetChoice choice);

/// Those of `present` that the rules do not look into with that choice.
std::vector<std::string> unchosen_sets(net::Family family, SetChoice choice, const std::vector<std::string>& present);

/// What of the sets is not as the plan (one family's part) asks for, in words. `listed`: the text of `ipset list -t`.
/// Of the sets of addresses for fragments it is only asked whether they are empty.
std::vector<std::string> find_set_drift(net::Family family, const datapath::DiversionPlan& plan, SetChoice choice,
                                        std::string_view listed);

/// Destroy them. Rules must no longer name them.
std::string render_destroy(const std::vector<std::string>& present);

}  // namespace limpet::divert
