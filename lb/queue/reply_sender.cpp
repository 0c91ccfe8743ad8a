#include "lb/queue/reply_sender.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conntrack/net/wire.h"

namespace limpet::queue {

ReplySender::ReplySender(const ReplyOptions& options)
    : mark_(options.mark), limit_(options.per_second, options.burst), v4_(open(AF_INET)), v6_(open(AF_INET6)) {}

ReplySender::~ReplySender() {
  if (v4_ >= 0) ::close(v4_);
  if (v6_ >= 0) ::close(v6_);
}

int ReplySender::open(int family) {
  const bool v4 = family == AF_INET;
  const int on = 1;
  const int fd = ::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
  const bool ready =
      fd >= 0 &&
      ::setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_HDRINCL : IPV6_HDRINCL, &on, sizeof on) == 0 &&
      ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark_, sizeof mark_) == 0;
  if (ready) return fd;
  if (errno != EAFNOSUPPORT) {
    warnings_.push_back(
        std::string("no raw ") + (v4 ? "IPv4" : "IPv6") + " socket (" + std::strerror(errno) +
        "): clients of a service without endpoints see a timeout instead of a refusal, and echo requests "
        "stay unanswered; CAP_NET_RAW and CAP_NET_ADMIN are needed");
  }
  if (fd >= 0) ::close(fd);
  return -1;
}

void ReplySender::answer(net::ReplyKind kind, const datapath::Packet& request, flow::Instant now) noexcept {
  if (!limit_.allow(now)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  std::array<std::byte, net::kMaxReply> room;
  const std::span<const std::byte> answer = net::build_reply(kind, request.bytes, room, request.checksum());
  if (answer.empty()) return;
  const std::uint32_t interface = request.in_interface != 0 ? request.in_interface : request.out_interface;
  (send(answer, interface) ? sent_ : failed_).fetch_add(1, std::memory_order_relaxed);
}

bool ReplySender::send(std::span<const std::byte> answer, std::uint32_t interface) const noexcept {
  constexpr std::size_t kIpv4Destination = 16, kIpv6Destination = 24;
  if (net::load8(answer.data()) >> 4 == 4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, &answer[kIpv4Destination], sizeof to.sin_addr);
    return ::sendto(v4_, answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) >= 0;
  }
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  std::memcpy(&to.sin6_addr, &answer[kIpv6Destination], sizeof to.sin6_addr);
  if (IN6_IS_ADDR_LINKLOCAL(&to.sin6_addr)) to.sin6_scope_id = interface;
  return ::sendto(v6_, answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) >= 0;
}

ReplyCounts ReplySender::counts() const noexcept {
  return {sent_.load(std::memory_order_relaxed), suppressed_.load(std::memory_order_relaxed),
          failed_.load(std::memory_order_relaxed)};
}

}  // namespace limpet::queue
