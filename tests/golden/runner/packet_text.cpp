#include "tests/golden/runner/packet_text.h"

#include <array>
#include <utility>

#include <arpa/inet.h>

#include "tests/support/hex.h"

namespace limpet::golden {

namespace {

Bytes wire_address(const std::string& text, bool v4) {
  Bytes bytes(v4 ? 4 : 16);
  if (::inet_pton(v4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()) != 1)
    throw SyntaxError("neither a name nor an address of IPv" + std::string(v4 ? "4" : "6") + ": \"" + text + "\"");
  return bytes;
}

Bytes text_bytes(const std::string& word) {
  Bytes bytes;
  for (const char c : word.substr(1)) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

/// 0, 1, 2, …
Bytes counted_bytes(std::size_t n) {
  Bytes bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i & 0xff);
  return bytes;
}

void put(Bytes& out, std::uint32_t value, unsigned bytes) {
  while (bytes-- > 0) out.push_back(static_cast<std::byte>(value >> 8 * bytes & 0xff));
}

// ---- IP ----

/// "hop-by-hop 8": the header of this type, so many bytes in all, filled with padding.
bool read_extension(const std::string& word, Words& words, PacketSpec& packet) {
  static const std::map<std::string, unsigned> types{
      {"hop-by-hop", 0}, {"routing", 43}, {"atomic-fragment", 44}, {"authentication", 51}, {"destination-options", 60}};
  const auto type = types.find(word);
  if (type == types.end()) return false;
  if (packet.v4) throw SyntaxError(word + " is for IPv6");
  const std::size_t size = type->second == 44 ? 8 : words.number();
  if (size < 8 || size % 8 != 0) throw SyntaxError(word + ": the size is a multiple of 8");
  Bytes body(size - 1);
  // RFC 8200: in units of 8 bytes, the first not counted. RFC 4302: in units of 4 bytes, minus 2.
  if (type->second == 51) body[0] = static_cast<std::byte>(size / 4 - 2);
  if (type->second != 44 && type->second != 51) body[0] = static_cast<std::byte>(size / 8 - 1);
  if (type->second == 43 && words.skip("segments-left")) body[2] = static_cast<std::byte>(words.number());
  packet.extensions.push_back({type->second, std::move(body)});
  return true;
}

Piece read_piece(const std::string& range) {
  const std::size_t dash = range.find('-');
  if (dash == std::string::npos) throw SyntaxError("piece FROM-TO");
  return {to_number(range.substr(0, dash)), to_number(range.substr(dash + 1))};
}

Checksum read_checksum(const std::string& word) {
  if (word == "0") return Checksum::zero;
  if (word == "bad") return Checksum::bad;
  throw SyntaxError("checksum 0 | bad");
}

bool read_ip(const std::string& word, Words& words, PacketSpec& packet) {
  if (word == "ttl") return packet.ttl = words.number(), true;
  if (word == "tos") return packet.tos = packet.v4 ? words.number() : (words.number(), 0), true;
  if (word == "dscp") return packet.tos |= words.number() << 2, true;
  if (word == "ecn") return packet.tos |= words.number(), true;
  if (word == "id") return packet.id = words.number(), true;
  if (word == "flow") return packet.flow_label = words.number(), true;
  if (word == "df") return packet.dont_fragment = packet.v4, true;
  if (word == "ip-options") return packet.ip_options = test::from_hex(words.next()), true;
  if (word == "piece") return packet.piece = read_piece(words.next()), true;
  if (word == "first") return packet.first = words.number(), true;
  if (word == "cut") return packet.cut = words.number(), true;
  if (word == "ip-length") return packet.ip_length = words.number(), true;
  if (word == "checksum") return packet.checksum = read_checksum(words.next()), true;
  if (word == "pending") return packet.checksum = Checksum::pending, true;
  if (word == "bytes") return packet.payload = counted_bytes(words.number()), true;
  if (word == "hex") return packet.payload = test::from_hex(words.next()), true;
  if (word.front() == '"') return packet.payload = text_bytes(word), true;
  return read_extension(word, words, packet);
}

// ---- transports ----

/// "SYN", "SYN|ACK", …
bool read_flags(const std::string& word, PacketSpec& packet) {
  static const std::array<const char*, 8> names{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
  unsigned flags = 0;
  for (std::size_t at = 0; at <= word.size();) {
    const std::size_t bar = std::min(word.find('|', at), word.size());
    std::size_t bit = 0;
    while (bit < names.size() && word.compare(at, bar - at, names[bit]) != 0) ++bit;
    if (bit == names.size()) return false;
    flags |= 1U << bit;
    at = bar + 1;
  }
  packet.flags = flags;
  return true;
}

bool read_tcp(const std::string& word, Words& words, PacketSpec& packet) {
  if (word == "seq") return packet.sequence = words.number(), true;
  if (word == "ack") return packet.acknowledgement = words.number(), true;
  if (word == "window") return packet.window = words.number(), true;
  if (word == "options") return packet.tcp_options = test::from_hex(words.next()), true;
  return read_flags(word, packet);
}

/// A chunk (RFC 9260 section 3.3) after those that are there.
bool read_chunk(const std::string& word, Words& words, PacketSpec& packet) {
  static const std::map<std::string, unsigned> types{
      {"data", 0},     {"init", 1},         {"init-ack", 2},     {"heartbeat", 4},   {"abort", 6},
      {"shutdown", 7}, {"shutdown-ack", 8}, {"cookie-echo", 10}, {"cookie-ack", 11}, {"shutdown-complete", 14}};
  const auto type = types.find(word);
  if (type == types.end()) return false;
  Bytes value;
  if (word == "init" || word == "init-ack") {  // initiate tag, window, streams out and in, first TSN
    put(value, words.number(), 4), put(value, 65536, 4), put(value, 1, 2), put(value, 1, 2), put(value, 1, 4);
  } else if (word == "data") {  // TSN, stream, number in it, protocol
    put(value, 1, 4), put(value, 0, 4), put(value, 0, 4);
    const Bytes text = text_bytes(words.next());
    value.insert(value.end(), text.begin(), text.end());
  } else if (word == "shutdown") {  // cumulative TSN
    put(value, 1, 4);
  } else if (word == "cookie-echo") {
    value = text_bytes("\"cookie");
  }
  put(packet.payload, type->second << 8 | (word == "data" ? 3 : 0), 2);  // data: a whole message
  put(packet.payload, static_cast<std::uint32_t>(4 + value.size()), 2);
  packet.payload.insert(packet.payload.end(), value.begin(), value.end());
  while (packet.payload.size() % 4 != 0) packet.payload.push_back(std::byte{0});
  return true;
}

// ---- ICMP ----

struct IcmpName {
  const char* name;
  struct {
    unsigned type, code;
  } v4, v6;            // type 255: not in this family
  unsigned word_size;  // bytes of the number that follows the name, at the end of bytes 4 to 7
};
constexpr IcmpName kIcmpNames[] = {
    {"net-unreachable", {3, 0}, {1, 0}, 0},
    {"host-unreachable", {3, 1}, {1, 3}, 0},
    {"protocol-unreachable", {3, 2}, {255, 0}, 0},
    {"port-unreachable", {3, 3}, {1, 4}, 0},
    {"admin-prohibited", {3, 13}, {1, 1}, 0},
    {"source-quench", {4, 0}, {255, 0}, 0},
    {"redirect", {5, 1}, {137, 0}, 0},
    {"too-big", {3, 4}, {2, 0}, 4},  // the MTU: of 16 bits in IPv4, after 16 bits of 0 (RFC 1191)
    {"time-exceeded", {11, 0}, {3, 0}, 0},
    {"parameter-problem", {12, 0}, {4, 0}, 4},
    {"echo-request", {8, 0}, {128, 0}, 4},  // identifier and sequence number
    {"echo-reply", {0, 0}, {129, 0}, 4},
    {"neighbour-solicitation", {255, 0}, {135, 0}, 0},
};

bool read_icmp(const std::string& word, Words& words, const Cast& cast, PacketSpec& packet) {
  if (word == "[") {
    packet.quoted.push_back(read_packet(words, cast));
    words.expect("]");
    return true;
  }
  for (const IcmpName& icmp : kIcmpNames) {
    if (word != icmp.name) continue;
    const auto& [type, code] = packet.v4 ? icmp.v4 : icmp.v6;
    if (type == 255) throw SyntaxError(word + " is not in this family");
    packet.icmp_type = type, packet.icmp_code = code;
    if (icmp.word_size != 0) packet.icmp_word = words.number();
    if (packet.v4 && word == "parameter-problem") packet.icmp_word <<= 24;  // RFC 792: the pointer is the first byte
    return true;
  }
  return false;
}

unsigned protocol_number(const std::string& word, bool v4, Words& words) {
  if (word == "tcp") return kTcp;
  if (word == "udp") return kUdp;
  if (word == "udplite") return kUdpLite;
  if (word == "sctp") return kSctp;
  if (word == "icmp") return v4 ? kIcmp : kIcmp6;
  if (word == "protocol") return words.number();
  throw SyntaxError("not a protocol: \"" + word + "\"");
}

bool read_transport(const std::string& word, Words& words, const Cast& cast, PacketSpec& packet) {
  switch (packet.protocol) {
    case kTcp:
      return read_tcp(word, words, packet);
    case kUdp:
      return word == "length" ? (packet.length = words.number(), true) : false;
    case kUdpLite:
      return word == "coverage" ? (packet.coverage = words.number(), true) : false;
    case kSctp:
      return word == "tag" ? (packet.tag = words.number(), true) : read_chunk(word, words, packet);
    case kIcmp:
    case kIcmp6:
      return read_icmp(word, words, cast, packet);
    default:
      return false;
  }
}

}  // namespace

Cast::Cast(bool v4) : v4_(v4) {
  name("client", "198.51.100.7", "2001:db8:7::7");
  name("client2", "198.51.100.8", "2001:db8:7::8");
  name("gateway", "198.51.100.1", "2001:db8:7::1");  // a router on the way to the client
  name("vip", "10.96.0.10", "fd00:96::10");
  name("vip2", "10.96.0.11", "fd00:96::11");
  name("endpoint", "10.2.1.2", "fd00:2:1::2");
  name("endpoint2", "10.2.1.3", "fd00:2:1::3");
  name("router", "10.2.1.254", "fd00:2:1::fe");  // a router on the way to the endpoints
  name("node", "10.1.0.1", "fd00:1::1");         // this node, towards clients
  name("egress", "10.2.1.1", "fd00:2:1::1");     // this node, towards endpoints
}

void Cast::name(const std::string& who, const std::string& ipv4, const std::string& ipv6) {
  names_[who] = v4_ ? ipv4 : ipv6;
}

std::string Cast::address(const std::string& text) const {
  const auto found = names_.find(text);
  return found == names_.end() ? text : found->second;
}

Cast::End Cast::end(const std::string& text) const {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) throw SyntaxError("no port: \"" + text + "\"");
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return {address(host), to_number(text.substr(colon + 1))};
}

PacketSpec read_packet(Words& words, const Cast& cast) {
  PacketSpec packet;
  packet.v4 = cast.v4();
  packet.protocol = protocol_number(words.next(), packet.v4, words);
  const bool has_ports =
      packet.protocol == kTcp || packet.protocol == kUdp || packet.protocol == kUdpLite || packet.protocol == kSctp;
  const auto read_end = [&](Bytes& address, unsigned& port) {
    const std::string word = words.next();
    const Cast::End end = has_ports ? cast.end(word) : Cast::End{cast.address(word)};
    address = wire_address(end.address, packet.v4);
    port = end.port;
  };
  read_end(packet.source, packet.source_port);
  words.expect(">");
  read_end(packet.destination, packet.destination_port);
  while (!words.done() && words.peek() != "]") {
    const std::string word = words.next();
    if (!read_transport(word, words, cast, packet) && !read_ip(word, words, packet))
      throw SyntaxError("not understood: \"" + word + "\"");
  }
  return packet;
}

}  // namespace limpet::golden
