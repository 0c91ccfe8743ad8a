#include "tests/golden/runner/describe.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include <arpa/inet.h>

#include "tests/support/hex.h"

namespace limpet::golden {

namespace {

constexpr std::size_t kRow = 16;

unsigned get8(const Bytes& bytes, std::size_t at) {
  return at < bytes.size() ? std::to_integer<unsigned>(bytes[at]) : 0;
}
unsigned get16(const Bytes& bytes, std::size_t at) {
  return get8(bytes, at) << 8 | get8(bytes, at + 1);
}

std::string address_at(const Bytes& bytes, std::size_t at, bool v4) {
  char text[INET6_ADDRSTRLEN] = "?";
  ::inet_ntop(v4 ? AF_INET : AF_INET6, &bytes[at], text, sizeof text);
  return text;
}

std::string flags_of(unsigned bits) {
  static const char* const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
  std::string text;
  for (unsigned bit = 0; bit < 8; ++bit) {
    if (bits >> bit & 1) text += (text.empty() ? "" : "|") + std::string(names[bit]);
  }
  return text;
}

/// Past the extension headers. A later fragment's ports are not looked for.
std::size_t skip_extensions(const Bytes& packet, unsigned& protocol, bool& later) {
  std::size_t at = 40;
  while (protocol == 0 || protocol == 43 || protocol == 44 || protocol == 51 || protocol == 60) {
    if (at + 8 > packet.size()) break;
    const unsigned units = get8(packet, at + 1);
    if (protocol == 44 && get16(packet, at + 2) >= 8) later = true;
    const std::size_t size = protocol == 44 ? 8 : protocol == 51 ? (units + 2) * 4 : (units + 1) * 8;
    protocol = get8(packet, at);
    at += size;
  }
  return at;
}

std::string protocol_name(unsigned protocol) {
  switch (protocol) {
    case kTcp:
      return "tcp";
    case kUdp:
      return "udp";
    case kUdpLite:
      return "udplite";
    case kSctp:
      return "sctp";
    case kIcmp:
    case kIcmp6:
      return "icmp";
    default:
      return "protocol " + std::to_string(protocol);
  }
}

bool quotes(unsigned protocol, unsigned type) {
  if (protocol == kIcmp) return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
  return type >= 1 && type <= 4;
}

std::string row_of(const Bytes& bytes, std::size_t at) {
  if (at >= bytes.size()) return "(nothing)";
  const std::size_t end = std::min(at + kRow, bytes.size());
  return test::to_hex({&bytes[at], end - at});
}

}  // namespace

std::string describe(const Bytes& packet) {
  const unsigned version = get8(packet, 0) >> 4;
  const bool v4 = version == 4;
  if ((!v4 && version != 6) || packet.size() < (v4 ? 20U : 40U)) return "bytes " + test::to_hex(packet);
  unsigned protocol = get8(packet, v4 ? 9 : 6);
  bool later = v4 && (get16(packet, 6) & 0x1fff) != 0;
  const std::size_t l4 = v4 ? (get8(packet, 0) & 15) * 4 : skip_extensions(packet, protocol, later);
  const bool is_icmp = protocol == kIcmp || protocol == kIcmp6;
  const auto port = [&](std::size_t at) {
    return is_icmp || later ? std::string() : ":" + std::to_string(get16(packet, at));
  };
  const auto bracketed = [&](const std::string& address) { return v4 || is_icmp ? address : "[" + address + "]"; };

  std::ostringstream text;
  text << protocol_name(protocol) << ' ' << bracketed(address_at(packet, v4 ? 12 : 8, v4)) << port(l4) << " > "
       << bracketed(address_at(packet, v4 ? 16 : 24, v4)) << port(l4 + 2);
  if (later) text << " (a later fragment)";
  if (protocol == kTcp && !later) text << ' ' << flags_of(get8(packet, l4 + 13));
  if (is_icmp) text << " type " << get8(packet, l4) << " code " << get8(packet, l4 + 1);
  if (is_icmp && quotes(protocol, get8(packet, l4)) && packet.size() > l4 + 8)
    text << " [" << describe({packet.begin() + static_cast<std::ptrdiff_t>(l4 + 8), packet.end()}) << ']';
  text << ", ttl " << get8(packet, v4 ? 8 : 7) << ", " << packet.size() << " bytes";
  return text.str();
}

std::string describe_difference(const Bytes& expected, const Bytes& came) {
  std::ostringstream text;
  text << "  expected  " << describe(expected) << "\n  came      " << describe(came) << '\n';
  for (std::size_t row = 0; row < std::max(expected.size(), came.size()); row += kRow) {
    std::string marks;
    for (std::size_t at = row; at < std::min(row + kRow, std::max(expected.size(), came.size())); ++at) {
      const bool same = at < expected.size() && at < came.size() && expected[at] == came[at];
      marks += same ? "   " : "^^ ";
    }
    if (marks.find('^') == std::string::npos) continue;
    text << "  " << std::hex << std::setw(4) << row << "  expected  " << row_of(expected, row) << "\n        came      "
         << row_of(came, row) << "\n                  " << marks << '\n';
  }
  return text.str();
}

}  // namespace limpet::golden
