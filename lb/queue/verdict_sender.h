// verdict_sender.h: many verdicts, one system call.
//
//   pending   v1 v2 v3 │ v4 v5 │ v6 …      one sendmsg for each part; a part holds at most `limit` bytes and
//                                          IOV_MAX verdicts, but at least one
//
// Netlink takes several messages in one datagram and carries them out in order. A datagram must fit the
// socket's send buffer (`limit`), so a batch of super-packets is split, in order; a batch of small packets
// leaves in one piece. The kernel runs the rest of the packets' way through the network stack inside that
// call. One thread; allocates nothing after construction while a batch stays within `count`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <sys/uio.h>

namespace limpet::queue {

class VerdictSender {
 public:
  /// `count`: the most verdicts of a batch; `limit`: bytes a call.
  VerdictSender(int fd, std::size_t limit, std::uint32_t count) : fd_(fd), limit_(limit) { pending_.reserve(count); }

  /// `verdict` must stay where it is until flush(). Its length is a multiple of four.
  void add(std::span<const std::byte> verdict) {
    pending_.push_back({const_cast<std::byte*>(verdict.data()), verdict.size()});  // sendmsg does not write
  }
  /// Sends all that was added. What the socket will not take together is sent one by one, and a verdict that it will not take
  /// even so (no memory for its payload) as a drop without payload: else the kernel would hold its packet for ever. Returns
  /// how many of those there were.
  std::uint64_t flush() noexcept;

 private:
  bool send(std::span<iovec> vectors) const noexcept;
  std::uint64_t send_each(std::span<iovec> vectors) const noexcept;

  int fd_;
  std::size_t limit_;
  std::vector<iovec> pending_;
};

}  // namespace limpet::queue
