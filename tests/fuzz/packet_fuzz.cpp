// packet_fuzz.cpp: any bytes through net::parse; what parses is rewritten, and rewritten back.
//
//   incremental   good checksums stay good, bad ones stay bad; on the way back every byte is restored (but for the two
//                 ways to write a checksum of zero, RFC 1624 section 3)
//   full          the transport checksum becomes right, whatever it was
//
// The verifier of tests/support/packet_builder.h shares no code with what it judges.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "conntrack/net/checksum.h"
#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"
#include "tests/fuzz/require.h"
#include "tests/support/packet_builder.h"

namespace {

using namespace limpet;
using fuzz::require;
using test::Bytes;

/// Where packets are sent: an ordinary pair, and the extremes of every word.
std::vector<net::Rewrite> rewrites(net::Family family) {
  std::array<std::byte, 16> ones, zeros{}, some;
  ones.fill(std::byte{0xff});
  for (std::size_t i = 0; i < some.size(); ++i) some[i] = static_cast<std::byte>(10 + 29 * i);
  const auto at = [family](const auto& address, std::uint16_t port) {
    return net::AddressPort{net::Address::from_wire(family, address.data()), port};
  };
  return {{at(some, 31332), at(zeros, 80)}, {at(ones, 0xffff), at(ones, 0xffff)}, {at(zeros, 0), at(zeros, 0)}};
}

net::PacketView parsed(Bytes& packet) {
  net::PacketView view;
  require(net::parse(packet, view) == net::ParseError::none, "a packet that parsed parses again");
  return view;
}

/// RFC 791: total length; RFC 8200: payload length, after 40 bytes.
std::size_t stated_length(std::span<const std::byte> packet) {
  return test::wire::get8(packet, 0) >> 4 == 4 ? test::wire::get16(packet, 2) : 40 + test::wire::get16(packet, 4);
}

/// The packet with its checksum fields zeroed.
Bytes without_checksums(Bytes packet) {
  const net::PacketView view = parsed(packet);
  test::wire::set16(packet, net::l4_checksum_offset(view), 0);
  if (view.family() == net::Family::v4) test::wire::set16(packet, 10, 0);
  return packet;
}

void check_incremental(const Bytes& original, const net::Rewrite& to) {
  Bytes packet = original;
  net::PacketView view = parsed(packet);
  const net::Rewrite home{view.tuple.source, view.tuple.destination};
  const bool good = test::checksums_ok(packet);
  net::rewrite(view, to, net::ChecksumMode::incremental);
  require(test::checksums_ok(packet) == good, "checksums are as right as they were");
  require(parsed(packet).tuple == view.tuple, "the view says what the packet says");
  require(view.tuple.source == to.source && view.tuple.destination == to.destination, "it goes where it was sent");
  net::rewrite(view, home, net::ChecksumMode::incremental);
  require(test::checksums_ok(packet) == good, "checksums are as right as they were, back home");
  require(without_checksums(packet) == without_checksums(original), "there and back restores every byte");
}

void check_full(const Bytes& original, const net::Rewrite& to) {
  Bytes packet = original;
  net::PacketView view = parsed(packet);
  const bool header_good =
      view.family() == net::Family::v6 || test::wire::ones_sum(std::span(packet).first(view.l4_offset)) == 0xffff;
  net::rewrite(view, to, net::ChecksumMode::full);
  require(test::checksums_ok(packet) == header_good, "a full checksum is right");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  Bytes bytes(input.begin(), input.end());
  net::PacketView view;
  const net::ParseError error = net::parse(bytes, view);
  require(std::equal(bytes.begin(), bytes.end(), input.begin(), input.end()), "parsing changes nothing");
  if (error != net::ParseError::none) return 0;
  require(view.bytes.data() == bytes.data() && view.bytes.size() <= bytes.size(), "the view lies in the packet");
  require(view.bytes.size() == stated_length(bytes), "the view is as long as the IP header says");
  const Bytes packet(view.bytes.begin(), view.bytes.end());  // without the link layer's padding
  for (const net::Rewrite& to : rewrites(view.family())) {
    check_incremental(packet, to);
    check_full(packet, to);
  }
  return 0;
}
