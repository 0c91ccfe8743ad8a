#include "conntrack/net/packet.h"

#include <algorithm>

#include "conntrack/net/ip_header.h"
#include "conntrack/net/transport.h"

namespace limpet::net {

std::string_view to_string(ParseError error) noexcept {
  constexpr std::string_view kNames[kParseErrors] = {
      "none", "truncated", "bad_version", "bad_header_length", "fragment", "extension_chain", "unsupported_protocol",
  };
  return kNames[static_cast<std::size_t>(error)];
}

ParseError parse(std::span<std::byte> bytes, PacketView& view, Extent extent) noexcept {
  const ParseError error = read_ip(bytes, extent, view, nullptr);
  return error == ParseError::none ? read_transport(view, extent) : error;
}

unsigned tcp_window_scale(const PacketView& packet) noexcept {
  constexpr unsigned kEnd = 0, kNoOperation = 1, kWindowScale = 3, kMostScale = 14;
  if (packet.bytes.size() < packet.l4_offset + kTcpHeader + packet.tcp_payload) return 0;
  const auto options =
      packet.bytes.first(packet.bytes.size() - packet.tcp_payload).subspan(packet.l4_offset + kTcpHeader);
  for (std::size_t at = 0; at + 2 < options.size();) {
    const unsigned kind = load8(&options[at]);
    if (kind == kEnd) break;
    if (kind == kNoOperation) {
      ++at;
      continue;
    }
    if (kind == kWindowScale) return std::min<unsigned>(load8(&options[at + 2]), kMostScale);
    at += std::max<std::size_t>(load8(&options[at + 1]), 2);
  }
  return 0;
}

}  // namespace limpet::net
