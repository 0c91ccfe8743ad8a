#include "conntrack/net/packet.h"

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

}  // namespace limpet::net
