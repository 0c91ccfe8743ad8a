// Which packets of a capture begin a connection.
#include "lb/lab/capture_events.h"

#include <cstdio>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/lab/capture_writer.h"
#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Bytes;
using test::PacketBuilder;
using testing::ElementsAre;

const std::string kClient = "203.0.113.7";
const std::string kService = "10.96.0.10";

PacketBuilder request() {
  return PacketBuilder().v4(kClient, kService);
}
PacketBuilder reply() {
  return PacketBuilder().v4(kService, kClient);
}
Bytes segment(std::string_view flags, std::uint32_t sequence = 100) {
  return request().tcp(40000, 80).flags(flags).seq(sequence).build();
}
Bytes query() {
  return request().udp(5353, 53).payload("query").build();
}
Bytes answer() {
  return reply().udp(53, 5353).payload("answer").build();
}

class CaptureTimeline : public testing::Test {
 protected:
  CaptureTimeline() : path_(testing::TempDir() + "timeline." + std::to_string(::getpid()) + ".pcap") {}
  ~CaptureTimeline() override { std::remove(path_.c_str()); }
  std::vector<Event> events(const std::vector<TimedPacket>& packets) {
    write_capture(path_, packets);
    auto source = open_timeline(path_, {});
    EXPECT_TRUE(source);
    std::vector<Event> all;
    for (Event event; *(*source)->next(event);) all.push_back(event);
    EXPECT_EQ((*source)->progress(), 1);
    return all;
  }
  /// The numbers of the packets that begin one.
  std::vector<std::uint64_t> begin(const std::vector<TimedPacket>& packets) {
    std::vector<std::uint64_t> numbers;
    for (const Event& event : events(packets)) numbers.push_back(event.number);
    return numbers;
  }
  std::string path_;
};

TEST_F(CaptureTimeline, TellsWhatTheFirstPacketShows) {
  const auto all = events({{milliseconds(1500), request().ttl(57).tcp(40000, 80).flags("S").build()}});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].time, milliseconds(1500));
  EXPECT_EQ(all[0].tuple, tuple(net::Protocol::tcp, kClient + ":40000", kService + ":80"));
  EXPECT_EQ(all[0].ttl, 57);
  EXPECT_EQ(all[0].in_interface, "");
}

TEST_F(CaptureTimeline, TcpBeginsWithASyn) {
  EXPECT_THAT(begin({{seconds(0), segment("S")},
                     {seconds(1), segment("S")},  // a retransmission
                     {seconds(1), reply().tcp(80, 40000).flags("SA").seq(7).build()},
                     {seconds(1), segment("A", 101)},
                     {seconds(2), segment("FA", 101)},
                     {seconds(3), segment("S", 5000)},  // the same port again
                     {seconds(4), segment("S", 5000)},
                     {seconds(4), request().tcp(40001, 80).flags("S").seq(5000).build()},
                     {seconds(5), request().tcp(40002, 80).flags("A").seq(9).build()}}),  // from the middle
              ElementsAre(1, 6, 8));
}

TEST_F(CaptureTimeline, SctpBeginsWithAnInit) {
  const auto init = [](std::string_view tag) { return request().sctp(4000, 80).chunk(1, tag).build(); };
  EXPECT_THAT(begin({{seconds(0), init("aaaa............")},
                     {seconds(1), init("aaaa............")},
                     {seconds(2), request().sctp(4000, 80, 9).chunk(0, "data").build()},
                     {seconds(3), init("bbbb............")}}),
              ElementsAre(1, 4));
}

// udp: 30 s, udp_stream: 120 s (nf_conntrack's defaults); a silence as long as the timeout is still the same talk.
TEST_F(CaptureTimeline, DatagramsBeginAfterASilence) {
  EXPECT_THAT(begin({{seconds(0), query()}, {seconds(30), query()}, {milliseconds(60'001), query()}}),
              ElementsAre(1, 3));
  EXPECT_THAT(begin({{seconds(0), query()},
                     {seconds(1), answer()},
                     {seconds(121), query()},
                     {milliseconds(241'001), answer()},  // too late: now the service begins
                     {milliseconds(241'002), query()}}),
              ElementsAre(1, 4));
}

TEST_F(CaptureTimeline, OtherPacketsArePassedOver) {
  EXPECT_THAT(begin({{seconds(0), request().icmp(8, 0).build()},
                     {seconds(0), request().udp(1, 2).payload("12345678").fragment(8, false).build()},
                     {seconds(0), request().udp(1, 2).payload("12345678").fragment(0, true).build()},
                     {seconds(0), request().protocol(47).build()},
                     {seconds(0), PacketBuilder().v6("fd00::7", "fd00::1").udp(1, 2).build()}}),
              ElementsAre(3, 5));
}

TEST_F(CaptureTimeline, TimeNeverGoesBack) {
  const auto all =
      events({{seconds(5), segment("S", 1)}, {seconds(4), segment("S", 2)}, {seconds(6), segment("S", 3)}});
  std::vector<std::chrono::microseconds> times;
  for (const Event& event : all) times.push_back(event.time);
  EXPECT_THAT(times, ElementsAre(seconds(5), seconds(5), seconds(6)));
}

TEST_F(CaptureTimeline, ErrorsNameTheCapture) {
  write_capture(path_, {{seconds(0), query()}, {seconds(1), segment("S")}});
  ASSERT_EQ(::truncate(path_.c_str(), 90), 0);  // in the middle of the second packet
  auto source = open_timeline(path_, {});
  ASSERT_TRUE(source);
  Event event;
  ASSERT_TRUE(*(*source)->next(event));
  EXPECT_EQ((*source)->place(event), path_ + ", packet 1");
  const auto cut = (*source)->next(event);
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message, testing::HasSubstr(path_ + " cannot be read beyond packet 1"));
}

}  // namespace
}  // namespace limpet::lab
