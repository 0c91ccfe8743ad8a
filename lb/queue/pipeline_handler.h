// pipeline_handler.h: what limpet does with the packets of a queue: the pipeline, under a clock read once a batch.
// When a batch arrives, the flow table's memory for all of its packets is asked for at once; then each is processed.
// A packet that is refused with an answer is answered at once (reply_sender.h). Whoever is published as the worker's observer
// when a batch begins is told of its packets. What the deciders read is not freed before the batch ends (epochs.h). Between batches it sweeps its share of the flow table, at the pace that visits
// every record once in kLap (a worker that idles wakes ten times a second, and then visits kMostAtOnce at most: beyond 1.6
// million records a lap takes longer).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "conntrack/flow/flow_table.h"
#include "lb/datapath/epochs.h"
#include "lb/datapath/observer.h"
#include "lb/datapath/pipeline.h"
#include "lb/datapath/published.h"
#include "lb/node/node_view.h"
#include "lb/queue/message.h"
#include "lb/queue/reply_sender.h"

namespace limpet::queue {

class PipelineHandler {
 public:
  /// Where the worker of this number finds its observer.
  struct Watch {
    datapath::Published<datapath::Observers>::Reader reader;
    unsigned worker;
  };

  /// `epochs` counts this worker as `watch->worker`.
  PipelineHandler(datapath::Pipeline& pipeline, const flow::FlowTable& flows,
                  const datapath::Published<node::NodeView>& node, datapath::WorkerContext context, unsigned workers,
                  ReplySender* replies = nullptr, std::optional<Watch> watch = std::nullopt,
                  datapath::Epochs* epochs = nullptr)
      : pipeline_(&pipeline),
        flows_(&flows),
        reader_(node),
        context_(context),
        workers_(workers),
        replies_(replies),
        watch_(std::move(watch)),
        epochs_(epochs),
        swept_(flow::now()) {}

  void begin_batch(std::span<Message> batch) {
    now_ = flow::now();
    if (epochs_ != nullptr) epochs_->enter(watch_->worker);
    node_ = &reader_.get();
    if (watch_) context_.observer = watch_->reader.get().of(watch_->worker);
    for (Message& message : batch) message.packet.flow_hash = pipeline_->prefetch(message.packet.bytes);
    for (const Message& message : batch) flows_->prefetch_links(message.packet.flow_hash);
    for (const Message& message : batch) flows_->prefetch_flow(message.packet.flow_hash);
  }
  datapath::Verdict handle(const datapath::Packet& packet) {
    const datapath::Verdict verdict = pipeline_->process(packet, *node_, now_, context_);
    if (verdict.reply != net::ReplyKind::none && replies_ != nullptr) [[unlikely]] {
      replies_->answer(verdict.reply, packet, now_);
    }
    return verdict;
  }
  void end_batch() {
    if (epochs_ != nullptr) epochs_->leave(watch_->worker);
    const flow::Instant now = flow::now();
    const auto share = static_cast<std::uint64_t>((now - swept_).count()) * flows_->records_in_use() / workers_;
    const std::uint64_t budget = share / static_cast<std::uint64_t>(kLap.count());
    if (budget == 0) return;
    swept_ = now;
    pipeline_->sweep(std::min(budget, kMostAtOnce), now, context_);
  }

 private:
  static constexpr std::chrono::milliseconds kLap{10'000};
  static constexpr std::uint64_t kMostAtOnce = 16384;  // about a millisecond

  datapath::Pipeline* pipeline_;
  const flow::FlowTable* flows_;
  datapath::Published<node::NodeView>::Reader reader_;
  datapath::WorkerContext context_;
  unsigned workers_;
  ReplySender* replies_;  // nullptr: nothing is answered
  std::optional<Watch> watch_;
  datapath::Epochs* epochs_;
  const node::NodeView* node_ = nullptr;
  flow::Instant now_{};
  flow::Instant swept_;
};

}  // namespace limpet::queue
