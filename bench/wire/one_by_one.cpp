// one_by_one: the plain NFQUEUE program, as opponent. One packet received, one verdict sent with its payload written
// back, again.
//
// What libnetfilter_queue's own example does, with the settings of limpet's workers (copy range, GSO, queue length,
// socket buffers) so that only the loop differs: two system calls a packet, the payload copied once into a message of
// its own.
#include <array>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <span>
#include <string>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sys/socket.h>

#include "bench/wire/unique_fd.h"

namespace {

using limpet::bench::check;

constexpr std::uint32_t kCopyRange = 0xffff;
constexpr std::uint32_t kQueueLength = 8192;
constexpr int kReceiveBuffer = 32 << 20;
constexpr int kSendBuffer = 4 << 20;
constexpr std::size_t kMessageSize = 0xffff + 4096;  // the longest payload, and the attributes around it

using Buffer = std::array<char, kMessageSize>;
using Socket = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;

void enlarge(int fd, int size, int forced, int unforced) {
  if (::setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) == 0) return;
  check(::setsockopt(fd, SOL_SOCKET, unforced, &size, sizeof size), "socket buffer");  // capped at net.core.*mem_max
}

Socket open_socket() {
  Socket socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) check(-1, "mnl_socket_open");
  check(mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID), "mnl_socket_bind");
  enlarge(mnl_socket_get_fd(socket.get()), kReceiveBuffer, SO_RCVBUFFORCE, SO_RCVBUF);
  enlarge(mnl_socket_get_fd(socket.get()), kSendBuffer, SO_SNDBUFFORCE, SO_SNDBUF);
  const int on = 1;
  check(mnl_socket_setsockopt(socket.get(), NETLINK_NO_ENOBUFS, const_cast<int*>(&on), sizeof on),
        "NETLINK_NO_ENOBUFS");
  return socket;
}

void bind_queue(mnl_socket* socket, std::uint16_t queue, Buffer& buffer) {
  nlmsghdr* message = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_CONFIG, queue);
  message->nlmsg_flags |= NLM_F_ACK;
  nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
  nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, kCopyRange);
  nfq_nlmsg_cfg_put_qmaxlen(message, kQueueLength);
  mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
  mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
  check(mnl_socket_sendto(socket, message, message->nlmsg_len), "queue configuration");
  const auto length = check(mnl_socket_recvfrom(socket, buffer.data(), buffer.size()), "queue configuration");
  check(mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 0, mnl_socket_get_portid(socket), nullptr, nullptr),
        "binding queue " + std::to_string(queue));
}

void answer(mnl_socket* socket, std::uint16_t queue, const nlmsghdr* packet, Buffer& buffer) {
  std::array<nlattr*, NFQA_MAX + 1> attributes{};
  check(nfq_nlmsg_parse(packet, attributes.data()), "packet message");
  if (attributes[NFQA_PACKET_HDR] == nullptr || attributes[NFQA_PAYLOAD] == nullptr) return;
  const auto* header = static_cast<const nfqnl_msg_packet_hdr*>(mnl_attr_get_payload(attributes[NFQA_PACKET_HDR]));
  nlmsghdr* verdict = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_VERDICT, queue);
  nfq_nlmsg_verdict_put(verdict, static_cast<int>(ntohl(header->packet_id)), NF_ACCEPT);
  nfq_nlmsg_verdict_put_pkt(verdict, mnl_attr_get_payload(attributes[NFQA_PAYLOAD]),
                            mnl_attr_get_payload_len(attributes[NFQA_PAYLOAD]));
  check(mnl_socket_sendto(socket, verdict, verdict->nlmsg_len), "verdict");
}

[[noreturn]] void serve(mnl_socket* socket, std::uint16_t queue) {
  const auto received = std::make_unique<Buffer>();
  const auto sent = std::make_unique<Buffer>();
  bind_queue(socket, queue, *received);
  while (true) {
    const auto length = check(mnl_socket_recvfrom(socket, received->data(), received->size()), "receive");
    const auto* message = reinterpret_cast<const nlmsghdr*>(received->data());
    for (int left = static_cast<int>(length); mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) answer(socket, queue, message, *sent);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: one_by_one QUEUE\n";
    return 2;
  }
  try {
    const Socket socket = open_socket();
    serve(socket.get(), static_cast<std::uint16_t>(std::stoul(argv[1])));
  } catch (const std::exception& error) {
    std::cerr << "one_by_one: " << error.what() << '\n';
    return 1;
  }
}
