// localnet.h: net.ipv4.conf.all.route_localnet: may packets with addresses of 127.0.0.0/8 be routed? What a local
// client of 127.0.0.1:nodePort needs, since its packets leave with that source until they are masqueraded.
//
//   on    guard in place ─▶ 1       only if it was 0; where it was 1 already, nothing is touched
//   off   0 ─▶ guard removed        only if there is a guard: it says that it was limpet who set it
//
// So it is right at any moment at which a process may be killed: never 1 by limpet's doing without the guard.
#pragma once

#include <memory>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/divert/options.h"
#include "lb/divert/ruleset.h"

namespace limpet::divert {

/// Set it, behind a guard by `chosen`; guards by others go. One that cannot be set is a warning: it concerns nodePorts
/// at 127.0.0.1 only.
store::Result<Warnings> admit_localnet(const std::vector<std::unique_ptr<Ruleset>>& rulesets, Ruleset& chosen);

/// Undo it, whoever's guard it is.
store::Status refuse_localnet(const std::vector<std::unique_ptr<Ruleset>>& rulesets);

}  // namespace limpet::divert
