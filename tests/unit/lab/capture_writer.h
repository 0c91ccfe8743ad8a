// capture_writer.h: a capture file of raw IP packets, written by libpcap.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <pcap/pcap.h>

#include "tests/support/packet_builder.h"

namespace limpet::lab {

using TimedPacket = std::pair<std::chrono::microseconds, test::Bytes>;

inline void write_capture(const std::string& path, const std::vector<TimedPacket>& packets) {
  pcap_t* const pcap = pcap_open_dead(DLT_RAW, 65535);
  pcap_dumper_t* const dumper = pcap_dump_open(pcap, path.c_str());
  if (dumper == nullptr) throw std::runtime_error("cannot write " + path);
  for (const auto& [time, bytes] : packets) {
    pcap_pkthdr header{};
    header.ts.tv_sec = static_cast<time_t>(time.count() / 1'000'000);
    header.ts.tv_usec = static_cast<suseconds_t>(time.count() % 1'000'000);
    header.len = header.caplen = static_cast<bpf_u_int32>(bytes.size());
    pcap_dump(reinterpret_cast<u_char*>(dumper), &header, reinterpret_cast<const u_char*>(bytes.data()));
  }
  pcap_dump_close(dumper);
  pcap_close(pcap);
}

}  // namespace limpet::lab
