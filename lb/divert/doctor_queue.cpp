#include "lb/divert/doctor_queue.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace limpet::divert {

namespace {

constexpr std::uint32_t kCopyRange = 0xffff;
constexpr timeval kAnswerLimit{2, 0};

nlmsghdr* start(void* buffer, unsigned type, std::uint16_t queue, unsigned flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_QUEUE << 8 | type);
  message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = AF_UNSPEC;
  header->version = NFNETLINK_V0;
  header->res_id = htons(queue);
  return message;
}

/// Send and wait for the acknowledgement: 0 or an errno.
int transact(int fd, const nlmsghdr* message) {
  if (::send(fd, message, message->nlmsg_len, 0) < 0) return errno;
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  for (;;) {
    const ssize_t length = ::recv(fd, answer.data(), answer.size(), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno;
    const auto* first = reinterpret_cast<const nlmsghdr*>(answer.data());
    if (!mnl_nlmsg_ok(first, static_cast<int>(length)) || first->nlmsg_type != NLMSG_ERROR) continue;
    return -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(first))->error;
  }
}

template <typename T>
std::optional<T> value_of(const nlattr* attribute) {
  T value;
  if (mnl_attr_get_payload_len(attribute) < sizeof value) return std::nullopt;
  std::memcpy(&value, mnl_attr_get_payload(attribute), sizeof value);
  return value;
}

int read_attribute(const nlattr* attribute, void* context) {
  auto& packet = *static_cast<ProbeQueue::Held*>(context);
  switch (mnl_attr_get_type(attribute)) {
    case NFQA_PACKET_HDR:
      if (const auto header = value_of<nfqnl_msg_packet_hdr>(attribute)) {
        packet.id = ntohl(header->packet_id);
        packet.hook = header->hook;
      }
      break;
    case NFQA_MARK:
      packet.mark = ntohl(value_of<std::uint32_t>(attribute).value_or(0));
      break;
    case NFQA_SKB_INFO:
      packet.checksum_ready = !(ntohl(value_of<std::uint32_t>(attribute).value_or(0)) & NFQA_SKB_CSUMNOTREADY);
      break;
    case NFQA_PAYLOAD: {
      const auto* bytes = static_cast<const std::byte*>(mnl_attr_get_payload(attribute));
      packet.bytes.assign(bytes, bytes + mnl_attr_get_payload_len(attribute));
      break;
    }
    default:
      break;
  }
  return MNL_CB_OK;
}

}  // namespace

ProbeQueue::ProbeQueue(std::uint16_t number, std::uint32_t flags)
    : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)), number_(number) {
  if (!socket_.valid()) {
    error_ = errno;
    return;
  }
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit, sizeof kAnswerLimit);
  error_ = bind();
  if (error_ == 0 && flags != 0) error_ = configure(flags);
  if (error_ == 0) error_ = copy_packets();
}

int ProbeQueue::bind() {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* message = start(buffer.data(), NFQNL_MSG_CONFIG, number_, NLM_F_ACK);
  const nfqnl_msg_config_cmd command{.command = NFQNL_CFG_CMD_BIND, ._pad = 0, .pf = htons(AF_UNSPEC)};
  mnl_attr_put(message, NFQA_CFG_CMD, sizeof command, &command);
  return transact(socket_.get(), message);
}

int ProbeQueue::configure(std::uint32_t flags) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* message = start(buffer.data(), NFQNL_MSG_CONFIG, number_, NLM_F_ACK);
  mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
  mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(flags));
  return transact(socket_.get(), message);
}

int ProbeQueue::copy_packets() {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* message = start(buffer.data(), NFQNL_MSG_CONFIG, number_, NLM_F_ACK);
  const nfqnl_msg_config_params params{.copy_range = htonl(kCopyRange), .copy_mode = NFQNL_COPY_PACKET};
  mnl_attr_put(message, NFQA_CFG_PARAMS, sizeof params, &params);
  return transact(socket_.get(), message);
}

std::optional<ProbeQueue::Held> ProbeQueue::next(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  alignas(nlmsghdr) std::array<char, 8192> buffer;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) return std::nullopt;
    const ssize_t length = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    if (length < 0 || !mnl_nlmsg_ok(message, static_cast<int>(length))) continue;
    if (message->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) {
      Held packet;
      mnl_attr_parse(message, sizeof(nfgenmsg), read_attribute, &packet);
      return packet;
    }
  }
}

void ProbeQueue::accept(const Held& packet) {
  std::vector<char> buffer(256 + packet.bytes.size());
  nlmsghdr* message = start(buffer.data(), NFQNL_MSG_VERDICT, number_, 0);
  const nfqnl_msg_verdict_hdr verdict{.verdict = htonl(NF_ACCEPT), .id = htonl(packet.id)};
  mnl_attr_put(message, NFQA_VERDICT_HDR, sizeof verdict, &verdict);
  mnl_attr_put_u32(message, NFQA_MARK, htonl(packet.mark));
  mnl_attr_put(message, NFQA_PAYLOAD, packet.bytes.size(), packet.bytes.data());
  ::send(socket_.get(), message, message->nlmsg_len, 0);
}

Observation probe_bind() {
  const ProbeQueue queue(0, 0);
  if (queue.valid()) return {CheckStatus::found, "a queue can be bound"};
  return {CheckStatus::missing, std::string("binding a queue: ") + std::strerror(queue.error())};
}

Observation probe_queue_flags(std::uint32_t flags) {
  const ProbeQueue plain(1, 0);
  if (!plain.valid()) return {CheckStatus::unknown, "no queue can be bound"};
  const ProbeQueue queue(0, flags);
  if (queue.valid()) return {CheckStatus::found, "accepted"};
  return {CheckStatus::missing, std::string("refused: ") + std::strerror(queue.error())};
}

}  // namespace limpet::divert
