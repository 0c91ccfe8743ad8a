// Masquerading: a source address and port for a flow, chosen at POSTROUTING, when the way out is known.
#include <utility>

#include "lb/datapath/pipeline.h"

namespace limpet::datapath {

using flow::Flow;
using flow::KeyRole;
using flow::LockedFlow;

namespace {

/// Ports tried before a connection is given up: each miss needs another flow on the very same pair.
constexpr unsigned kPortAttempts = 16;

flow::PoolKey pool_of(const Flow& flow, const net::Address& egress) noexcept {
  return {flow.protocol, egress, flow.endpoint};
}

}  // namespace

Verdict Pipeline::masquerade(LockedFlow flow, Crossing& crossing) {
  if (lost_egress(*flow, crossing)) {
    end(std::move(flow), crossing);  // the client's next packet finds none
    return crossing.drop(Counter::dropped_no_egress);
  }
  if (flow->egress.port == 0) {
    const auto egress = crossing.node.egress(crossing.packet.out_interface, flow->endpoint.address);
    if (!egress) return crossing.drop(Counter::dropped_no_egress);
    if (!assign_port(flow, *egress, crossing)) return crossing.drop(Counter::dropped_no_port);
  }
  return rewrite(crossing, flow->egress, flow->endpoint, false);
}

bool Pipeline::assign_port(LockedFlow& flow, const net::Address& egress, Crossing& crossing) {
  const flow::PoolKey pool = pool_of(*flow, egress);
  std::uint16_t preferred = flow->client.port;
  for (unsigned attempt = 0; attempt < kPortAttempts; ++attempt) {
    const std::optional<std::uint16_t> port = acquire_port(pool, preferred, crossing);
    if (!port) {
      if (!reclaim_port(flow, pool, crossing)) return false;
      if (flow->egress.port != 0) return true;  // another worker was faster
      continue;
    }
    flow->egress = {egress, *port};
    if (link(*flow, KeyRole::inner, crossing)) return true;
    if (attempt + 1 == kPortAttempts && link_in_place_of_over(*flow, KeyRole::inner, crossing)) return true;
    // The pair is taken by a flow that has nothing to do with this pool: a local client's, say.
    flow->egress.port = 0;
    ports_.release(pool, *port);
    preferred = 0;
  }
  return false;
}

/// A port of the pool, which may be one that a flow still holds whose time is up.
std::optional<std::uint16_t> Pipeline::acquire_port(const flow::PoolKey& pool, std::uint16_t preferred,
                                                    Crossing& crossing) {
  pick::Rng& rng = crossing.worker.rng;
  const auto freed = [&](std::uint16_t port) {
    return retire_expired({pool.protocol, {pool.egress, port}, pool.endpoint}, crossing);
  };
  std::optional<std::uint16_t> port = ports_.acquire(pool, preferred, rng());
  if (port && *port != preferred && ports_.may_keep(preferred) && freed(preferred)) {
    ports_.release(pool, *port);
    port = ports_.acquire(pool, preferred, rng());
  }
  for (unsigned attempt = 0; !port && attempt < kPortAttempts; ++attempt) {
    if (freed(ports_.random_port(rng()))) port = ports_.acquire(pool, 0, rng());
  }
  return port;
}

bool Pipeline::reclaim_port(LockedFlow& flow, const flow::PoolKey& pool, Crossing& crossing) {
  const std::optional<std::uint16_t> port = ports_.oldest_held(pool);
  if (!port) return false;
  const flow::FlowRef ref = flows_.ref(*flow);
  flow.unlock();  // never two records at once
  LockedFlow old = flows_.find({pool.protocol, {pool.egress, *port}, pool.endpoint});
  if (old && old.role() == KeyRole::inner && old->over()) {
    end(std::move(old), crossing);
    crossing.worker.counters.add(Counter::ports_reclaimed);
  }
  old.unlock();
  flow = flows_.relock(ref, KeyRole::middle);
  return static_cast<bool>(flow);
}

void Pipeline::hold_port(const Flow& flow) {
  if (flow.egress.port != 0) ports_.hold(pool_of(flow, flow.egress.address), flow.egress.port);
}

void Pipeline::release_port(const Flow& flow) noexcept {
  if (flow.egress.port != 0) ports_.release(pool_of(flow, flow.egress.address), flow.egress.port);
}

}  // namespace limpet::datapath
