#include "conntrack/flow/take_over.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace limpet::flow {

FlowRecovery take_over(FlowTable& flows, PortPool& ports, const std::function<bool(const Flow&)>& wanted) {
  struct Held {
    Instant deadline;
    PoolKey pool;
    std::uint16_t port;
  };
  std::vector<Held> held;
  const FlowRecovery found = flows.recover([&](const Flow& flow) {
    if (!wanted(flow)) return false;
    if (flow.egress.port == 0) return true;
    const PoolKey pool{flow.protocol, flow.egress.address, flow.endpoint};
    if (!ports.claim(pool, flow.egress.port, false)) return false;
    if (flow.over()) held.push_back({flow.deadline, pool, flow.egress.port});
    return true;
  });
  // Their deadlines were set as they ended: the order in which they were held before.
  std::ranges::sort(held, {}, &Held::deadline);
  for (const Held& each : held) ports.hold(each.pool, each.port);
  return found;
}

}  // namespace limpet::flow
