// packet_builder.h: IP packets for tests, built fluently.
//
//   PacketBuilder().v4("10.0.0.1", "10.96.0.1").tcp(4242, 80).flags("SA").seq(1).ack(2).payload("hello").build()
//
// Calls may stand in any order, but extension() and fragment() of IPv6 add headers in the order of the calls. Checksums
// are right unless partial_checksum(), no_checksum() or bad_checksum() says otherwise.
//
// An oracle for conntrack/net: it shares no code with it. Checksums are those of reference_checksum.h; addresses are
// read by inet_pton.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>

#include "tests/support/reference_checksum.h"

namespace limpet::test {

class PacketBuilder {
 public:
  PacketBuilder& v4(const std::string& source, const std::string& destination) {
    return addresses(AF_INET, 4, source, destination);
  }
  PacketBuilder& v6(const std::string& source, const std::string& destination) {
    return addresses(AF_INET6, 16, source, destination);
  }
  PacketBuilder& ttl(std::uint8_t value) { return ttl_ = value, *this; }
  PacketBuilder& dscp(std::uint8_t value) { return dscp_ = value, *this; }
  PacketBuilder& id(std::uint16_t value) { return id_ = value, *this; }
  /// `n` bytes of IPv4 options (NOP), a multiple of 4, at most 40.
  PacketBuilder& ip_options(std::size_t n) { return ip_options_.assign(n, std::byte{1}), *this; }
  /// One IPv6 extension header of `length` bytes in all (a multiple of 8), e.g. extension(0, 8) for hop-by-hop.
  PacketBuilder& extension(unsigned type, std::size_t length) {
    Bytes body(length - 2, std::byte{0});  // Pad1 options; a routing header of type 0 with no segments left
    // RFC 8200: length in 8-octet units, the first not counted. RFC 4302 (AH): in 4-octet units, minus 2.
    const std::size_t units = type == kAuthentication ? length / 4 - 2 : length / 8 - 1;
    body.insert(body.begin(), static_cast<std::byte>(units));
    return extensions_.push_back({type, std::move(body)}), *this;
  }
  /// A fragment at `offset` (in 8-byte units). IPv6: adds a fragment header; fragment(0, false) is an atomic fragment.
  PacketBuilder& fragment(unsigned offset, bool more) {
    fragment_field_ = offset | (more ? 0x2000U : 0U);
    Bytes body{std::byte{0}};
    wire::put16(body, offset << 3 | (more ? 1U : 0U));
    wire::put32(body, 0x01020304);
    return extensions_.push_back({kFragment, std::move(body)}), *this;
  }

