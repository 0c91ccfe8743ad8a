#include "lb/queue/queue_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace limpet::queue {

using store::Error;
using store::ErrorKind;

namespace {

constexpr std::uint32_t kCopyRange = 0xffff;
constexpr std::size_t kMostPerSend = std::size_t{256} << 10;
/// How long a worker sleeps in the kernel at most before it looks whether it should stop.
constexpr timeval kReceiveTimeout{0, 100'000};

/// Send one request and wait for its acknowledgement. 0 or an errno.
int transact(int fd, nlmsghdr* request) {
  request->nlmsg_flags |= NLM_F_ACK;
  if (::send(fd, request, request->nlmsg_len, 0) < 0) return errno;
  std::array<char, 8192> answer{};
  for (;;) {
    const ssize_t length = ::recv(fd, answer.data(), answer.size(), 0);
    if (length < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    int left = static_cast<int>(length);
    for (auto* at = reinterpret_cast<nlmsghdr*>(answer.data()); mnl_nlmsg_ok(at, left);
         at = mnl_nlmsg_next(at, &left)) {
      if (at->nlmsg_type == NLMSG_ERROR) return -static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(at))->error;
    }
  }
}

/// Two messages. The first is acknowledged; until the second one the kernel drops what arrives, so no packet can
/// overtake the acknowledgement and be lost in the wait for it.
int bind_queue(int fd, const QueueOptions& options) {
  alignas(nlmsghdr) std::array<char, 512> buffer{};
  nlmsghdr* request = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_CONFIG, options.number);
  nfq_nlmsg_cfg_put_cmd(request, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
  nfq_nlmsg_cfg_put_qmaxlen(request, options.max_length);
  mnl_attr_put_u32(request, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
  mnl_attr_put_u32(request, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
  if (const int error = transact(fd, request); error != 0) return error;
  request = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_CONFIG, options.number);
  nfq_nlmsg_cfg_put_params(request, NFQNL_COPY_PACKET, static_cast<int>(kCopyRange));
  return ::send(fd, request, request->nlmsg_len, 0) < 0 ? errno : 0;
}

std::optional<KernelQueueStats> owner_of(std::uint16_t number) {
  for (const KernelQueueStats& stats : kernel_queue_stats()) {
    if (stats.number == number) return stats;
  }
  return std::nullopt;
}

Error explain_bind_error(int error, std::uint16_t number) {
  const std::string queue = "queue " + std::to_string(number);
  if (error == EPERM || error == EBUSY) {
    if (const auto owner = owner_of(number)) {
      return {ErrorKind::unavailable, queue + " is taken by another process (netlink port " +
                                          std::to_string(owner->owner) +
                                          "): stop that one, or choose other numbers with queues.first"};
    }
    return {ErrorKind::permission, queue +
                                       ": binding needs CAP_NET_ADMIN in this network namespace: run as root, or in "
                                       "a namespace of your own (unshare -Urn)"};
  }
  return {ErrorKind::unavailable, queue + ": the kernel refuses it (" + std::strerror(error) +
                                      "): is NFQUEUE there (CONFIG_NETFILTER_NETLINK_QUEUE)?"};
}

int option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value);
}

/// Returns the size in force, as the kernel counts it.
std::size_t size_buffer(int fd, int force_name, int name, std::size_t bytes) {
  const int wanted = static_cast<int>(std::min<std::size_t>(bytes, 1u << 30));
  if (option(fd, SOL_SOCKET, force_name, wanted) != 0) option(fd, SOL_SOCKET, name, wanted);
  int actual = 0;
  socklen_t length = sizeof actual;
  ::getsockopt(fd, SOL_SOCKET, name, &actual, &length);
  return static_cast<std::size_t>(std::max(actual, 0));
}

}  // namespace

store::Result<QueueSocket> QueueSocket::open(const QueueOptions& options) {
  QueueSocket queue(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), options.number);
  if (queue.fd_ < 0) {
    return Error{ErrorKind::unavailable, std::string("netfilter netlink socket: ") + std::strerror(errno) +
                                             ": does this kernel have CONFIG_NETFILTER_NETLINK?"};
  }
  // Before the queue opens: with rules in place already, a burst is waiting.
  queue.size_buffers(options);
  option(queue.fd_, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
  option(queue.fd_, SOL_NETLINK, NETLINK_CAP_ACK, 1);  // a refused verdict comes back without its payload
  const auto give_up = std::chrono::steady_clock::now() + options.bind_patience;
  int error = bind_queue(queue.fd_, options);
  while ((error == EPERM || error == EBUSY) && std::chrono::steady_clock::now() < give_up && owner_of(options.number)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    error = bind_queue(queue.fd_, options);
  }
  if (error != 0) return explain_bind_error(error, options.number);
  ::setsockopt(queue.fd_, SOL_SOCKET, SO_RCVTIMEO, &kReceiveTimeout, sizeof kReceiveTimeout);
  return queue;
}

void QueueSocket::size_buffers(const QueueOptions& options) {
  const std::size_t receive = size_buffer(fd_, SO_RCVBUFFORCE, SO_RCVBUF, options.receive_buffer);
  const std::size_t send = size_buffer(fd_, SO_SNDBUFFORCE, SO_SNDBUF, options.send_buffer);
  const auto warn = [&](const char* what, std::size_t got, std::size_t wanted, const char* remedy) {
    if (got >= wanted) return;
    warnings_.push_back("queue " + std::to_string(number_) + ": " + what + " buffer of " + std::to_string(got >> 10) +
                        " KiB instead of " + std::to_string(wanted >> 10) + " KiB: " + remedy +
                        ", or run with CAP_NET_ADMIN of the machine");
  };
  warn("receive", receive, options.receive_buffer, "bursts may overrun it; raise net.core.rmem_max");
  warn("send", send, kMostPerSend, "verdicts leave in smaller batches; raise net.core.wmem_max");
  send_limit_ = std::min(kMostPerSend, send - std::min<std::size_t>(send, 64));  // netlink keeps 32 bytes for itself
}

QueueSocket::QueueSocket(QueueSocket&& other) noexcept {
  *this = std::move(other);
}

QueueSocket& QueueSocket::operator=(QueueSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  number_ = other.number_;
  send_limit_ = other.send_limit_;
  warnings_ = std::move(other.warnings_);
  return *this;
}

QueueSocket::~QueueSocket() {
  if (fd_ >= 0) ::close(fd_);
}

std::vector<KernelQueueStats> kernel_queue_stats() {
  std::vector<KernelQueueStats> all;
  std::ifstream file("/proc/net/netfilter/nfnetlink_queue");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    KernelQueueStats stats;
    std::uint64_t copy_mode = 0;
    std::uint64_t copy_range = 0;
    fields >> stats.number >> stats.owner >> stats.waiting >> copy_mode >> copy_range >> stats.dropped_full >>
        stats.dropped_overrun >> stats.sequence;
    if (fields) all.push_back(stats);
  }
  return all;
}

}  // namespace limpet::queue
