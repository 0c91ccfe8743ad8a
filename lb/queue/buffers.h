// buffers.h: where a batch of messages is received: one buffer each, allocated once.
//
// A buffer holds the largest message (65,531 bytes of packet and its attributes). Its stride is a whole number of pages
// and five cache lines: the headers of neighbouring buffers lie in different sets of the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#include "conntrack/store/zeroed_memory.h"

namespace limpet::queue {

class Buffers {
 public:
  static constexpr std::size_t kSize = 17 * 4096;
  static constexpr std::size_t kStride = kSize + 5 * 64;

  explicit Buffers(std::uint32_t count);

  /// What is there: at least one message unless `flags` say not to wait or the socket's time-out passes. Valid until
  /// the next call.
  std::span<const std::span<std::byte>> receive(int fd, int flags) noexcept;

 private:
  store::ZeroedMemory memory_;
  std::vector<iovec> vectors_;
  std::vector<mmsghdr> headers_;
  std::vector<std::span<std::byte>> received_;
};

}  // namespace limpet::queue
