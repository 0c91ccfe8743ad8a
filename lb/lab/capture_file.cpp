#include "lb/lab/capture_file.h"

#include <array>
#include <utility>

#include <pcap/pcap.h>

namespace limpet::lab {

namespace {

constexpr unsigned kIpv4 = 0x0800, kIpv6 = 0x86dd, kVlan = 0x8100, kServiceVlan = 0x88a8;
constexpr std::uint16_t kPacketOutgoing = 4;  // linux/if_packet.h

/// What stands before the IP header.
struct Link {
  std::size_t header = 0;
  Place place;
};

unsigned get16(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]) << 8 | std::to_integer<unsigned>(bytes[at + 1]);
}

bool is_ip(unsigned ether_type) noexcept {
  return ether_type == kIpv4 || ether_type == kIpv6;
}

std::optional<Link> ethernet(std::span<const std::byte> frame) {
  std::size_t type_at = 12;
  while (frame.size() >= type_at + 2) {
    const unsigned type = get16(frame, type_at);
    if (is_ip(type)) return Link{type_at + 2, {}};
    if (type != kVlan && type != kServiceVlan) break;
    type_at += 4;
  }
  return std::nullopt;
}

std::optional<Link> cooked(std::span<const std::byte> frame) {
  if (frame.size() < 16 || !is_ip(get16(frame, 14))) return std::nullopt;
  return Link{16, {0, get16(frame, 0) == kPacketOutgoing}};
}

std::optional<Link> cooked2(std::span<const std::byte> frame) {
  if (frame.size() < 20 || !is_ip(get16(frame, 0))) return std::nullopt;
  return Link{20, {get16(frame, 4) << 16 | get16(frame, 6), std::to_integer<unsigned>(frame[10]) == kPacketOutgoing}};
}

bool is_known(int link) noexcept {
  constexpr std::array known{DLT_RAW,  DLT_IPV4, DLT_IPV6,      DLT_EN10MB,
                             DLT_NULL, DLT_LOOP, DLT_LINUX_SLL, DLT_LINUX_SLL2};
  for (const int one : known) {
    if (one == link) return true;
  }
  return false;
}

std::optional<Link> link_header(int link, std::span<const std::byte> frame) {
  switch (link) {
    case DLT_EN10MB:
      return ethernet(frame);
    case DLT_LINUX_SLL:
      return cooked(frame);
    case DLT_LINUX_SLL2:
      return cooked2(frame);
    case DLT_NULL:
    case DLT_LOOP:
      return Link{4, {}};  // the family, in numbers that differ between systems: the IP version tells
    default:
      return Link{};
  }
}

bool starts_like_ip(std::span<const std::byte> bytes) {
  if (bytes.empty()) return false;
  const unsigned version = std::to_integer<unsigned>(bytes[0]) >> 4;
  return version == 4 || version == 6;
}

}  // namespace

void CaptureFile::Close::operator()(pcap* file) const noexcept {
  pcap_close(file);
}

store::Result<CaptureFile> CaptureFile::open(const std::string& path) {
  std::array<char, PCAP_ERRBUF_SIZE> cause{};
  std::unique_ptr<pcap, Close> file(pcap_open_offline(path.c_str(), cause.data()));
  if (!file) {
    return store::Error{store::ErrorKind::runtime,
                        path + " cannot be read as a capture: " + cause.data() + "; name a pcap or pcapng file"};
  }
  const int link = pcap_datalink(file.get());
  if (!is_known(link)) {
    const char* const name = pcap_datalink_val_to_name(link);
    return store::Error{
        store::ErrorKind::runtime,
        path + " was captured on a link of type " + (name ? name : std::to_string(link)) +
            ", which is not known here; known are raw IP, Ethernet, Linux cooked and loopback captures"};
  }
  return CaptureFile(path, std::move(file), link);
}

store::Result<std::optional<CapturedPacket>> CaptureFile::next() {
  for (;;) {
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    const int got = pcap_next_ex(file_.get(), &header, &data);
    if (got == PCAP_ERROR_BREAK) return std::optional<CapturedPacket>();
    if (got != 1) {
      return store::Error{store::ErrorKind::runtime, path_ + " cannot be read beyond packet " + std::to_string(count_) +
                                                         ": " + pcap_geterr(file_.get())};
    }
    ++count_;
    const std::span frame(reinterpret_cast<const std::byte*>(data), header->caplen);
    const auto link = link_header(link_, frame);
    if (!link || frame.size() <= link->header || !starts_like_ip(frame.subspan(link->header))) continue;
    CapturedPacket packet;
    packet.number = count_;
    packet.time = std::chrono::seconds(header->ts.tv_sec) + std::chrono::microseconds(header->ts.tv_usec);
    packet.bytes = frame.subspan(link->header);
    packet.length = std::max<std::size_t>(header->len, header->caplen) - link->header;
    packet.place = link->place;
    return std::optional(packet);
  }
}

}  // namespace limpet::lab
