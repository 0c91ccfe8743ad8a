// packet_path.h: the way of one client's packets through the pipeline, offline: the hooks that they would cross on this
// node, and what would happen to them there.
//
//   captured ─▶ of the client? ─▶ seen before? ─▶ readdressed ─▶ hooks, where the rules would divert it
//
//   hooks       PREROUTING, then INPUT if the destination is the node's by then, else POSTROUTING
//               from the node itself: OUTPUT, POSTROUTING; to itself also PREROUTING and INPUT, by way of lo
//   of the      the client is its source or its destination, or that of the packet that an ICMP error quotes; or it
//   client      belongs to a flow of the client (a reply to a masqueraded connection)
//   again       a packet that the capture holds at several places, or before and after a translation, is run once, as it
//               was seen first (sightings.h)
//   readdressed a capture records the choices of the balancer that was there. Its endpoint's replies, and replies that
//               are translated already (a capture from the client's side holds no others), stand for those of the
//               endpoint that is chosen here: they are given its addresses before they are run
//
// Rules, not packets, decide what reaches a queue (offline_rules.h). Fragments are followed one by one, as on a node whose
// kernel does not put datagrams together: where it does, the addresses are the same. A packet that was captured short is
// filled up with zeros, which change no decision. The clock is the capture's; flows end by it. Affinity starts empty. All
// random numbers come from the seed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/fragment_table.h"
#include "conntrack/flow/port_pool.h"
#include "conntrack/store/result.h"
#include "lb/affinity/affinity_table.h"
#include "lb/datapath/packet_facts.h"
#include "lb/datapath/path_step.h"
#include "lb/datapath/pipeline.h"
#include "lb/lab/capture_file.h"
#include "lb/lab/described_node.h"
#include "lb/lab/offline_rules.h"
#include "lb/lab/sightings.h"
#include "lb/service/balancer.h"
#include "lb/service/config.h"
#include "lb/service/identities.h"

namespace limpet::lab {

using datapath::facts_of;
using datapath::PacketFacts;
using Crossing = datapath::PathStep;

class PacketPath {
 public:
  /// Errors: more endpoints than a table takes.
  static store::Result<std::unique_ptr<PacketPath>> build(const service::Config& config, DescribedNode node,
                                                          const net::Address& client, std::uint64_t seed);

  /// The crossings of the next packet of the capture; empty if it is not the client's, or was seen before.
  std::vector<Crossing> walk(const CapturedPacket& captured);

  std::uint64_t packets() const noexcept { return packets_; }  // of the client, run
  std::uint64_t again() const noexcept { return again_; }      // of the client, not run: seen before

 private:
  /// Keeps what the pipeline reports of the crossing under way.
  struct Recorder final : datapath::Observer {
    Crossing* crossing = nullptr;
    void on(const datapath::CrossingReport& report) noexcept override;
  };

  PacketPath(const service::Config& config, DescribedNode node, std::shared_ptr<const service::Snapshot> snapshot,
             std::unique_ptr<datapath::EndpointSlots> slots, const net::Address& client, std::uint64_t seed);

  bool is_clients(const PacketFacts& facts);
  void tell_time(std::chrono::microseconds time);
  bool readdress(std::span<std::byte> bytes, const PacketFacts& facts);
  bool cross(datapath::Hook hook, std::uint32_t in_interface, const Crossing& about);
  datapath::Packet packet_at(datapath::Hook hook, std::uint32_t in_interface, const net::Address& destination);
  std::string service_of(const net::Tuple& tuple, datapath::Hook hook, std::uint32_t in_interface) const;

  DescribedNode node_;
  net::Address client_;
  std::unique_ptr<datapath::EndpointSlots> slots_;
  std::shared_ptr<const service::Snapshot> snapshot_;
  OfflineRules rules_;
  Sightings sightings_;

  affinity::AffinityTable affinity_;
  flow::FlowTable flows_;
  flow::PortPool ports_;
  flow::FragmentTable fragments_;
  service::Balancer balancer_;
  datapath::Pipeline pipeline_;
  datapath::Counters counters_;
  datapath::EndpointLoad load_;
  Recorder recorder_;
  datapath::WorkerContext worker_;

  std::optional<std::chrono::microseconds> first_;  // the capture's first instant
  flow::Instant now_{};
  flow::Instant swept_{};
  // Of the packet under way.
  std::vector<std::byte> bytes_;
  std::uint32_t mark_ = 0;
  std::vector<Crossing> crossings_;

  std::uint64_t packets_ = 0;
  std::uint64_t again_ = 0;
};

}  // namespace limpet::lab
