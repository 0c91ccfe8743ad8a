#include "tests/wire/divert_translator.h"

#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <poll.h>

#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"

namespace limpet::test {

namespace {

constexpr std::uint16_t kQueue = 0;
constexpr std::array<const char*, 5> kHookNames{"prerouting", "input", "forward", "output", "postrouting"};
using Buffer = std::array<char, 0x20000>;

bool rewrites_destination(unsigned hook) {
  return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_OUT;
}

}  // namespace

Translator::Translator(net::AddressPort vip, net::AddressPort endpoint)
    : vip_(std::move(vip)), endpoint_(std::move(endpoint)), socket_(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC)) {
  configure();
  thread_ = std::thread([this] { loop(); });
}

Translator::~Translator() {
  stopping_ = true;
  thread_.join();
  mnl_socket_close(socket_);
}

std::string Translator::hooks() const {
  const std::lock_guard lock(mutex_);
  return hooks_;
}

void Translator::configure() {
  ASSERT_NE(socket_, nullptr);
  ASSERT_EQ(mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID), 0);
  Buffer buffer;
  nlmsghdr* header = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_CONFIG, kQueue);
  nfq_nlmsg_cfg_put_cmd(header, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
  nfq_nlmsg_cfg_put_params(header, NFQNL_COPY_PACKET, 0xffff);
  ASSERT_GT(mnl_socket_sendto(socket_, header, header->nlmsg_len), 0);
}

void Translator::loop() {
  const mnl_cb_t callback = [](const nlmsghdr* message, void* self) -> int {
    static_cast<Translator*>(self)->answer(message);
    return MNL_CB_OK;
  };
  auto buffer = std::make_unique<Buffer>();
  while (!stopping_) {
    pollfd entry{.fd = mnl_socket_get_fd(socket_), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 20) <= 0) continue;
    const ssize_t received = mnl_socket_recvfrom(socket_, buffer->data(), buffer->size());
    if (received > 0) {
      mnl_cb_run(buffer->data(), static_cast<std::size_t>(received), 0, mnl_socket_get_portid(socket_), callback, this);
    }
  }
}

void Translator::answer(const nlmsghdr* message) {
  std::array<nlattr*, NFQA_MAX + 1> attributes{};
  if (nfq_nlmsg_parse(message, attributes.data()) < 0 || attributes[NFQA_PACKET_HDR] == nullptr) return;
  nfqnl_msg_packet_hdr packet;
  std::memcpy(&packet, mnl_attr_get_payload(attributes[NFQA_PACKET_HDR]), sizeof packet);
  auto* payload = static_cast<std::byte*>(mnl_attr_get_payload(attributes[NFQA_PAYLOAD]));
  const std::span bytes(payload, mnl_attr_get_payload_len(attributes[NFQA_PAYLOAD]));

  net::PacketView view;
  if (net::parse(bytes, view) == net::ParseError::none) {
    net::Rewrite to{view.tuple.source, view.tuple.destination};
    if (rewrites_destination(packet.hook) && to.destination == vip_) to.destination = endpoint_;
    if (!rewrites_destination(packet.hook) && to.source == endpoint_) to.source = vip_;
    net::rewrite(view, to, net::ChecksumMode::incremental);
  }
  {
    const std::lock_guard lock(mutex_);
    hooks_ += std::string(kHookNames.at(packet.hook)) + " ";
  }
  auto buffer = std::make_unique<Buffer>();
  nlmsghdr* header = nfq_nlmsg_put(buffer->data(), NFQNL_MSG_VERDICT, kQueue);
  nfq_nlmsg_verdict_put(header, static_cast<int>(ntohl(packet.packet_id)), NF_ACCEPT);
  nfq_nlmsg_verdict_put_pkt(header, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  mnl_socket_sendto(socket_, header, header->nlmsg_len);
}

}  // namespace limpet::test
