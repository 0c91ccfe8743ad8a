// frame_sender.h: puts pre-built frames on an interface, as cheaply as a socket can.
//
// AF_PACKET, SOCK_RAW, with sendmmsg: one system call for kBurst frames. PACKET_QDISC_BYPASS hands each to the driver
// at once. On a veth the receiver's whole path (PREROUTING, routing, …) then runs inside the system call, on this CPU,
// before it returns: no queue on the way can overflow. Frames leave in order, beginning again after the last.
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include <sys/socket.h>
#include <sys/uio.h>

#include "bench/wire/frames.h"
#include "bench/wire/unique_fd.h"

namespace limpet::bench {

class FrameSender {
 public:
  static constexpr std::size_t kBurst = 32;

  /// An interface of the calling thread's network namespace. Throws std::system_error.
  FrameSender(const std::string& interface, Frames& frames);
  FrameSender(const FrameSender&) = delete;  // messages_ points into vectors_
  FrameSender& operator=(const FrameSender&) = delete;

  /// Send min(count, kBurst) frames. Returns how many were taken: fewer when the kernel is short of memory for a
  /// moment.
  std::size_t send(std::size_t count);

 private:
  UniqueFd socket_;
  Frames& frames_;
  std::size_t next_ = 0;
  std::array<iovec, kBurst> vectors_{};
  std::array<mmsghdr, kBurst> messages_{};
};

}  // namespace limpet::bench
