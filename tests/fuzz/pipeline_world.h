// pipeline_world.h: a small node for pipeline_fuzz: who there is, which services, and tables that fill up soon.
//
//   services, on each VIP     80 → E1; 81 → E1, masqueraded; 82 → E2, masqueraded; 83 refused; 84 dropped;
//                             85 → itself, masqueraded; a nodePort → E1, masqueraded
//   tables                    8 flows, 8 first fragments, 3 ports to assign
//
// Built once (a flow table is megabytes of page tables); begin() makes it as new for the next execution, so that an input
// means the same whatever came before it: what the last one left has expired, and the flow table's records are put in order.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "conntrack/flow/fragment_table.h"
#include "lb/datapath/pipeline.h"
#include "tests/fuzz/pipeline_packets.h"
#include "tests/fuzz/require.h"

namespace limpet::fuzz {

constexpr std::uint32_t kMark = 0x1000;
constexpr std::uint16_t kNodePort = 31332;

inline net::AddressPort at(const char* text) {
  return *net::AddressPort::parse(text);
}

/// Everybody, by number, in both families.
inline const std::array<std::array<net::AddressPort, 16>, 2>& cast() {
  static const std::array<std::array<net::AddressPort, 16>, 2> all{{
      {at("198.51.100.7:4242"), at("198.51.100.7:4243"), at("198.51.100.8:4242"), at("10.96.0.1:80"),
       at("10.96.0.2:80"), at("10.96.0.1:81"), at("10.96.0.1:82"), at("10.96.0.1:83"), at("10.96.0.1:84"),
       at("10.2.0.5:8080"), at("10.2.0.6:8080"), at("10.2.0.1:4242"), at("10.128.0.5:5000"), at("10.128.0.5:31332"),
       at("10.96.0.3:85"), at("10.2.0.5:4242")},
      {at("[2001:db8:7::7]:4242"), at("[2001:db8:7::7]:4243"), at("[2001:db8:7::8]:4242"), at("[fd00:96::1]:80"),
       at("[fd00:96::2]:80"), at("[fd00:96::1]:81"), at("[fd00:96::1]:82"), at("[fd00:96::1]:83"),
       at("[fd00:96::1]:84"), at("[fd00:2::5]:8080"), at("[fd00:2::6]:8080"), at("[fd00:2::1]:4242"),
       at("[2001:db8:128::5]:5000"), at("[2001:db8:128::5]:31332"), at("[fd00:96::3]:85"), at("[fd00:2::5]:4242")},
  }};
  return all;
}
constexpr std::uint32_t kFlows = 8;
enum : std::size_t { kVip = 3, kE1 = 9, kE2 = 10, kLocal = 12 };

/// Decides by the destination's port. Who has an even port is a client known before.
class PortDecider final : public datapath::Decider {
 public:
  using Decider::Decider;
  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView&, flow::Instant,
                            pick::Rng&) override {
    using datapath::Action, datapath::Reason;
    const net::AddressPort& to = connection.tuple.destination;
    const auto& all = cast()[to.address.is_v4() ? 0 : 1];
    datapath::Decision decision;
    const bool vip = to.address == all[3].address || to.address == all[4].address || to.address == all[14].address;
    const bool node_port = to == all[13];
    if (!node_port && (!vip || to.port < 80 || to.port > 85)) return decision;
    if (to.port == 83) return decision.action = Action::reject, decision.reason = Reason::no_endpoints, decision;
    if (to.port == 84) return decision.action = Action::drop, decision.reason = Reason::no_local, decision;
    if (connection.known_clients_only && connection.tuple.source.port % 2 != 0) {
      return decision.action = Action::drop, decision.reason = Reason::midstream, decision;
    }
    const std::uint32_t which = to.port == 82 ? 2 : to.port == 85 ? 3 : 1;
    decision.action = Action::dnat;
    decision.reason = Reason::picked;
    decision.affinity = datapath::AffinityOutcome::miss;
    decision.masquerade = to.port != 80;
    decision.endpoint_id = {which, 100 + which};
    decision.endpoint = which == 1 ? all[kE1] : which == 2 ? all[kE2] : to;
    decision.remembered = {7, 0, 100 + which};
    return decision;
  }
  void confirm(const net::Address&, const flow::AffinityName&, flow::Instant) override {}
};