  PacketBuilder& tcp(std::uint16_t source, std::uint16_t destination) { return transport(kTcp, source, destination); }
  PacketBuilder& udp(std::uint16_t source, std::uint16_t destination) { return transport(kUdp, source, destination); }
  /// UDP-Lite; its checksum covers the first `coverage` bytes (0: all).
  PacketBuilder& udplite(std::uint16_t source, std::uint16_t destination, unsigned coverage = 0) {
    coverage_ = coverage;
    return transport(kUdpLite, source, destination);
  }
  /// SCTP; chunk() or payload() follows the common header.
  PacketBuilder& sctp(std::uint16_t source, std::uint16_t destination, std::uint32_t tag = 0) {
    tag_ = tag;
    return transport(kSctp, source, destination);
  }
  /// One more chunk at the end of the payload: `body` and what pads it to a multiple of four bytes.
  PacketBuilder& chunk(unsigned type, std::string_view body = {}) {
    wire::put16(payload_, type << 8), wire::put16(payload_, static_cast<unsigned>(4 + body.size()));
    wire::append(payload_, std::as_bytes(std::span(body)));
    payload_.resize((payload_.size() + 3) / 4 * 4);
    return *this;
  }
  /// ICMP, or ICMPv6 if v6() was called before: `rest` is the second word of the header, payload() what follows.
  PacketBuilder& icmp(unsigned type, unsigned code, std::uint32_t rest = 0) {
    icmp_type_ = type, icmp_code_ = code, icmp_rest_ = rest;
    return transport(source_.size() == 16 ? kIcmp6 : kIcmp, 0, 0);
  }
  /// Another transport; payload() is all of it.
  PacketBuilder& protocol(unsigned number) { return transport(number, 0, 0), raw_ = true, *this; }
  /// Letters of "FSRPAU".
  PacketBuilder& flags(std::string_view letters) {
    flags_ = 0;
    for (const char letter : letters) {
      const std::size_t bit = std::string_view("FSRPAU").find(letter);
      if (bit == std::string_view::npos) throw std::logic_error(std::string("PacketBuilder: no TCP flag ") + letter);
      flags_ |= 1U << bit;
    }
    return *this;
  }
  PacketBuilder& seq(std::uint32_t value) { return seq_ = value, *this; }
  PacketBuilder& ack(std::uint32_t value) { return ack_ = value, *this; }
  /// `n` bytes of TCP options (NOP), a multiple of 4, at most 40.
  PacketBuilder& tcp_options(std::size_t n) { return tcp_options_.assign(n, std::byte{1}), *this; }
  /// These bytes as TCP options; a multiple of 4, at most 40.
  PacketBuilder& tcp_options(const std::vector<std::uint8_t>& bytes) {
    tcp_options_.clear();
    for (const std::uint8_t byte : bytes) tcp_options_.push_back(std::byte{byte});
    return *this;
  }
  PacketBuilder& payload(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text));
    return payload_.assign(bytes.begin(), bytes.end()), *this;
  }
  PacketBuilder& payload(Bytes bytes) { return payload_ = std::move(bytes), *this; }

  /// The transport field holds the pseudo-header's sum only, as a CHECKSUM_PARTIAL skb's does.
  PacketBuilder& partial_checksum() { return checksum_ = Checksum::partial, *this; }
  /// UDP without a checksum: the field is 0.
  PacketBuilder& no_checksum() { return checksum_ = Checksum::none, *this; }
  /// The transport checksum is off by one bit, as after corruption.
  PacketBuilder& bad_checksum() { return checksum_ = Checksum::bad, *this; }

  Bytes build() const {
    if (source_.empty()) throw std::logic_error("PacketBuilder: v4() or v6() is missing");
    const Bytes l4 = transport_bytes();
    Bytes packet = source_.size() == 4 ? ipv4_header(l4.size()) : ipv6_headers(l4.size());
    wire::append(packet, l4);
    return packet;
  }

 private:
  enum class Checksum { complete, partial, none, bad };
  struct Extension {
    unsigned type;
    Bytes body;  // all but the next-header byte
  };
  static constexpr unsigned kIcmp = 1, kTcp = 6, kUdp = 17, kFragment = 44, kAuthentication = 51, kIcmp6 = 58;
  static constexpr unsigned kSctp = 132, kUdpLite = 136;

  PacketBuilder& addresses(int family, std::size_t size, const std::string& source, const std::string& destination) {
    source_.resize(size), destination_.resize(size);
    if (::inet_pton(family, source.c_str(), source_.data()) != 1 ||
        ::inet_pton(family, destination.c_str(), destination_.data()) != 1)
      throw std::logic_error("PacketBuilder: not an address: " + source + " or " + destination);
    return *this;
  }
  PacketBuilder& transport(unsigned protocol, std::uint16_t source, std::uint16_t destination) {
    protocol_ = protocol, source_port_ = source, destination_port_ = destination, raw_ = false;
    return *this;
  }

  Bytes ipv4_header(std::size_t l4_size) const {
    const std::size_t header_size = 20 + ip_options_.size();
    Bytes out;
    wire::put8(out, 0x40U | static_cast<unsigned>(header_size / 4));
    wire::put8(out, dscp_ << 2);
    wire::put16(out, static_cast<unsigned>(header_size + l4_size));
    wire::put16(out, id_), wire::put16(out, fragment_field_);
    wire::put8(out, ttl_), wire::put8(out, protocol_), wire::put16(out, 0);
    wire::append(out, source_), wire::append(out, destination_), wire::append(out, ip_options_);
    wire::set16(out, 10, ~wire::ones_sum(out));
    return out;
  }

  Bytes ipv6_headers(std::size_t l4_size) const {
    std::size_t length = l4_size;
    for (const Extension& extension : extensions_) length += extension.body.size() + 1;
    Bytes out;
    wire::put32(out, 6U << 28 | dscp_ << 22);
    wire::put16(out, static_cast<unsigned>(length));
    wire::put8(out, extensions_.empty() ? protocol_ : extensions_.front().type), wire::put8(out, ttl_);
    wire::append(out, source_), wire::append(out, destination_);
    for (std::size_t i = 0; i < extensions_.size(); ++i) {
      wire::put8(out, i + 1 < extensions_.size() ? extensions_[i + 1].type : protocol_);
      wire::append(out, extensions_[i].body);
    }
    return out;
  }

  Bytes transport_bytes() const {
    if (raw_) return payload_;
    Bytes out = transport_header();
    wire::append(out, payload_);
    const unsigned pseudo = wire::pseudo_sum(source_, destination_, out.size(), protocol_);
    const std::span<const std::byte> bytes(out);
    switch (protocol_) {
      case kTcp:
        wire::set16(out, 16, checksum_field(bytes, pseudo));
        break;
      case kUdp:
        wire::set16(out, 6, checksum_field(bytes, pseudo));
        break;
      case kUdpLite:
        wire::set16(out, 6, checksum_field(coverage_ == 0 ? bytes : bytes.first(coverage_), pseudo));
        break;
      case kIcmp:
        wire::set16(out, 2, checksum_field(bytes, 0));
        break;
      case kIcmp6:
        wire::set16(out, 2, checksum_field(bytes, pseudo));
        break;
      case kSctp:  // left to a device, the field is 0 (Linux sctp_packet_pack)
        if (checksum_ == Checksum::complete) wire::set32(out, 8, wire::sctp_checksum(out));
        if (checksum_ == Checksum::bad) wire::set32(out, 8, wire::sctp_checksum(out) ^ 0x01000000);
        break;
    }
    return out;
  }
  Bytes transport_header() const {
    switch (protocol_) {
      case kTcp:
        return tcp_header();
      case kUdp:
        return udp_header(static_cast<unsigned>(8 + payload_.size()));
      case kUdpLite:
        return udp_header(coverage_);
      case kSctp:
        return sctp_header();
      case kIcmp:
      case kIcmp6:
        return icmp_header();
      default:
        return {};
    }
  }
  Bytes tcp_header() const {
    Bytes out;
    wire::put16(out, source_port_), wire::put16(out, destination_port_);
    wire::put32(out, seq_), wire::put32(out, ack_);
    wire::put8(out, static_cast<unsigned>(5 + tcp_options_.size() / 4) << 4), wire::put8(out, flags_);
    wire::put16(out, 0xfaf0), wire::put32(out, 0);  // window; checksum and urgent pointer
    wire::append(out, tcp_options_);
    return out;
  }
  Bytes udp_header(unsigned length_or_coverage) const {
    Bytes out;
    wire::put16(out, source_port_), wire::put16(out, destination_port_);
    wire::put16(out, length_or_coverage), wire::put16(out, 0);
    return out;
  }
  Bytes sctp_header() const {
    Bytes out;
    wire::put16(out, source_port_), wire::put16(out, destination_port_);
    wire::put32(out, tag_), wire::put32(out, 0);
    return out;
  }
  Bytes icmp_header() const {
    Bytes out;
    wire::put8(out, icmp_type_), wire::put8(out, icmp_code_), wire::put16(out, 0), wire::put32(out, icmp_rest_);
    return out;
  }
  unsigned checksum_field(std::span<const std::byte> covered, unsigned pseudo) const {
    if (checksum_ == Checksum::none) return 0;
    if (checksum_ == Checksum::partial) return pseudo;
    const unsigned sum = wire::ones_sum(covered) + pseudo;
    const unsigned field = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
    if (checksum_ == Checksum::bad) return field ^ 0x0100;
    return (protocol_ == kUdp || protocol_ == kUdpLite) && field == 0 ? 0xffff : field;
  }

  Bytes source_, destination_, ip_options_, tcp_options_, payload_;
  std::vector<Extension> extensions_;
  unsigned ttl_ = 64, dscp_ = 0, id_ = 0, fragment_field_ = 0;
  unsigned protocol_ = kTcp, source_port_ = 0, destination_port_ = 0, flags_ = 0;
  bool raw_ = false;
  unsigned coverage_ = 0, icmp_type_ = 0, icmp_code_ = 0;
  std::uint32_t seq_ = 0, ack_ = 0, tag_ = 0, icmp_rest_ = 0;
  Checksum checksum_ = Checksum::complete;
};

}  // namespace limpet::test
