#include "lb/datapath/packet_facts.h"

#include <string_view>

#include "conntrack/net/fragment.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/packet.h"

namespace limpet::datapath {
namespace {

using Kind = PacketFacts::Kind;

/// In the order of tcpdump, which everybody reads.
std::string flag_letters(net::TcpFlags flags) {
  static constexpr std::pair<unsigned, char> kLetters[] = {{0x02, 'S'}, {0x01, 'F'}, {0x04, 'R'},
                                                           {0x08, 'P'}, {0x20, 'U'}, {0x10, 'A'}};
  std::string letters;
  for (const auto& [bit, letter] : kLetters) {
    if (flags.bits & bit) letters += letter;
  }
  return letters;
}

std::string chunk_names(net::SctpChunks chunks) {
  // RFC 9260 section 3.2, by type.
  static constexpr std::string_view kNames[] = {
      "data",          "init",       "init-ack", "sack",         "heartbeat",
      "heartbeat-ack", "abort",      "shutdown", "shutdown-ack", "error",
      "cookie-echo",   "cookie-ack", "ecne",     "cwr",          "shutdown-complete"};
  std::string names;
  for (unsigned type = 0; type < std::size(kNames); ++type) {
    if (chunks.has(type)) names.append(names.empty() ? "" : ",").append(kNames[type]);
  }
  return names;
}

std::string detail_of(const net::PacketView& view) {
  if (view.is_tcp()) return flag_letters(view.tcp_flags);
  return view.tuple.protocol == net::Protocol::sctp ? chunk_names(view.sctp_chunks) : "";
}

PacketFacts icmp_facts(const net::IcmpView& message, net::Protocol protocol) {
  PacketFacts facts;
  facts.tuple = {protocol, {message.source, 0}, {message.destination, 0}};
  if (message.kind == net::IcmpKind::error || message.kind == net::IcmpKind::redirect) {
    facts.kind = Kind::icmp_error;
    facts.quoted = message.quoted;
    facts.detail = icmp_error_name(message.source.family(), message.type, message.code);
    return facts;
  }
  facts.kind = message.kind == net::IcmpKind::echo_request ? Kind::echo_request : Kind::other;
  facts.detail = facts.kind == Kind::echo_request
                     ? "echo-request"
                     : "type " + std::to_string(message.type) + " code " + std::to_string(message.code);
  if (facts.kind == Kind::echo_request) {
    facts.tuple.destination.port = static_cast<std::uint16_t>(message.type << 8 | message.code);
  }
  return facts;
}

/// Of what is neither a packet with ports nor a fragment; `view` as parse() leaves it on unsupported_protocol.
PacketFacts portless_facts(std::span<std::byte> packet, const net::PacketView& view) {
  net::IcmpView message;
  if (net::parse_icmp(packet, message) == net::ParseError::none) return icmp_facts(message, view.tuple.protocol);
  return {.kind = Kind::other, .tuple = view.tuple, .quoted = {}, .detail = {}};
}

}  // namespace

PacketFacts facts_of(std::span<std::byte> packet) {
  net::PacketView view;
  switch (net::parse(packet, view, net::Extent::headers)) {
    case net::ParseError::none:
      return {.kind = Kind::transport, .tuple = view.tuple, .quoted = {}, .detail = detail_of(view)};
    case net::ParseError::unsupported_protocol:
      return portless_facts(packet, view);
    case net::ParseError::fragment:
      break;
    default:
      return {};
  }
  net::Fragment fragment;
  if (net::parse_fragment(packet, fragment) != net::ParseError::none) return {};
  const net::Tuple& tuple = fragment.view.tuple;
  if (fragment.first) {
    return {.kind = Kind::first_fragment, .tuple = tuple, .quoted = {}, .detail = "first fragment"};
  }
  return {.kind = Kind::later_fragment, .tuple = tuple, .quoted = {}, .detail = "later fragment"};
}

std::string icmp_error_name(net::Family family, std::uint8_t type, std::uint8_t code) {
  struct Name {
    std::uint8_t type, code;
    std::string_view name;
  };
  // RFC 792, 1122, 1812; RFC 4443.
  static constexpr Name kV4[] = {
      {3, 0, "net-unreachable"},  {3, 1, "host-unreachable"},     {3, 2, "protocol-unreachable"},
      {3, 3, "port-unreachable"}, {3, 4, "fragmentation-needed"}, {3, 13, "admin-prohibited"},
      {4, 0, "source-quench"},    {5, 0, "redirect-net"},         {5, 1, "redirect-host"},
      {11, 0, "ttl-exceeded"},    {11, 1, "reassembly-timeout"},  {12, 0, "parameter-problem"}};
  static constexpr Name kV6[] = {{1, 0, "no-route"},           {1, 1, "admin-prohibited"}, {1, 3, "addr-unreachable"},
                                 {1, 4, "port-unreachable"},   {2, 0, "packet-too-big"},   {3, 0, "hop-limit-exceeded"},
                                 {3, 1, "reassembly-timeout"}, {4, 0, "parameter-problem"}};
  const std::span<const Name> names =
      family == net::Family::v4 ? std::span<const Name>(kV4) : std::span<const Name>(kV6);
  for (const Name& one : names) {
    if (one.type == type && one.code == code) return std::string(one.name);
  }
  return std::to_string(type) + "/" + std::to_string(code);
}

}  // namespace limpet::datapath
