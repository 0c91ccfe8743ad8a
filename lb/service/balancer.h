// balancer.h: the Decider of declared services: match, remember, choose.
//
//   Snapshot::match ──▶ reject, drop, none: done
//                   ──▶ dnat: a set of endpoints ── no affinity ──▶ weighted random choice
//                                                ── affinity    ──▶ AffinityTable::get_or_assign, one critical section
//
// Affinity: one entry per (scope, client), shared by the clusterIP and the nodePort, honoured only while its endpoint is in
// the set that this connection chooses from, sliding with every new connection. The scope is the service port alone, or one
// that several share; then the entry names an address, which stands for the service port's own endpoint there. Clients
// may be taken together by their networks (a prefix). A client that comes by
// two doors with different sets is moved when its endpoint is not in the narrower one (kube-proxy may hold two
// entries). A packet from the middle of a connection (known_clients_only) reads the table and changes nothing.
//
// decide() is O(1) in services and endpoints and allocates nothing. Any number of threads. The control thread may publish
// another snapshot meanwhile: a decision is of the one or of the other.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "lb/affinity/affinity_table.h"
#include "lb/datapath/decider.h"
#include "lb/service/snapshot.h"

namespace limpet::service {

class Balancer final : public datapath::Decider {
 public:
  /// `slots` are those that the snapshot's ids are in force in. Both references outlive the Balancer. Tells the table
  /// how long each service port with affinity remembers.
  Balancer(const datapath::EndpointSlots& slots, std::shared_ptr<const Snapshot> snapshot,
           affinity::AffinityTable& affinity);

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override;
  void confirm(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) override;
  void refresh(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) override;

  /// From now on decisions are of `next`, in which `made` are new. Returns the former, which workers may be reading still
  /// (epochs.h). Control thread.
  [[nodiscard]] std::shared_ptr<const Snapshot> publish(std::shared_ptr<const Snapshot> next,
                                                        std::span<const std::shared_ptr<const ServicePort>> made);
  /// The one published. Control thread.
  const Snapshot& snapshot() const noexcept { return *snapshot_; }

 private:
  void remember_for(std::span<const std::shared_ptr<const ServicePort>> ports);
  datapath::Decision assign(const Match& match, const net::Address& client, flow::Instant now, pick::Rng& rng);
  datapath::Decision recall(const Match& match, const net::Address& client, flow::Instant now) const;

  std::shared_ptr<const Snapshot> snapshot_;  // keeps `current_` alive
  std::atomic<const Snapshot*> current_;
  affinity::AffinityTable& affinity_;
};

}  // namespace limpet::service
