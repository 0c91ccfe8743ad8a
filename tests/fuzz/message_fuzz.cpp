// message_fuzz.cpp: hostile datagrams through queue::parse; every verdict on what it takes for a packet.
//
// libmnl, which shares no code with message.cpp, says whether the verdict is a netlink message at all.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "lb/queue/message.h"
#include "tests/fuzz/require.h"

namespace {

using namespace limpet;
using fuzz::require;
using Bytes = std::vector<std::byte>;

bool inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

/// A receive buffer that holds the datagram: longer by what aligns it, as every real one is.
Bytes receive_buffer(std::span<const std::byte> datagram) {
  Bytes buffer(NLMSG_ALIGN(datagram.size()));
  std::copy(datagram.begin(), datagram.end(), buffer.begin());
  return buffer;
}

/// One message as long as it says, its attributes end to end.
void check_form(std::span<const std::byte> sent) {
  alignas(nlmsghdr) static std::byte aligned[1 << 17];
  require(sent.size() <= sizeof aligned, "a verdict is no longer than a message can be");
  std::memcpy(aligned, sent.data(), sent.size());
  const auto* const header = reinterpret_cast<const nlmsghdr*>(aligned);
  require(mnl_nlmsg_ok(header, static_cast<int>(sent.size())), "the verdict is a netlink message");
  require(NLMSG_ALIGN(header->nlmsg_len) == sent.size(), "one message, aligned");
  const auto* const end = static_cast<const std::byte*>(mnl_nlmsg_get_payload_tail(header));
  const auto left = [&](const nlattr* at) { return static_cast<int>(end - reinterpret_cast<const std::byte*>(at)); };
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, sizeof(nfgenmsg)));
  while (mnl_attr_ok(attribute, left(attribute))) attribute = mnl_attr_next(attribute);
  require(left(attribute) == 0, "attributes end where the message ends");
}

void check_verdict(std::span<const std::byte> datagram, const datapath::Verdict& verdict) {
  Bytes buffer = receive_buffer(datagram);
  const queue::Message message = queue::parse(std::span(buffer).first(datagram.size()));
  const Bytes packet(message.packet.bytes.begin(), message.packet.bytes.end());
  const auto sent = queue::build_verdict(message, verdict, 7);
  require(inside(sent, buffer), "the verdict lies in the receive buffer");
  check_form(sent);
  require(std::equal(packet.begin(), packet.end(), message.packet.bytes.begin()), "the packet is left alone");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  Bytes bytes(input.begin(), input.end());
  const queue::Message message = queue::parse(bytes);
  if (message.kind == queue::Message::Kind::error) require(message.error >= 0, "an errno is positive");
  if (message.kind != queue::Message::Kind::packet) return 0;
  require(!message.packet.bytes.empty() && inside(message.packet.bytes, bytes), "the packet lies in the datagram");
  for (const bool accept : {false, true}) {
    for (const bool rewritten : {false, true}) {
      for (const bool set_mark : {false, true}) {
        check_verdict(input, {.accept = accept, .rewritten = rewritten, .set_mark = set_mark, .mark = 0x1000});
      }
    }
  }
  return 0;
}
