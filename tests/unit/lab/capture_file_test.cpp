// Capture files of each link type, written by libpcap around one packet. Headers by hand: IEEE 802.3 and 802.1Q,
// LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2 and LINKTYPE_NULL as https://www.tcpdump.org/linktypes.html has them.
#include "lb/lab/capture_file.h"

#include <cstdio>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::lab {
namespace {

using test::Bytes;
using test::PacketBuilder;
using testing::HasSubstr;

const Bytes kFour = PacketBuilder().v4("10.0.0.1", "10.0.0.2").udp(1, 2).payload("four").build();
const Bytes kSix = PacketBuilder().v6("fd00::1", "fd00::2").udp(1, 2).payload("six").build();

class CaptureFiles : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "capture_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".pcap";
  }
  void TearDown() override { std::remove(path_.c_str()); }

  /// A capture of `frames`, one a millisecond from 1.5 s after the epoch, each cut to `snap` bytes.
  void write(int link, const std::vector<Bytes>& frames, std::size_t snap = 65535) {
    pcap_t* const pcap = pcap_open_dead(link, 65535);
    pcap_dumper_t* const dumper = pcap_dump_open(pcap, path_.c_str());
    ASSERT_NE(dumper, nullptr);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      pcap_pkthdr header{};
      header.ts.tv_sec = 1;
      header.ts.tv_usec = static_cast<suseconds_t>(500'000 + i * 1000);
      header.len = static_cast<bpf_u_int32>(frames[i].size());
      header.caplen = static_cast<bpf_u_int32>(std::min(frames[i].size(), snap));
      pcap_dump(reinterpret_cast<u_char*>(dumper), &header, reinterpret_cast<const u_char*>(frames[i].data()));
    }
    pcap_dump_close(dumper);
    pcap_close(pcap);
  }

  std::string path_;
};

Bytes framed(std::string_view header, const Bytes& packet) {
  Bytes frame = test::from_hex(header);
  frame.insert(frame.end(), packet.begin(), packet.end());
  return frame;
}

struct Link {
  const char* name;
  int link;
  const char* four;  // what stands before an IPv4 packet, and before an IPv6 packet
  const char* six;
  Place place;
};

TEST_F(CaptureFiles, hands_out_ip_of_every_link_type) {
  const Link links[] = {
      {"raw", DLT_RAW, "", "", {}},
      {"ethernet", DLT_EN10MB, "020000000001 020000000002 0800", "020000000001 020000000002 86dd", {}},
      {"vlan",
       DLT_EN10MB,
       "020000000001 020000000002 8100 0064 0800",
       "020000000001 020000000002 88a8 0001 8100 0002 86dd",
       {}},
      {"null", DLT_NULL, "02000000", "0a000000", {}},
      {"loop", DLT_LOOP, "00000002", "0000001c", {}},
      {"cooked",
       DLT_LINUX_SLL,
       "0004 0001 0006 0200000000010000 0800",
       "0004 0001 0006 0200000000010000 86dd",
       {0, true}},
      {"cooked2",
       DLT_LINUX_SLL2,
       "0800 0000 00010002 0001 00 06 0200000000010000",
       "86dd 0000 00010002 0001 00 06 0200000000010000",
       {0x10002, false}},
      {"cooked2_out",
       DLT_LINUX_SLL2,
       "0800 0000 00000003 0001 04 06 0200000000010000",
       "86dd 0000 00000003 0001 04 06 0200000000010000",
       {3, true}},
  };
  for (const Link& link : links) {
    SCOPED_TRACE(link.name);
    write(link.link, {framed(link.four, kFour), framed(link.six, kSix)});
    auto file = CaptureFile::open(path_);
    ASSERT_TRUE(file) << file.error().message;
    std::uint64_t number = 0;
    for (const Bytes* expected : {&kFour, &kSix}) {
      const auto packet = file->next();
      ASSERT_TRUE(packet && *packet);
      EXPECT_EQ((*packet)->number, ++number);
      EXPECT_EQ((*packet)->time, std::chrono::microseconds(1'500'000 + (number - 1) * 1000));
      EXPECT_EQ(Bytes((*packet)->bytes.begin(), (*packet)->bytes.end()), *expected);
      EXPECT_EQ((*packet)->length, expected->size());
      EXPECT_EQ((*packet)->place, link.place);
    }
    const auto end = file->next();
    ASSERT_TRUE(end);
    EXPECT_FALSE(*end);
  }
}

TEST_F(CaptureFiles, skip_and_count_what_is_not_ip) {
  const Bytes arp = framed("ffffffffffff 020000000002 0806 0001", {});
  const Bytes runt = framed("0200", {});
  const Bytes empty = framed("020000000001 020000000002 0800", {});
  write(DLT_EN10MB, {arp, runt, empty, framed("020000000001 020000000002 0800", kFour)});
  auto file = CaptureFile::open(path_);
  ASSERT_TRUE(file);
  const auto packet = file->next();
  ASSERT_TRUE(packet && *packet);
  EXPECT_EQ((*packet)->number, 4U);
  EXPECT_EQ(file->count(), 4U);
}

TEST_F(CaptureFiles, tell_the_length_of_what_was_captured_short) {
  write(DLT_EN10MB, {framed("020000000001 020000000002 0800", kFour)}, 14 + 28);
  auto file = CaptureFile::open(path_);
  ASSERT_TRUE(file);
  const auto packet = file->next();
  ASSERT_TRUE(packet && *packet);
  EXPECT_EQ((*packet)->bytes.size(), 28U);
  EXPECT_EQ((*packet)->length, kFour.size());
}

TEST_F(CaptureFiles, that_are_none_are_named) {
  EXPECT_THAT(CaptureFile::open("/nonexistent/x.pcap").error().message, HasSubstr("No such file"));
  std::ofstream(path_) << "services: []\n";
  EXPECT_THAT(CaptureFile::open(path_).error().message,
              testing::AllOf(HasSubstr(path_), HasSubstr("cannot be read as a capture"), HasSubstr("name a pcap")));
  write(DLT_IEEE802_11, {kFour});
  EXPECT_THAT(CaptureFile::open(path_).error().message, HasSubstr("on a link of type IEEE802_11"));
}

TEST_F(CaptureFiles, that_end_in_the_middle_of_a_packet_are_errors_after_those_before) {
  write(DLT_RAW, {kFour, kFour});
  std::ifstream whole(path_, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(whole)), {});
  whole.close();
  std::ofstream(path_, std::ios::binary) << bytes.substr(0, bytes.size() - 3);
  auto file = CaptureFile::open(path_);
  ASSERT_TRUE(file);
  const auto first = file->next();
  EXPECT_TRUE(first && *first);
  const auto second = file->next();
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("cannot be read beyond packet 1: truncated"));
}

}  // namespace
}  // namespace limpet::lab
