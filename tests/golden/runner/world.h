// world.h: a limpet without I/O, as a golden file sets it up: the real Pipeline, Balancer and tables.
//
//   eth0  1  10.1.0.1/24  fd00:1::1/64        towards clients; the default route goes there
//   pods  2  10.2.1.1/24  fd00:2:1::1/64      towards endpoints
//
// Seeds are fixed; time stands still but for pass().
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/fragment_table.h"
#include "conntrack/flow/port_pool.h"
#include "lb/affinity/affinity_table.h"
#include "lb/datapath/pipeline.h"
#include "lb/service/balancer.h"
#include "lb/service/config.h"
#include "lb/service/identities.h"

namespace limpet::golden {

using Bytes = std::vector<std::byte>;

/// How a packet arrives; see datapath::Packet.
struct Arrival {
  datapath::Hook hook = datapath::Hook::prerouting;
  std::uint32_t mark = 0;
  std::uint32_t in_interface = 0;
  std::uint32_t out_interface = 0;
  bool checksum_pending = false;
  bool segmented_later = false;
  bool truncated = false;
};

/// What became of it.
struct Departure {
  datapath::Verdict verdict;
  Bytes bytes;
  std::uint32_t mark = 0;  // that it then bears
  Bytes answer;            // sent in the endpoint's place, if any
};

/// The number of an interface above. Throws SyntaxError.
std::uint32_t interface_number(const std::string& name);

class World {
 public:
  explicit World(const service::Config& config);

  Departure cross(const Arrival& arrival, Bytes packet);
  void pass(flow::Seconds time) { now_ += time; }
  /// Retire what is due, as workers do between packets. A packet that meets a flow that is due retires it, too.
  void sweep() { pipeline_.sweep(flows_.capacity(), now_, worker_); }
  /// From now on the node has no address.
  void lose_addresses() { node_ = {}; }

  /// By the counter's name. Throws SyntaxError.
  std::uint64_t count(const std::string& counter) const;

 private:
  datapath::EndpointSlots slots_;
  service::Identities identities_{slots_};
  affinity::AffinityTable affinity_;
  flow::FlowTable flows_;
  flow::PortPool ports_;
  flow::FragmentTable fragments_;
  datapath::EndpointLoad load_;
  datapath::Counters counters_;
  node::NodeView node_;
  flow::Instant now_{flow::Milliseconds(1'000'000)};
  datapath::WorkerContext worker_{pick::Rng(1), counters_, load_.shard(0)};
  service::Balancer balancer_;
  datapath::Pipeline pipeline_;
};

}  // namespace limpet::golden
