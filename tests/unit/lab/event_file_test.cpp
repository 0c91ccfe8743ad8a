// Timelines as JSON lines: what a line says, and what each wrong line is told.
#include "lb/lab/event_file.h"

#include <cstdio>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using std::chrono::microseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kGood = R"({"t":0.25,"from":"203.0.113.7:40000","to":"10.96.0.1:80","protocol":"tcp"})";

TEST(EventFile, ALineSaysWhenAndFromWhereToWhere) {
  Event event;
  EXPECT_THAT(parse_event(kGood, event), IsEmpty());
  EXPECT_EQ(event.time, microseconds(250'000));
  EXPECT_EQ(event.tuple, tuple(net::Protocol::tcp, "203.0.113.7:40000", "10.96.0.1:80"));
  EXPECT_EQ(event.in_interface, "");
  EXPECT_EQ(event.ttl, 64);

  EXPECT_THAT(parse_event(R"( {"ttl": 0, "protocol": "UDP", "to": "[fd00::1]:53", "from": "[fd00::7]:0",)"
                          R"( "in_interface": "cali1", "t": 1700000000.123456} )",
                          event),
              IsEmpty());
  EXPECT_EQ(event.time, microseconds(1'700'000'000'123'456));
  EXPECT_EQ(event.tuple, tuple(net::Protocol::udp, "[fd00::7]:0", "[fd00::1]:53"));
  EXPECT_EQ(event.in_interface, "cali1");
  EXPECT_EQ(event.ttl, 0);

  EXPECT_THAT(parse_event(kGood, event), IsEmpty());
  EXPECT_EQ(event.in_interface, "") << "nothing is left of the line before";
  EXPECT_EQ(event.ttl, 64);
}

std::string line(const std::string& key, const std::string& value) {
  const std::string before = "\"" + key + "\":";
  std::string text = kGood;
  const std::size_t at = text.find(before) + before.size();
  if (text.find(before) == std::string::npos) return text.substr(0, text.size() - 1) + "," + before + value + "}";
  return text.replace(at, text.find_first_of(",}", at) - at, value);
}

TEST(EventFile, AWrongLineIsToldWhatToWrite) {
  struct Case {
    std::string line;
    const char* what;
    const char* instead;
  };
  const Case cases[] = {
      {line("t", "-1"), "'t': '-1' is not", "a number of seconds from 0 on"},
      {line("t", "-0.5"), "'t': '-0.5' is not", "seconds"},
      {line("t", "1e12"), "'t': '1e12' is not", "seconds"},
      {line("t", "\"1\""), "'t': '1' is not", "seconds"},
      {line("t", "null"), "'t': 'null' is not", "seconds"},
      {line("from", "\"203.0.113.7\""), "'from': '203.0.113.7' is not IP:PORT", "203.0.113.7:40000"},
      {line("from", "\"203.0.113.700:1\""), "'from': '203.0.113.700:1' is not IP:PORT", "203.0.113.7:40000"},
      {line("from", "7"), "'from': '7' is not IP:PORT", "203.0.113.7:40000"},
      {line("to", "\"10.96.0.1:0\""), "'to': '10.96.0.1:0' is not IP:PORT", "10.31.240.99:80"},
      {line("to", "\"10.96.0.1:65536\""), "'to': '10.96.0.1:65536' is not IP:PORT", "10.31.240.99:80"},
      {line("to", "true"), "'to': 'true' is not IP:PORT", "10.31.240.99:80"},
      {line("to", "\"[fd00::1]:80\""), "different families", "two IPv4 or two IPv6"},
      {line("protocol", "\"gre\""), "'protocol': 'gre' is not", "tcp, udp, sctp or udplite"},
      {line("protocol", "\"icmp\""), "'protocol': 'icmp' is not", "tcp, udp, sctp or udplite"},
      {line("protocol", "6"), "'protocol': '6' is not", "tcp, udp, sctp or udplite"},
      {line("ttl", "256"), "'ttl': '256' is not", "a number from 0 to 255"},
      {line("ttl", "63.5"), "'ttl': '63.5' is not", "a number from 0 to 255"},
      {line("in_interface", "2"), "'in_interface': '2' is not", "\"eth0\""},
      {line("mark", "2"), "'mark' is not known", "known are t, from, to"},
      {line("from", "{}"), "an object", "one flat object a line"},
      {line("from", "[]"), "an array", "one flat object a line"},
      {line("ttl", "1,\"ttl\":2"), "'ttl' is there twice", "leave one out"},
      {R"({"t":1,"from":"1.2.3.4:5","protocol":"tcp"})", "'to' is missing", "every line has t, from, to and protocol"},
      {"{}", "'t' is missing", "every line has"},
      {"7", "'7' is no event", "one object a line"},
      {"\"x\"", "'x' is no event", "one object a line"},
      {"[]", "an array", "one flat object"},
      {kGood + kGood, "no JSON from column 75 on", "one object a line"},
      {kGood.substr(0, 30), "no JSON from column", "one object a line"},
      {"t=1", "no JSON from column", "one object a line"},
  };
  for (const Case& c : cases) {
    Event event;
    EXPECT_THAT(parse_event(c.line, event), AllOf(HasSubstr(c.what), HasSubstr(c.instead))) << c.line;
  }
}

class Timeline : public testing::Test {
 protected:
  Timeline() : path_(testing::TempDir() + "events." + std::to_string(::getpid())) {}
  ~Timeline() override { std::remove(path_.c_str()); }
  std::unique_ptr<EventSource> open(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    auto source = open_timeline(path_, {});
    return source ? std::move(*source) : nullptr;
  }
  std::string path_;
};

TEST_F(Timeline, IsReadInOrderAndToldByItsLines) {
  const auto source = open(kGood + "\n\n" + kGood + "\r\n  \n" + line("t", "9"));
  ASSERT_NE(source, nullptr);
  EXPECT_EQ(source->progress(), 0);
  Event event;
  for (const std::uint64_t number : {1U, 3U, 5U}) {
    ASSERT_TRUE(*source->next(event));
    EXPECT_EQ(event.number, number);
    EXPECT_EQ(source->place(event), path_ + ":" + std::to_string(number));
  }
  EXPECT_EQ(event.time, std::chrono::seconds(9));
  EXPECT_FALSE(*source->next(event));
  EXPECT_EQ(source->progress(), 1);
}

TEST_F(Timeline, ErrorsTellFileLineAndRemedy) {
  auto source = open(kGood + "\n" + line("protocol", "\"gre\"") + "\n");
  Event event;
  ASSERT_TRUE(*source->next(event));
  auto wrong = source->next(event);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, store::ErrorKind::configuration);
  EXPECT_EQ(wrong.error().message, path_ + ":2: 'protocol': 'gre' is not tcp, udp, sctp or udplite");

  source = open(line("t", "5") + "\n" + line("t", "5") + "\n" + line("t", "4.999999"));
  ASSERT_TRUE(*source->next(event));
  ASSERT_TRUE(*source->next(event));
  wrong = source->next(event);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, path_ + ":3: 't' is less than in the line before; sort the lines by t");
}

TEST_F(Timeline, MayBeEmptyButMustBeThere) {
  const auto source = open("");
  Event event;
  EXPECT_FALSE(*source->next(event));
  EXPECT_EQ(source->progress(), 1);
  for (const std::string& nowhere : {path_ + ".none", std::string(testing::TempDir())}) {
    const auto refused = open_timeline(nowhere, {});
    ASSERT_FALSE(refused) << nowhere;
    EXPECT_EQ(refused.error().kind, store::ErrorKind::runtime);
    EXPECT_THAT(refused.error().message, HasSubstr(nowhere + " cannot be read"));
  }
}

}  // namespace
}  // namespace limpet::lab
