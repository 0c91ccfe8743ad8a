#include "bench/wire/frame_sender.h"

#include <algorithm>
#include <cerrno>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>

namespace limpet::bench {

FrameSender::FrameSender(const std::string& interface, Frames& frames)
    // Protocol 0: receive nothing, or every arriving frame would be offered to this socket.
    : socket_(check(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), "socket(AF_PACKET)")), frames_(frames) {
  const int on = 1;
  check(::setsockopt(socket_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on), "PACKET_QDISC_BYPASS");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  check(address.sll_ifindex == 0 ? -1 : 0, interface);
  check(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), interface);
  for (std::size_t i = 0; i < kBurst; ++i) {
    messages_[i].msg_hdr.msg_iov = &vectors_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

std::size_t FrameSender::send(std::size_t count) {
  count = std::min(count, kBurst);
  for (std::size_t i = 0; i < count; ++i) {
    const auto frame = frames_[(next_ + i) % frames_.size()];
    vectors_[i] = {frame.data(), frame.size()};
  }
  const int taken = ::sendmmsg(socket_.get(), messages_.data(), static_cast<unsigned>(count), 0);
  if (taken < 0 && (errno == ENOBUFS || errno == EAGAIN || errno == EINTR)) return 0;
  check(taken, "sendmmsg");
  next_ = (next_ + static_cast<std::size_t>(taken)) % frames_.size();
  return static_cast<std::size_t>(taken);
}

}  // namespace limpet::bench
