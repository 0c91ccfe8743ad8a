// endpoint_load.h: how busy each endpoint is: the pipeline writes it, policies that look at load read it.
//
//   shard[worker][slot]   opened, closed, established, refused, timed_out: monotone counters of one worker
//                         for one endpoint slot
//   active(slot)          opened - closed, summed over the workers: connections now
//
// A worker is the only writer of its shard, so an event costs one plain increment; a reader sums over the workers.
// Indexed by the slot of an EndpointId.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "conntrack/flow/endpoint_id.h"

namespace limpet::datapath {

/// What a flow tells about its endpoint. `closed` is said of every flow that was opened, once, when its record is
/// retired.
enum class FlowEvent : std::uint8_t {
  opened,       // a new connection was sent there
  established,  // the client has proved itself
  refused,      // the endpoint answered the SYN with a RST
  timed_out,    // no answer ever came
  closed,       // the flow is gone
};
inline constexpr std::size_t kFlowEvents = 5;

class EndpointLoad {
 public:
  class Shard {
   public:
    explicit Shard(std::uint32_t slots) : slots_(slots), counts_(new Counts[slots]()) {}
    void on(FlowEvent event, flow::EndpointId endpoint) noexcept {
      if (endpoint.slot >= slots_) return;
      std::atomic<std::uint64_t>& count = counts_[endpoint.slot][static_cast<std::size_t>(event)];
      count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

   private:
    friend class EndpointLoad;
    using Counts = std::array<std::atomic<std::uint64_t>, kFlowEvents>;
    std::uint32_t slots_;
    std::unique_ptr<Counts[]> counts_;
  };

  /// One shard for each of `workers`, `slots` endpoints each.
  EndpointLoad(std::size_t workers, std::uint32_t slots) {
    for (std::size_t i = 0; i < workers; ++i) shards_.push_back(std::make_unique<Shard>(slots));
  }
  Shard& shard(std::size_t worker) noexcept { return *shards_[worker]; }

  /// Over all workers.
  std::uint64_t count(FlowEvent event, std::uint32_t slot) const noexcept {
    std::uint64_t sum = 0;
    for (const auto& shard : shards_) {
      sum += shard->counts_[slot][static_cast<std::size_t>(event)].load(std::memory_order_relaxed);
    }
    return sum;
  }
  /// Connections now; approximate while workers run.
  std::uint64_t active(std::uint32_t slot) const noexcept {
    const std::uint64_t closed = count(FlowEvent::closed, slot);
    const std::uint64_t opened = count(FlowEvent::opened, slot);
    return opened > closed ? opened - closed : 0;
  }

 private:
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace limpet::datapath
