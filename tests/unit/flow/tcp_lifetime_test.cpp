// How long a flow lives in each of its states: the timeouts of nf_conntrack, and what limpet adds to them.
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "conntrack/flow/flow.h"
#include "tests/unit/flow/tcp_segments.h"

namespace limpet::flow {
namespace {

struct Property {
  std::string_view state;
  std::vector<Step> steps;
  std::int64_t seconds;  // Documentation/networking/nf_conntrack-sysctl.rst
  bool over;
  bool half_open;
};

const std::vector<Property> kProperties{
    {"NONE", {}, 120, false, true},
    {"SYN_SENT", {{client, "S", 1000, 0, ""}}, 120, false, true},
    {"SYN_RECV", {{client, "S", 1000, 0, ""}, {server, "SA", 5000, 1001, ""}}, 60, false, true},
    {"ESTABLISHED", opened({}), 432000, false, false},
    {"FIN_WAIT", opened({{client, "FA", 1001, 5001, ""}}), 120, false, false},
    {"CLOSE_WAIT", opened({{client, "FA", 1001, 5001, ""}, {server, "A", 5001, 1002, ""}}), 60, false, false},
    {"LAST_ACK", opened({{client, "FA", 1001, 5001, ""}, {server, "FA", 5001, 1002, ""}}), 30, false, false},
    {"TIME_WAIT",
     opened({{client, "FA", 1001, 5001, ""}, {server, "FA", 5001, 1002, ""}, {client, "A", 1002, 5002, ""}}), 120, true,
     true},
    {"CLOSE", opened({{client, "R", 1001, 0, ""}}), 10, true, true},
};

TEST(TcpState, TimeoutsAndStandingByState) {
  for (const Property& property : kProperties) {
    SCOPED_TRACE(property.state);
    Flow flow;
    flow.protocol = net::Protocol::tcp;
    flow.tcp = after(property.steps);
    flow.replied = property.steps.size() > 1;  // the second segment is the endpoint's
    EXPECT_EQ(to_string(flow.tcp.state()), property.state);
    EXPECT_EQ(flow.tcp.timeout({}).count(), property.seconds);
    EXPECT_EQ(flow.tcp.over(), property.over);
    EXPECT_EQ(flow.half_open(), property.half_open);
    flow.touch({}, Instant{Milliseconds{7}});
    EXPECT_EQ(flow.deadline, Instant{Milliseconds{7 + property.seconds * 1000}});
  }
}

TEST(TcpState, ConfiguredTimeoutsAreUsed) {
  for (const Property& property : kProperties) {
    SCOPED_TRACE(property.state);
    Timeouts timeouts;
    std::int64_t value = 1;
    for (const Timeouts::Field& field : Timeouts::fields()) timeouts.*field.member = Seconds{value++};
    const auto name = property.state == "NONE" ? std::string("tcp_syn_sent") : [&] {
      std::string lower = "tcp_";
      for (const char c : property.state) lower += static_cast<char>(c == '_' ? c : c | 0x20);
      return lower;
    }();
    for (const Timeouts::Field& field : Timeouts::fields()) {
      if (field.name == name) value = (timeouts.*field.member).count();
    }
    EXPECT_EQ(after(property.steps).timeout(timeouts).count(), value);
  }
}

TEST(Flow, AMasqueradedPortIsHeldForAMinute) {  // design: "held 60 s after both FINs"
  Flow flow;
  flow.protocol = net::Protocol::tcp;
  flow.masquerade = flow.replied = true;
  flow.tcp = after(opened({{client, "FA", 1001, 5001, ""}, {server, "FA", 5001, 1002, ""}}));
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{30}}) << "LAST_ACK as any";
  flow.tcp.see(segment("A", 1002, 5002), client);
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{60}});
  Timeouts brief;
  brief.tcp_time_wait = Seconds{5};
  flow.touch(brief, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{5}}) << "never longer than configured";
}

TEST(Flow, AdoptedAndUnansweredIsHalfOpen) {
  Flow flow;
  flow.protocol = net::Protocol::tcp;
  flow.tcp.adopt();
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{120}}) << "as SYN_SENT";
  EXPECT_TRUE(flow.half_open());
  flow.replied = true;
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{432000}});
  EXPECT_FALSE(flow.half_open());
}

TEST(Flow, UdpLivesLongerWhenAnswered) {
  Flow flow;
  flow.protocol = net::Protocol::udp;
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{30}});
  EXPECT_TRUE(flow.half_open());
  flow.replied = true;
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{120}});
  EXPECT_FALSE(flow.half_open());
}

}  // namespace
}  // namespace limpet::flow