/// Sees to it that each crossing is told of once, with the verdict that is given.
class Witness final : public datapath::Observer {
 public:
  void on(const datapath::CrossingReport& crossing) noexcept override {
    ++told;
    accepted = crossing.verdict.accept;
    rewritten = crossing.verdict.rewritten;
  }
  unsigned told = 0;
  bool accepted = false, rewritten = false;
};

class World {
 public:
  /// `choices`: bits that choose options.
  void begin(unsigned choices) {
    now += flow::Seconds{86400 * 10};
    for (const std::uint32_t slot : {1U, 2U, 3U}) serve(slot, true);
    has_addresses = true;
    put_in_order();
    pipeline.emplace(options(choices), decider_, flows_, ports_, fragments_);
    worker.rng = pick::Rng(choices);
    worker.observer = choices & 0x80 ? &witness : nullptr;
  }
  /// When all has expired, nothing is left.
  void end() {
    now += flow::Seconds{86400 * 10};
    sweep(kFlows);
    require(flows_.size() == 0, "every flow expires");
    for (const std::uint32_t slot : {1U, 2U, 3U})
      require(load_.active(slot) == 0, "every flow that was opened was closed");
  }
  void serve(std::uint32_t slot, bool yes) {
    slots_.set({slot, 100 + slot}, yes ? datapath::EndpointSlots::ready | datapath::EndpointSlots::serving : 0);
    serving_[slot] = yes;
  }
  void toggle(std::uint32_t slot) { serve(slot, !serving_[slot]); }
  const node::NodeView& node() const { return has_addresses ? with_addresses_ : without_; }
  std::size_t flows() const { return flows_.size(); }
  void sweep(std::size_t budget) {
    pipeline->sweep(budget, now, worker);
    swept_ += budget;
  }

  flow::Instant now{flow::Milliseconds(1)};
  bool has_addresses = true;
  Witness witness;
  datapath::Counters counters;

 private:
  /// An empty flow table hands out its records in the order in which they were last given back, and sweeps go on where the
  /// last one ended: use every record once, and go round from the first one.
  void put_in_order() {
    const auto ignore = [](const flow::Flow&) {};
    flows_.sweep(kFlows - swept_ % kFlows, now, ignore);
    swept_ = 0;
    for (std::uint16_t port = 0; port < kFlows; ++port) {
      flow::LockedFlow flow;
      const net::AddressPort nobody{cast()[0][0].address, port};
      flows_.create({net::Protocol::udp, nobody, nobody}, flow);
    }
    flows_.sweep(kFlows, now, ignore);
    require(flows_.size() == 0, "a flow table can be emptied");
  }
  static node::NodeView node_view() {
    std::vector<node::InterfaceAddress> addresses;
    for (const auto& family : cast()) {
      addresses.push_back({.interface = 1, .address = family[12].address, .prefix_length = 24});
      addresses.push_back({.interface = 2, .address = family[11].address, .prefix_length = 24});
    }
    return {std::move(addresses), {}, {}};
  }
  static flow::PortPool port_pool() {
    // Far apart: from wherever it begins, a search is short.
    static const std::array<flow::PortInterval, 3> assignable{{{10000, 10000}, {31000, 31000}, {52000, 52000}}};
    static const std::array<std::uint16_t, 1> node_ports{kNodePort};
    return flow::PortPool({.assignable = assignable, .node_ports = node_ports});
  }
  static datapath::PipelineOptions options(unsigned choices) {
    return {.mark_mask = kMark,
            .midstream = static_cast<datapath::MidstreamPolicy>((choices & 3) % 3),
            .reset_rejected_tcp = (choices & 4) != 0,
            .answer_echo = (choices & 16) != 0,
            .track_direct = (choices & 8) != 0};
  }

  datapath::EndpointSlots slots_{8};
  std::array<bool, 4> serving_{};
  PortDecider decider_{slots_};
  flow::FlowTable flows_{{.capacity = kFlows, .key = {1, 2}, .timeouts = {}}};
  std::size_t swept_ = 0;
  flow::PortPool ports_ = port_pool();
  flow::FragmentTable fragments_{{.capacity = 8, .key = {1, 2}}};
  node::NodeView with_addresses_ = node_view(), without_;
  datapath::EndpointLoad load_{1, 8};

 public:
  datapath::WorkerContext worker{pick::Rng(1), counters, load_.shard(0)};
  std::optional<datapath::Pipeline> pipeline;
};

}  // namespace limpet::fuzz
