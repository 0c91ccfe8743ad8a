// message.h: the two messages of the hot loop, read and written in place (linux/netfilter/nfnetlink_queue.h).
//
//   kernel → us   nlmsghdr │ nfgenmsg │ PACKET_HDR │ [IFINDEX_*] [MARK] [SKB_INFO] … │ PAYLOAD │ packet
//                    16         4          12                                             4
//   us → kernel                      nlmsghdr │ nfgenmsg │ VERDICT_HDR │ [MARK] │ [PAYLOAD] │ the same packet
//                                       16         4           12          8         4
//                                    └────── 32 to 44 bytes, built just before it ──────┘
//
// So a packet that goes back changed is never copied in userspace: the verdict is sent from the receive
// buffer. There are at least 44 bytes before the packet at every hook (16 + 4 + 12 + one IFINDEX of 8 + 4
// at local OUTPUT); a message that had less is refused by parse(). The kernel's other attributes are
// overwritten: parse first.
//
// Byte order: netlink headers and attribute headers are in host order, what attributes carry in network
// order. Pure functions of the buffer; they allocate nothing and never throw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lb/datapath/pipeline.h"

namespace limpet::queue {

/// One message from the kernel, parsed.
struct Message {
  enum class Kind : std::uint8_t {
    packet,
    error,    // the kernel refuses a verdict; `error` says why
    invalid,  // neither: not understood, ignored
  };
  Kind kind = Kind::invalid;
  int error = 0;            // errno, positive
  std::uint32_t id = 0;     // names the packet in the verdict
  datapath::Packet packet;  // bytes lie in the receive buffer
};

/// `buffer`: one datagram as received. Never reads outside it.
Message parse(std::span<std::byte> buffer) noexcept;

/// The longest header of a verdict: with mark and payload.
inline constexpr std::size_t kVerdictRoom = 44;

/// Build the verdict in the bytes before the packet (and, where it was rewritten, around it). What is returned lies in
/// the receive buffer, padded to the netlink alignment; several of them may follow each other in one sendmsg.
std::span<const std::byte> build_verdict(const Message& message, const datapath::Verdict& verdict,
                                         std::uint16_t queue) noexcept;

/// The length of a verdict without mark and payload.
inline constexpr std::size_t kBareVerdict = 32;

/// Make a verdict that build_verdict() built a drop, without mark and payload: kBareVerdict bytes long.
void turn_into_drop(std::byte* verdict) noexcept;

}  // namespace limpet::queue
