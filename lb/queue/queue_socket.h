// queue_socket.h: one NFQUEUE, bound and configured.
//
//   bind         BIND, maxlen and F_GSO, acknowledged; then COPY_PACKET 0xffff, which opens the queue:
//                until then it drops
//   F_GSO        super-packets arrive whole (64 KiB) instead of as 1,500-byte segments: 35 times fewer
//                messages
//   FAIL_OPEN    never: a full queue must drop, not let packets through un-rewritten
//   NO_ENOBUFS   overruns show in the kernel's drop counters, not as errors of recv
//   CAP_ACK      a refused verdict comes back without its payload
//   buffers      SO_RCVBUFFORCE / SO_SNDBUFFORCE; without the privilege what net.core.{r,w}mem_max allows,
//                and a warning
//
// Owned by one worker thread; dies with the descriptor, and the kernel then drops what is held. Source: Linux
// net/netfilter/nfnetlink_queue.c.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "conntrack/store/result.h"

namespace limpet::queue {

struct QueueOptions {
  std::uint16_t number = 0;
  std::uint32_t max_length = 8192;                     // packets held by the kernel
  std::size_t receive_buffer = std::size_t{32} << 20;  // bytes
  std::size_t send_buffer = std::size_t{4} << 20;      // bytes
  std::chrono::milliseconds bind_patience{1000};       // a killed owner's queue may stay bound for a moment
};

class QueueSocket {
 public:
  /// unavailable: another process has the queue, or the kernel has no NFQUEUE. permission: no CAP_NET_ADMIN here.
  static store::Result<QueueSocket> open(const QueueOptions& options);
  QueueSocket(QueueSocket&& other) noexcept;
  QueueSocket& operator=(QueueSocket&& other) noexcept;
  ~QueueSocket();

  int fd() const noexcept { return fd_; }
  std::uint16_t number() const noexcept { return number_; }
  /// The most bytes that one sendmsg may carry.
  std::size_t send_limit() const noexcept { return send_limit_; }
  /// What is weaker than asked for, in words.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  QueueSocket(int fd, std::uint16_t number) noexcept : fd_(fd), number_(number) {}
  void size_buffers(const QueueOptions& options);

  int fd_ = -1;
  std::uint16_t number_ = 0;
  std::size_t send_limit_ = 0;
  std::vector<std::string> warnings_;
};

/// One line of /proc/net/netfilter/nfnetlink_queue: what the kernel counts for a queue.
struct KernelQueueStats {
  std::uint16_t number = 0;
  std::uint32_t owner = 0;            // netlink port of the socket that has it
  std::uint64_t waiting = 0;          // packets held now
  std::uint64_t dropped_full = 0;     // the queue was at its maximum length
  std::uint64_t dropped_overrun = 0;  // the receive buffer was full
  std::uint64_t sequence = 0;         // the last packet's id
};
/// Every queue that is bound in this network namespace.
std::vector<KernelQueueStats> kernel_queue_stats();

}  // namespace limpet::queue
