#include "lb/queue/buffers.h"

#include <algorithm>

namespace limpet::queue {

Buffers::Buffers(std::uint32_t count)
    : memory_(std::max<std::uint32_t>(count, 1) * kStride),
      vectors_(std::max<std::uint32_t>(count, 1)),
      headers_(vectors_.size()),
      received_(vectors_.size()) {
  for (std::size_t i = 0; i < vectors_.size(); ++i) {
    vectors_[i] = {memory_.data() + i * kStride, kSize};
    headers_[i].msg_hdr = {};
    headers_[i].msg_hdr.msg_iov = &vectors_[i];
    headers_[i].msg_hdr.msg_iovlen = 1;
  }
}

std::span<const std::span<std::byte>> Buffers::receive(int fd, int flags) noexcept {
  const int count = ::recvmmsg(fd, headers_.data(), static_cast<unsigned>(headers_.size()), flags, nullptr);
  if (count <= 0) return {};
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    received_[i] = {static_cast<std::byte*>(vectors_[i].iov_base), headers_[i].msg_len};
  }
  return {received_.data(), static_cast<std::size_t>(count)};
}

}  // namespace limpet::queue
