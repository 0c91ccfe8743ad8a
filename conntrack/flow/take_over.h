// take_over.h: go on with the flows of a process that is gone.
//
//   flow table   made whole again (flow_table.h): of the flows found, those that `wanted` agrees to are kept
//   ports        those of the flows kept are claimed; of flows that have ended they are held, in the order of their ends
//
// Before any worker runs. O(records ever used).
#pragma once

#include <functional>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/port_pool.h"

namespace limpet::flow {

FlowRecovery take_over(FlowTable& flows, PortPool& ports, const std::function<bool(const Flow&)>& wanted);

}  // namespace limpet::flow
