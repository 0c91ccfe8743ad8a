// ipset.h: the ipset tool: carries out what sets.h renders.
//
// A restore is not a transaction: lines before a faulty one stay done. Hence sets are built aside and swapped in.
#pragma once

#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

/// Ok if tool and kernel have sets, and a rule of that variant and family can look into them.
store::Status probe_sets(const Xtables& xtables, net::Family family);

/// limpet's sets of that family that exist. None where there is no ipset.
store::Result<std::vector<std::string>> present_sets(net::Family family);

/// What find_set_drift() reads.
store::Result<std::string> list_sets();

/// Run lines of sets.h, if there are any. Elements that are there already, or gone already, are no error.
store::Status restore_sets(const std::string& text);

/// Destroy these. Waits while rules that were just removed still hold them.
store::Status destroy_sets(const std::vector<std::string>& names);
/// Destroy limpet's sets of that family.
store::Status destroy_sets(net::Family family);

}  // namespace limpet::divert
