// world.h: a whole limpet without I/O, for benchmarks: one UDP service with ClientIP affinity, its tables, a pipeline.
//
//   10.64.0.1 + i ──▶ 10.96.0.1:80 ──▶ 10.2.0.1 + j : 80      clients are pods: nothing is masqueraded
//
// Seeds are fixed: two runs do the same. Time stands still, so nothing expires.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bench/wire/frames.h"
#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/port_pool.h"
#include "lb/affinity/affinity_table.h"
#include "lb/datapath/pipeline.h"
#include "lb/service/balancer.h"
#include "lb/service/identities.h"

namespace limpet::bench {

/// IP packets of the generator's clients (frames.h), without the Ethernet header.
class Packets {
 public:
  static constexpr std::size_t kSize = kFrameSize - 14;

  explicit Packets(std::size_t clients);
  std::size_t size() const noexcept { return frames_.size(); }
  std::span<std::byte> operator[](std::size_t client) noexcept {
    return std::as_writable_bytes(frames_[client]).last(kSize);
  }

 private:
  Frames frames_;
};

class World {
 public:
  World(std::uint32_t endpoints, std::uint32_t capacity);

  /// One packet at PREROUTING.
  datapath::Verdict process(std::span<std::byte> packet) {
    return pipeline_->process({.bytes = packet}, node_, kNow, worker_);
  }
  datapath::Decision decide(const net::Tuple& tuple) {
    return balancer_->decide({.tuple = tuple}, node_, kNow, worker_.rng);
  }
  flow::FlowTable& flows() noexcept { return flows_; }

 private:
  static constexpr flow::Instant kNow{flow::Milliseconds(1'000'000)};
  static constexpr std::array<flow::PortInterval, 1> kPorts{{{1024, 29999}}};

  datapath::EndpointSlots slots_;
  service::Identities identities_{slots_};
  affinity::AffinityTable affinity_;
  flow::FlowTable flows_;
  flow::PortPool ports_{flow::PortPoolOptions{.assignable = kPorts, .node_ports = {}}};
  flow::FragmentTable fragments_{{}};
  datapath::EndpointLoad load_;
  datapath::Counters counters_;
  node::NodeView node_;
  datapath::WorkerContext worker_{pick::Rng(1), counters_, load_.shard(0)};
  std::unique_ptr<service::Balancer> balancer_;
  std::unique_ptr<datapath::Pipeline> pipeline_;
};

}  // namespace limpet::bench
