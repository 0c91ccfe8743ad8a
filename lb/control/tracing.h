// tracing.h: watch one client's packets in the running workers.
//
//   control thread                                             worker
//     start(client) ── a Trace: one ring for each worker ──┐
//                      Observers: one Tap for each worker ─┴─▶ at its next batch: Tap::on(crossing)
//                      (published, datapath/observer.h)           of the client? ─▶ ring, or lost and counted
//     drain()       ◀── the rings, merged by sequence
//     ~Trace        ── Observers without it, published
//
// Costs a worker one load a batch while nobody traces; while somebody does, a comparison of addresses a packet, and of the
// client's packets a copy of kHead bytes before and after.
//
// "Of the client": one of the packet's addresses as it came or as it leaves, of the packet that an ICMP error quotes, or of
// the flow that it met (so replies to a masqueraded connection are seen at each hook).
//
// Ending a trace while workers run: a worker keeps what it took at the beginning of its batch, by a shared pointer, so
// nothing that it may still call is freed. The control thread keeps old Observers until no worker holds them, so that it is
// never a worker that frees; an idle worker keeps one generation alive at most.
//
// At most kTraces at once. Control thread only, but for what a Tap does. Memory: kRing records of about 0.5 kB for each
// worker and trace.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/control/trace_ring.h"
#include "lb/datapath/observer.h"
#include "lb/datapath/path_step.h"
#include "lb/datapath/pipeline.h"
#include "lb/datapath/published.h"

namespace limpet::control {

/// The beginning of a packet.
struct Head {
  std::array<std::byte, datapath::kHead> bytes;
  std::uint32_t size = 0;    // of these are the packet's
  std::uint32_t length = 0;  // of the packet
};

/// One crossing, as a worker leaves it for the control thread.
struct TraceRecord {
  std::uint64_t sequence = 0;          // over all workers of a trace, without gaps
  std::chrono::microseconds time{};    // since 1970-01-01 UTC
  datapath::NewConnection connection;  // as a decider would be asked about it
  std::optional<flow::KeyRole> hit;
  std::optional<datapath::Decision> decision;
  datapath::Counter outcome{};
  datapath::Verdict verdict;
  Head before, after;
};
static_assert(std::is_trivially_copyable_v<TraceRecord>);

/// In words, but for the service.
datapath::PathStep to_step(const TraceRecord& record);

class Tracing {
  static constexpr std::size_t kRing = 1024;
  using Ring = TraceRing<TraceRecord, kRing>;

 public:
  static constexpr std::size_t kTraces = 4;

  class Tap;
  /// What taps and their trace share.
  struct Shared {
    Shared(const net::Address& of, unsigned workers) : client(of), rings(workers) {}
    const net::Address client;
    std::vector<Ring> rings;  // one a worker
    std::atomic<std::uint64_t> sequence{0};
  };

  /// One client's; it ends with the object.
  class Trace {
   public:
    Trace(Tracing& tracing, std::shared_ptr<Shared> shared) : tracing_(tracing), shared_(std::move(shared)) {}
    ~Trace() { tracing_.stop(shared_); }
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    /// What has come since the last call, `most` from each worker, in order and without a gap: a record that a worker
    /// is still writing keeps back those after it until a later call.
    std::vector<TraceRecord> drain(std::size_t most);
    /// Records that found no room, so far.
    std::uint64_t lost() const noexcept;

   private:
    Tracing& tracing_;
    std::shared_ptr<Shared> shared_;
    std::vector<TraceRecord> early_;  // taken from the rings before their turn
    std::uint64_t next_ = 0;          // the sequence whose turn it is
  };

  /// `published` is what the workers read; it outlives the object, and the object its traces.
  Tracing(datapath::Published<datapath::Observers>& published, unsigned workers)
      : published_(published), workers_(workers) {}
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

  /// nullptr: there are kTraces already.
  std::unique_ptr<Trace> start(const net::Address& client);

 private:
  void stop(const std::shared_ptr<Shared>& trace);
  void publish();

  datapath::Published<datapath::Observers>& published_;
  unsigned workers_;
  std::vector<std::shared_ptr<Shared>> traces_;
  std::vector<std::shared_ptr<const datapath::Observers>> replaced_;  // some worker may still hold them
};

}  // namespace limpet::control
