#include "lb/queue/verdict_sender.h"

#include <cerrno>
#include <cstddef>

#include <sys/socket.h>

#include "lb/queue/message.h"

namespace limpet::queue {

namespace {

constexpr std::size_t kMostVectors = 1024;  // IOV_MAX

}  // namespace

std::uint64_t VerdictSender::flush() noexcept {
  std::uint64_t lost = 0;
  std::span<iovec> rest(pending_);
  while (!rest.empty()) {
    std::size_t count = 1;
    std::size_t bytes = rest[0].iov_len;
    while (count < rest.size() && count < kMostVectors && bytes + rest[count].iov_len <= limit_) {
      bytes += rest[count++].iov_len;
    }
    if (!send(rest.first(count))) lost += send_each(rest.first(count));
    rest = rest.subspan(count);
  }
  pending_.clear();
  return lost;
}

std::uint64_t VerdictSender::send_each(std::span<iovec> vectors) const noexcept {
  std::uint64_t lost = 0;
  for (iovec& vector : vectors) {
    if (send({&vector, 1})) continue;
    ++lost;
    if (vector.iov_len <= kBareVerdict) continue;
    turn_into_drop(static_cast<std::byte*>(vector.iov_base));
    vector.iov_len = kBareVerdict;
    send({&vector, 1});
  }
  return lost;
}

bool VerdictSender::send(std::span<iovec> vectors) const noexcept {
  msghdr header{};
  header.msg_iov = vectors.data();
  header.msg_iovlen = vectors.size();
  for (;;) {
    if (::sendmsg(fd_, &header, 0) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

}  // namespace limpet::queue
