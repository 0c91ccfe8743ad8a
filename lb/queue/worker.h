// worker.h: the loop that serves one queue.
//
//   recvmmsg ──▶ up to `batch` messages, each in a buffer of its own, preallocated
//        │       for each: parse, ask the handler, build the verdict in place (message.h)
//        ▼
//   sendmsg  ──▶ the verdicts of the batch, in the order of arrival, in as few calls as the send buffer
//                allows; error replies to them arrive among the packets and are counted, never fatal
//
// The handler is a template argument: what limpet does (PipelineHandler) and what a benchmark does (echo)
// run in the very same loop, without a virtual call. The batch's buffers are staggered by five cache lines,
// so that 64 packet headers do not fall into the same few sets of the first-level cache.
//
// Stopping: when the command is `drain` the worker serves what is queued already and ends when the queue is
// empty, or after kDrain. One thread runs a worker; any thread may read its stats.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "lb/datapath/pipeline.h"
#include "lb/queue/buffers.h"
#include "lb/queue/message.h"
#include "lb/queue/queue_socket.h"
#include "lb/queue/verdict_sender.h"

namespace limpet::queue {

template <typename T>
concept Handler = requires(T& handler, const datapath::Packet& packet, std::span<Message> batch) {
  handler.begin_batch(batch);  // it has arrived: read the clock, take the snapshot, prefetch
  { handler.handle(packet) } -> std::same_as<datapath::Verdict>;  // one packet of it; may rewrite its bytes
  handler.end_batch();                                            // its verdicts are out, or nothing came for a while
};

enum class Command : std::uint8_t { run, drain };

inline constexpr std::chrono::milliseconds kDrain{1000};

/// Written by one worker, read by anyone.
struct WorkerStats {
  std::atomic<std::uint64_t> batches{0};
  std::atomic<std::uint64_t> packets{0};
  std::atomic<std::uint64_t> refused_verdicts{0};  // the kernel did not know the packet any more, or refused it
  std::atomic<std::uint64_t> send_errors{0};
  std::atomic<std::uint64_t> invalid_messages{0};
};

template <Handler H>
class Worker {
 public:
  Worker(QueueSocket socket, std::uint32_t batch, H handler)
      : socket_(std::move(socket)),
        buffers_(batch),
        messages_(batch),
        sender_(socket_.fd(), socket_.send_limit(), batch),
        handler_(std::move(handler)) {}

  /// Serves the queue on the calling thread until it is told to drain and has done so.
  void run(const std::atomic<Command>& command) {
    while (command.load(std::memory_order_relaxed) == Command::run) serve(MSG_WAITFORONE);
    const auto give_up = std::chrono::steady_clock::now() + kDrain;
    while (serve(MSG_DONTWAIT) && std::chrono::steady_clock::now() < give_up) {
    }
  }

  const WorkerStats& stats() const noexcept { return stats_; }
  std::uint16_t queue() const noexcept { return socket_.number(); }

 private:
  /// One batch. False if none was there.
  bool serve(int flags) {
    const std::span<const std::span<std::byte>> datagrams = buffers_.receive(socket_.fd(), flags);
    const std::span<Message> batch = std::span(messages_).first(datagrams.size());
    std::transform(datagrams.begin(), datagrams.end(), batch.begin(), parse);
    if (!batch.empty()) {
      count(stats_.batches);
      handler_.begin_batch(batch);
      for (const Message& message : batch) answer(message);
      count(stats_.send_errors, sender_.flush());
    }
    handler_.end_batch();
    return !batch.empty();
  }

  void answer(const Message& message) {
    switch (message.kind) {
      case Message::Kind::packet:
        count(stats_.packets);
        sender_.add(build_verdict(message, handler_.handle(message.packet), socket_.number()));
        break;
      case Message::Kind::error:
        count(stats_.refused_verdicts);
        break;
      case Message::Kind::invalid:
        count(stats_.invalid_messages);
        break;
    }
  }

  static void count(std::atomic<std::uint64_t>& value, std::uint64_t n = 1) noexcept {
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }

  QueueSocket socket_;
  Buffers buffers_;
  std::vector<Message> messages_;
  VerdictSender sender_;
  H handler_;
  WorkerStats stats_;
};

}  // namespace limpet::queue
