#include "bench/wire/frames.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>

namespace limpet::bench {
namespace {

constexpr std::size_t kIpOffset = sizeof(ether_header);
constexpr std::size_t kUdpOffset = kIpOffset + sizeof(iphdr);
constexpr std::size_t kIpLength = kFrameSize - kIpOffset;
constexpr std::size_t kUdpLength = kFrameSize - kUdpOffset;
static_assert(kUdpOffset + sizeof(udphdr) <= kFrameSize);

/// The Internet checksum (RFC 1071) of 16-bit words, in network order as they are summed.
std::uint16_t checksum(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

std::uint32_t pseudo_header_sum(std::uint32_t source, std::uint32_t destination) {
  std::uint32_t sum = IPPROTO_UDP + static_cast<std::uint32_t>(kUdpLength);
  for (const std::uint32_t address : {source, destination}) sum += (address >> 16) + (address & 0xffff);
  return sum;
}

void write_ethernet(const FrameSpec& spec, std::span<std::uint8_t> frame) {
  ether_header header{};
  std::copy(spec.destination_mac.begin(), spec.destination_mac.end(), header.ether_dhost);
  std::copy(spec.source_mac.begin(), spec.source_mac.end(), header.ether_shost);
  header.ether_type = htons(ETHERTYPE_IP);
  std::memcpy(frame.data(), &header, sizeof header);
}

void write_ip(const FrameSpec& spec, std::uint32_t source, std::span<std::uint8_t> frame) {
  iphdr header{};
  header.version = 4;
  header.ihl = 5;
  header.tot_len = htons(kIpLength);
  header.frag_off = htons(IP_DF);
  header.ttl = 64;
  header.protocol = IPPROTO_UDP;
  header.saddr = htonl(source);
  header.daddr = htonl(spec.destination);
  std::memcpy(&frame[kIpOffset], &header, sizeof header);
  header.check = checksum(frame.subspan(kIpOffset, sizeof header));
  std::memcpy(&frame[kIpOffset], &header, sizeof header);
}

void write_udp(const FrameSpec& spec, std::uint32_t source, std::span<std::uint8_t> frame) {
  udphdr header{};
  header.source = htons(spec.source_port);
  header.dest = htons(spec.destination_port);
  header.len = htons(kUdpLength);
  std::memcpy(&frame[kUdpOffset], &header, sizeof header);
  header.check = checksum(frame.subspan(kUdpOffset), pseudo_header_sum(source, spec.destination));
  if (header.check == 0) header.check = 0xffff;  // RFC 768: 0 would mean "no checksum"
  std::memcpy(&frame[kUdpOffset], &header, sizeof header);
}

}  // namespace

Frames::Frames(const FrameSpec& spec, std::size_t clients) : bytes_(clients * kFrameSize) {
  for (std::size_t i = 0; i < clients; ++i) {
    const std::uint32_t source = spec.first_client + static_cast<std::uint32_t>(i);
    const auto frame = (*this)[i];
    write_ethernet(spec, frame);
    write_ip(spec, source, frame);
    write_udp(spec, source, frame);
  }
}

}  // namespace limpet::bench
