// capture_file.h: the IP packets of a capture file (pcap or pcapng), whatever link they were taken on.
//
//   link types   raw IP; Ethernet (VLAN tags skipped); Linux "any" captures (SLL, SLL2); BSD loopback (null, loop)
//   number       as other tools number packets: from 1, those without IP counted
//   cut short    a packet of which less was captured than was on the wire (tcpdump -s) is handed out as it is, with its
//                true length; a file that ends in the middle of a packet is an error, behind the packets before
//
// A frame that holds no IP (ARP, …) is skipped. Offline: no device is ever opened.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "conntrack/store/result.h"

struct pcap;

namespace limpet::lab {

/// Where on the capturing machine a packet was seen: an "any" capture sees one packet at several places.
struct Place {
  std::uint32_t interface = 0;  // SLL2 only, else 0
  bool outgoing = false;        // SLL and SLL2 only, else false
  friend bool operator==(const Place&, const Place&) noexcept = default;
};

struct CapturedPacket {
  std::uint64_t number = 0;
  std::chrono::microseconds time{};  // since 1970-01-01 UTC
  std::span<const std::byte> bytes;  // IP header first, as far as captured; valid until the next call of next()
  std::size_t length = 0;            // on the wire, from the IP header on
  Place place;
};

class CaptureFile {
 public:
  /// Errors: the file cannot be read, is no capture, or is of a link type that is not named above.
  static store::Result<CaptureFile> open(const std::string& path);

  /// nullopt: the end.
  store::Result<std::optional<CapturedPacket>> next();
  /// Packets read so far, those without IP counted.
  std::uint64_t count() const noexcept { return count_; }

 private:
  struct Close {
    void operator()(pcap* file) const noexcept;
  };

  CaptureFile(std::string path, std::unique_ptr<pcap, Close> file, int link) noexcept
      : path_(std::move(path)), file_(std::move(file)), link_(link) {}

  std::string path_;
  std::unique_ptr<pcap, Close> file_;
  int link_;
  std::uint64_t count_ = 0;
};

}  // namespace limpet::lab
