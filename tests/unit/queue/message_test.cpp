// NFQUEUE messages built byte by byte from linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_queue.h.
// Numbers in netlink's own headers are in host order (little-endian here), those inside attributes in network order.
#include "lb/queue/message.h"

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/hex.h"

namespace limpet::queue {
namespace {

static_assert(std::endian::native == std::endian::little, "the tables below are written for little-endian machines");

using Bytes = std::vector<std::byte>;
using Kind = Message::Kind;

Bytes hex(std::string_view text) {
  return test::from_hex(text);
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes little32(std::uint32_t n) {
  Bytes out;
  for (int i = 0; i < 4; ++i, n >>= 8) out.push_back(static_cast<std::byte>(n & 0xff));
  return out;
}

// nlmsghdr without its length: type = NFNL_SUBSYS_QUEUE (3) << 8 | NFQNL_MSG_PACKET (0), flags, sequence, port
const Bytes kHeaderRest = hex("0003 0000 00000000 00000000");
// nfgenmsg: AF_INET, NFNETLINK_V0, queue 7 in network order
const Bytes kGeneric = hex("02 00 0007");
// NFQA_PACKET_HDR (1), 4 + 7 bytes: id 0x01020304, protocol 0x0800, hook 4 (POSTROUTING); one byte of padding
const Bytes kPacketHeader = hex("0b00 0100 01020304 0800 04 00");
// NFQA_MARK (3): 0x00001abc
const Bytes kMark = hex("0800 0300 00001abc");
// NFQA_IFINDEX_INDEV (5): 3; NFQA_IFINDEX_OUTDEV (6): 258
const Bytes kIn = hex("0800 0500 00000003");
const Bytes kOut = hex("0800 0600 00000102");
// NFQA_CAP_LEN (13): 9000
const Bytes kCapLength = hex("0800 0d00 00002328");
// NFQA_SKB_INFO (14): NFQA_SKB_CSUMNOTREADY (1), NFQA_SKB_GSO (2), NFQA_SKB_CSUM_NOTVERIFIED (4)
const Bytes kNotReady = hex("0800 0e00 00000001");
const Bytes kGsoOnly = hex("0800 0e00 00000002");
const Bytes kAllInfo = hex("0800 0e00 00000007");
// An attribute nobody knows (99), 5 bytes and 3 of padding
const Bytes kUnknown = hex("0900 6300 ffffffff ff 000000");
// NFQA_PAYLOAD (10): 6 bytes, "packet"
const Bytes kPayload = hex("0a00 0a00 7061636b6574");

/// A whole message: header, generic header, then `attributes`.
Bytes message_of(const Bytes& attributes) {
  const Bytes body = kHeaderRest + kGeneric + attributes;
  return little32(static_cast<std::uint32_t>(4 + body.size())) + body;
}

/// On the heap and exactly as long as it must be, so that AddressSanitizer sees the first byte read outside.
class Exact {
 public:
  explicit Exact(std::span<const std::byte> bytes) : size_(bytes.size()), bytes_(new std::byte[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), bytes_.get());
  }
  std::span<std::byte> get() { return {bytes_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::byte[]> bytes_;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(ParseMessage, EveryAttributeIsRead) {
  Exact buffer(message_of(kPacketHeader + kMark + kIn + kOut + kCapLength + kNotReady + kUnknown + kPayload));
  const Message message = parse(buffer.get());
  ASSERT_EQ(message.kind, Kind::packet);
  EXPECT_EQ(message.id, 0x01020304u);
  EXPECT_EQ(message.packet.hook, datapath::Hook::postrouting);
  EXPECT_EQ(message.packet.mark, 0x00001abcu);
  EXPECT_EQ(message.packet.in_interface, 3u);
  EXPECT_EQ(message.packet.out_interface, 258u);
  EXPECT_TRUE(message.packet.truncated);
  EXPECT_TRUE(message.packet.checksum_pending);
  EXPECT_EQ(text(message.packet.bytes), "packet");
  EXPECT_EQ(message.packet.bytes.data() + 6, buffer.get().data() + buffer.get().size()) << "in place";
}

TEST(ParseMessage, WhatIsAbsentIsZero) {
  Exact buffer(message_of(kPacketHeader + kOut + kPayload));
  const Message message = parse(buffer.get());
  ASSERT_EQ(message.kind, Kind::packet);
  EXPECT_EQ(message.packet.mark, 0u);
  EXPECT_EQ(message.packet.in_interface, 0u);
  EXPECT_FALSE(message.packet.truncated);
  EXPECT_FALSE(message.packet.checksum_pending);
}

TEST(ParseMessage, HooksByTheirKernelNumber) {  // linux/netfilter.h, enum nf_inet_hooks
  using datapath::Hook;
  const std::vector<std::pair<unsigned, Hook>> hooks{
      {0, Hook::prerouting}, {1, Hook::input}, {2, Hook::forward}, {3, Hook::output}, {4, Hook::postrouting}};
  for (const auto& [number, hook] : hooks) {
    Bytes header = kPacketHeader;
    header[10] = static_cast<std::byte>(number);
    Exact buffer(message_of(header + kOut + kPayload));
    EXPECT_EQ(parse(buffer.get()).packet.hook, hook);
  }
}

TEST(ParseMessage, ChecksumPendingIsOneBitOfSkbInfo) {
  for (const auto& [info, pending] : {std::pair{kNotReady, true}, {kGsoOnly, false}, {kAllInfo, true}}) {
    Exact buffer(message_of(kPacketHeader + info + kPayload));
    EXPECT_EQ(parse(buffer.get()).packet.checksum_pending, pending);
  }
}

TEST(ParseMessage, FlagBitsOfAnAttributesTypeAreNotPartOfIt) {  // NLA_F_NET_BYTEORDER: 0x4000
  Exact buffer(message_of(kPacketHeader + hex("0800 0340 00001abc") + kPayload));
  EXPECT_EQ(parse(buffer.get()).packet.mark, 0x1abcu);
}

TEST(ParseMessage, ALocalOutputPacketLeavesExactly44Bytes) {
  // 16 nlmsghdr + 4 nfgenmsg + 12 PACKET_HDR + 8 IFINDEX_OUTDEV + 4 of PAYLOAD
  Exact buffer(message_of(kPacketHeader + kOut + kPayload));
  const Message message = parse(buffer.get());
  ASSERT_EQ(message.kind, Kind::packet);
  EXPECT_EQ(message.packet.bytes.data() - buffer.get().data(), 44);

  Exact less(message_of(kPacketHeader + kPayload));
  EXPECT_EQ(parse(less.get()).kind, Kind::invalid) << "36 bytes: no room for a verdict with a mark";
}

TEST(ParseMessage, NotAPacket) {
  struct Row {
    std::string name;
    Bytes bytes;
  };
  const Bytes good = message_of(kPacketHeader + kOut + kPayload);
  Bytes other_type = good, other_subsystem = good;
  other_type[4] = std::byte{3};       // NFQNL_MSG_CONFIG + 1
  other_subsystem[5] = std::byte{1};  // NFNL_SUBSYS_CTNETLINK
  for (const Row& row : std::vector<Row>{
           {"another message of the queue", other_type},
           {"another subsystem", other_subsystem},
           {"no packet header", message_of(kMark + kOut + kIn + kPayload)},
           {"a packet header that is too short", message_of(hex("0a00 0100 01020304 0800 0000") + kOut + kPayload)},
           {"no payload", message_of(kPacketHeader + kOut + kMark)},
           {"an empty payload", message_of(kPacketHeader + kOut + kMark + hex("0400 0a00"))},
           {"no attributes", message_of({})},
           {"an attribute of length 0", message_of(kPacketHeader + hex("0000 0300 00000000") + kOut + kPayload)},
           {"an attribute of length 3", message_of(kPacketHeader + hex("0300 0300 00000000") + kOut + kPayload)},
           {"a payload one byte longer than the message",
            message_of(kPacketHeader + kOut + hex("0b00 0a00 7061636b6574"))},
           {"a payload of 65535 bytes that is not there",
            message_of(kPacketHeader + kOut + hex("ffff 0a00 7061636b6574"))},
       }) {
    Exact buffer(row.bytes);
    EXPECT_EQ(parse(buffer.get()).kind, Kind::invalid) << row.name;
  }
}

TEST(ParseMessage, ShortAttributesCountAsZero) {
  Exact buffer(message_of(kPacketHeader + hex("0600 0300 ffff 0000") + hex("0400 0600") + kOut + kPayload));
  const Message message = parse(buffer.get());
  ASSERT_EQ(message.kind, Kind::packet);
  EXPECT_EQ(message.packet.mark, 0u);
}

TEST(ParseMessage, TheStatedLengthRules) {
  const Bytes good = message_of(kPacketHeader + kMark + kOut + kPayload);
  const auto size = static_cast<std::uint32_t>(good.size());
  for (const std::uint32_t lie : {0u, 15u, 16u, 19u, 20u, size - 1, size + 1, 0x7fffffffu, 0xffffffffu}) {
    Bytes bytes = good;
    const Bytes length = little32(lie);
    std::copy(length.begin(), length.end(), bytes.begin());
    Exact buffer(bytes);
    EXPECT_EQ(parse(buffer.get()).kind, Kind::invalid) << lie;
  }
  Exact padded(good + hex("0000"));  // recvmsg may hand over the padding
  EXPECT_EQ(text(parse(padded.get()).packet.bytes), "packet");
}

TEST(ParseMessage, EveryTruncationIsInvalid) {
  const Bytes good = message_of(kPacketHeader + kMark + kIn + kOut + kNotReady + kPayload);
  for (std::size_t size = 0; size < good.size(); ++size) {
    SCOPED_TRACE(size);
    Bytes bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    Exact as_received(bytes);
    EXPECT_EQ(parse(as_received.get()).kind, Kind::invalid);
    if (size < 4) continue;
    const Bytes length = little32(static_cast<std::uint32_t>(size));  // and the header tells the truth about it
    std::copy(length.begin(), length.end(), bytes.begin());
    Exact consistent(bytes);
    EXPECT_EQ(parse(consistent.get()).kind, Kind::invalid);
  }
}

TEST(ParseMessage, AnyByteChangedStaysInside) {
  const Bytes good = message_of(kPacketHeader + kMark + kIn + kOut + kNotReady + kPayload);
  unsigned packets = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes bytes = good;
      bytes[at] = static_cast<std::byte>(value);
      Exact buffer(bytes);
      const Message message = parse(buffer.get());
      if (message.kind != Kind::packet) continue;
      ++packets;
      const std::byte* const start = buffer.get().data();
      ASSERT_GE(message.packet.bytes.data(), start + kVerdictRoom);
      ASSERT_LE(message.packet.bytes.data() + message.packet.bytes.size(), start + bytes.size());
      ASSERT_FALSE(message.packet.bytes.empty());
    }
  }
  EXPECT_GT(packets, 256u);
}

TEST(ParseMessage, AnErrorIsErrnoOfTheRefusedVerdict) {
  struct Row {
    std::string name;
    std::string bytes;  // of the error number, little-endian
    int error;
  };
  // NLMSG_ERROR (2), 16 + 4 + 16: the number, then the header of the request that is refused
  for (const Row& row : std::vector<Row>{{"ENOENT: no such packet", "feffffff", 2},
                                         {"EPERM: not the owner", "ffffffff", 1},
                                         {"an acknowledgement", "00000000", 0}}) {
    const Bytes rest =
        hex("0200 0000 00000000 00000000") + hex(row.bytes) + hex("20000000 0103 0100 00000000 00000000");
    Exact buffer(little32(36) + rest);
    const Message message = parse(buffer.get());
    EXPECT_EQ(message.kind, Kind::error) << row.name;
    EXPECT_EQ(message.error, row.error) << row.name;
  }
  Exact cut(little32(19) + hex("0200 0000 00000000 00000000 feffff"));
  EXPECT_EQ(parse(cut.get()).kind, Kind::invalid) << "the number is not all there";
}

// ---- verdicts

/// A received message with what the sender may touch: Buffers leaves room for the padding after the packet.
struct Received {
  explicit Received(const Bytes& payload)
      : bytes(message_of(kPacketHeader + kOut + attribute(payload)) + Bytes(4, std::byte{0xee})),
        message(parse(std::span(bytes).first(bytes.size() - 4))) {}
  static Bytes attribute(const Bytes& payload) {
    const std::size_t n = payload.size() + 4;
    return Bytes{static_cast<std::byte>(n & 0xff), static_cast<std::byte>(n >> 8), std::byte{0x0a}, std::byte{0}} +
           payload;
  }
  Bytes bytes;
  Message message;
};

struct VerdictRow {
  std::string name;
  datapath::Verdict verdict;
  std::string expected;  // up to the packet
  bool with_packet;
};

// nlmsghdr: length, type 3 << 8 | NFQNL_MSG_VERDICT (1), NLM_F_REQUEST (1), sequence 0, port 0
// nfgenmsg: AF_UNSPEC, version 0, queue 0x1234
// NFQA_VERDICT_HDR (2), 12 bytes: verdict (NF_DROP 0, NF_ACCEPT 1), id
// [NFQA_MARK (3), 8 bytes] [NFQA_PAYLOAD (10), 4 + packet]
const std::vector<VerdictRow> kVerdicts{
    {"accept", {}, "20000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000001 01020304", false},
    {"drop", {.accept = false}, "20000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000000 01020304", false},
    {"accept with mark",
     {.set_mark = true, .mark = 0x1abc},
     "28000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000001 01020304 0800 0300 00001abc",
     false},
    {"mark zero is a mark",
     {.set_mark = true},
     "28000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000001 01020304 0800 0300 00000000",
     false},
    {"rewritten",  // 36 + 8 = 0x2c
     {.rewritten = true},
     "2c000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000001 01020304 0c00 0a00",
     true},
    {"rewritten, with mark",  // 44 + 8 = 0x34
     {.rewritten = true, .set_mark = true, .mark = 0xdeadbeef},
     "34000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000001 01020304 0800 0300 deadbeef 0c00 0a00",
     true},
    {"a drop carries no packet, whatever became of it",
     {.accept = false, .rewritten = true},
     "20000000 0103 0100 00000000 00000000 00 00 1234 0c00 0200 00000000 01020304",
     false},
};

TEST(BuildVerdict, BytesByHand) {
  const Bytes packet = hex("45000008 0a0b0c0d");
  for (const VerdictRow& row : kVerdicts) {
    SCOPED_TRACE(row.name);
    Received received(packet);
    ASSERT_EQ(received.message.kind, Kind::packet);
    const auto verdict = build_verdict(received.message, row.verdict, 0x1234);
    const Bytes expected = hex(row.expected) + (row.with_packet ? packet : Bytes{});
    EXPECT_EQ(Bytes(verdict.begin(), verdict.end()), expected);
    EXPECT_GE(verdict.data(), received.bytes.data()) << "in the receive buffer";
    EXPECT_LE(verdict.data() + verdict.size(), received.bytes.data() + received.bytes.size());
    EXPECT_EQ(text(received.message.packet.bytes), text(packet)) << "the packet itself is untouched";
  }
}

TEST(BuildVerdict, TheLongestHeaderFillsTheRoomAtLocalOutput) {
  Received received(hex("45000008 0a0b0c0d"));
  const auto verdict = build_verdict(received.message, {.rewritten = true, .set_mark = true}, 1);
  EXPECT_EQ(verdict.data(), received.bytes.data()) << "44 bytes, the first of them the buffer's first";
}

TEST(BuildVerdict, PaddedToFourBytesWhileTheLengthsAreExact) {
  for (std::size_t size = 1; size <= 9; ++size) {
    SCOPED_TRACE(size);
    Received received(Bytes(size, std::byte{0x45}));
    const auto verdict = build_verdict(received.message, {.rewritten = true}, 1);
    EXPECT_EQ(verdict.size(), 36 + (size + 3) / 4 * 4);
    EXPECT_EQ(std::to_integer<std::size_t>(verdict[0]), 36 + size) << "nlmsg_len";
    EXPECT_EQ(std::to_integer<std::size_t>(verdict[32]), 4 + size) << "nla_len of the payload";
  }
}

TEST(BuildVerdict, TheLargestPacket) {  // the kernel copies at most 0xffff - 4 bytes: nla_len has 16 bits
  constexpr std::size_t kLargest = 65531;
  Received received(Bytes(kLargest, std::byte{0x45}));
  ASSERT_EQ(received.message.kind, Kind::packet);
  const auto verdict = build_verdict(received.message, {.rewritten = true, .set_mark = true}, 1);
  EXPECT_EQ(verdict.size(), 44u + 65532u);
  EXPECT_EQ(Bytes(verdict.begin(), verdict.begin() + 4), little32(44 + 65531));
  EXPECT_EQ(Bytes(verdict.begin() + 40, verdict.begin() + 44), hex("ffff 0a00"));
}

}  // namespace
}  // namespace limpet::queue
