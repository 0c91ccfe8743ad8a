#include "lb/queue/message.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>

namespace limpet::queue {

namespace {

constexpr std::uint16_t kPacketType = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET;
constexpr std::uint16_t kVerdictType = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT;

template <typename T>
T load(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

std::uint32_t load_be32(std::span<const std::byte> value) noexcept {
  return value.size() >= 4 ? ntohl(load<std::uint32_t>(value.data())) : 0;
}

void take_attribute(std::uint16_t type, std::span<std::byte> value, Message& message) noexcept {
  datapath::Packet& packet = message.packet;
  switch (type) {
    case NFQA_PACKET_HDR:
      if (value.size() < sizeof(nfqnl_msg_packet_hdr)) return;
      message.id = load_be32(value);
      packet.hook = static_cast<datapath::Hook>(value[offsetof(nfqnl_msg_packet_hdr, hook)]);
      message.kind = Message::Kind::packet;
      break;
    case NFQA_MARK:
      packet.mark = load_be32(value);
      break;
    case NFQA_IFINDEX_INDEV:
      packet.in_interface = load_be32(value);
      break;
    case NFQA_IFINDEX_OUTDEV:
      packet.out_interface = load_be32(value);
      break;
    case NFQA_SKB_INFO:
      packet.checksum_pending = (load_be32(value) & NFQA_SKB_CSUMNOTREADY) != 0;
      packet.segmented_later = (load_be32(value) & NFQA_SKB_GSO) != 0;
      break;
    case NFQA_CAP_LEN:
      packet.truncated = true;
      break;
    case NFQA_PAYLOAD:
      packet.bytes = value;
      break;
    default:
      break;
  }
}

/// Appends netlink headers to a place that is known to be large enough.
class Writer {
 public:
  explicit Writer(std::byte* at) noexcept : at_(at) {}
  template <typename T>
  void put(const T& value) noexcept {
    std::memcpy(at_, &value, sizeof value);
    at_ += sizeof value;
  }
  void attribute(std::uint16_t type, std::size_t length) noexcept {
    put(nlattr{static_cast<std::uint16_t>(sizeof(nlattr) + length), type});
  }

 private:
  std::byte* at_;
};

}  // namespace

Message parse(std::span<std::byte> buffer) noexcept {
  Message message;
  if (buffer.size() < sizeof(nlmsghdr)) return message;
  const auto header = load<nlmsghdr>(buffer.data());
  if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > buffer.size()) return message;
  if (header.nlmsg_type == NLMSG_ERROR && header.nlmsg_len >= sizeof(nlmsghdr) + sizeof(int)) {
    message.kind = Message::Kind::error;
    message.error = std::abs(std::max(load<int>(buffer.data() + sizeof(nlmsghdr)), -INT_MAX));
    return message;
  }
  if (header.nlmsg_type != kPacketType) return message;
  std::size_t offset = sizeof(nlmsghdr) + sizeof(nfgenmsg);
  while (offset + sizeof(nlattr) <= header.nlmsg_len) {
    const auto attribute = load<nlattr>(buffer.data() + offset);
    if (attribute.nla_len < sizeof(nlattr) || attribute.nla_len > header.nlmsg_len - offset) break;
    take_attribute(attribute.nla_type & NLA_TYPE_MASK,
                   buffer.subspan(offset + sizeof(nlattr), attribute.nla_len - sizeof(nlattr)), message);
    offset += NLA_ALIGN(attribute.nla_len);
  }
  const std::ptrdiff_t room = message.packet.bytes.data() - buffer.data();
  if (message.packet.bytes.empty() || room < static_cast<std::ptrdiff_t>(kVerdictRoom))
    message.kind = Message::Kind::invalid;
  return message;
}

std::span<const std::byte> build_verdict(const Message& message, const datapath::Verdict& verdict,
                                         std::uint16_t queue) noexcept {
  const bool payload = verdict.accept && verdict.rewritten;
  const std::size_t header = kVerdictRoom - (verdict.set_mark ? 0 : 8) - (payload ? 0 : sizeof(nlattr));
  const std::size_t length = header + (payload ? message.packet.bytes.size() : 0);
  std::byte* const start = message.packet.bytes.data() - header;
  Writer writer(start);
  writer.put(nlmsghdr{static_cast<std::uint32_t>(length), kVerdictType, NLM_F_REQUEST, 0, 0});
  writer.put(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, htons(queue)});
  writer.attribute(NFQA_VERDICT_HDR, sizeof(nfqnl_msg_verdict_hdr));
  writer.put(nfqnl_msg_verdict_hdr{htonl(verdict.accept ? NF_ACCEPT : NF_DROP), htonl(message.id)});
  if (verdict.set_mark) {
    writer.attribute(NFQA_MARK, sizeof(std::uint32_t));
    writer.put(htonl(verdict.mark));
  }
  if (payload) writer.attribute(NFQA_PAYLOAD, message.packet.bytes.size());
  return {start, NLMSG_ALIGN(length)};
}

void turn_into_drop(std::byte* verdict) noexcept {
  constexpr std::size_t kHeader = sizeof(nlmsghdr) + sizeof(nfgenmsg) + sizeof(nlattr);
  auto message = load<nlmsghdr>(verdict);
  message.nlmsg_len = kBareVerdict;
  std::memcpy(verdict, &message, sizeof message);
  auto header = load<nfqnl_msg_verdict_hdr>(verdict + kHeader);
  header.verdict = htonl(NF_DROP);
  std::memcpy(verdict + kHeader, &header, sizeof header);
}

}  // namespace limpet::queue
