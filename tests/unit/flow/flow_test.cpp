// What the pipeline asks of a flow, whatever its protocol.
#include "conntrack/flow/flow.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace limpet::flow {
namespace {

using net::Protocol;

net::PacketView segment(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgement = 0) {
  net::PacketView view;
  view.tuple.protocol = Protocol::tcp;
  view.tcp_flags.bits = flags;
  view.tcp_sequence = sequence;
  view.tcp_acknowledgement = acknowledgement;
  return view;
}
constexpr std::uint8_t kSyn = 0x02, kRst = 0x04, kAck = 0x10;

TEST(Flow, ATcpConnectionFromItsSynToItsReset) {
  Flow flow;
  flow.start(Protocol::tcp);
  flow.see(segment(kSyn, 1000), Direction::original);
  EXPECT_TRUE(flow.opening() && flow.half_open() && !flow.replied && !flow.over());
  flow.see(segment(kSyn | kAck, 5000, 1001), Direction::reply);
  EXPECT_TRUE(flow.replied && flow.half_open() && !flow.opening());
  const net::PacketView ack = segment(kAck, 1001, 5001);
  flow.see(ack, Direction::original);
  EXPECT_TRUE(flow.proves_client(ack));
  EXPECT_FALSE(flow.proves_client(segment(kAck, 1001, 7)));
  EXPECT_FALSE(flow.half_open() || flow.over());
  flow.see(segment(kRst, 1001), Direction::original);
  EXPECT_TRUE(flow.over() && flow.half_open());
}

TEST(Flow, ARefusedTcpConnectionWasOpeningBefore) {
  Flow flow;
  flow.start(Protocol::tcp);
  flow.see(segment(kSyn, 1000), Direction::original);
  ASSERT_TRUE(flow.opening());
  flow.see(segment(kRst | kAck, 0, 1001), Direction::reply);
  EXPECT_TRUE(flow.over());
}

TEST(Flow, UdpAndUdpLiteAreProvedByAPacketAfterAReply) {
  for (const Protocol protocol : {Protocol::udp, Protocol::udplite}) {
    SCOPED_TRACE(net::to_string(protocol));
    net::PacketView datagram;
    datagram.tuple.protocol = protocol;
    Flow flow;
    flow.start(protocol);
    flow.adopt();
    flow.see(datagram, Direction::original);
    EXPECT_FALSE(flow.proves_client(datagram) || flow.over() || flow.opening());
    flow.touch({}, Instant{});
    EXPECT_EQ(flow.deadline, Instant{Seconds{30}});
    EXPECT_TRUE(flow.half_open());
    flow.see(datagram, Direction::reply);
    EXPECT_TRUE(flow.proves_client(datagram));
    EXPECT_FALSE(flow.over());
    flow.touch({}, Instant{});
    EXPECT_EQ(flow.deadline, Instant{Seconds{120}});
    EXPECT_FALSE(flow.half_open());
  }
}

TEST(Flow, StartForgetsTheLastConnectionWhateverTheProtocols) {
  for (const Protocol last : {Protocol::tcp, Protocol::sctp, Protocol::udp}) {
    for (const Protocol next : {Protocol::tcp, Protocol::sctp, Protocol::udp}) {
      SCOPED_TRACE(net::to_string(last) + " then " + net::to_string(next));
      Flow flow;
      flow.start(last);
      flow.adopt();
      flow.see(segment(kAck, 0x01020304, 0x05060708), Direction::original);
      flow.see(segment(kAck, 0x05060708, 0x01020304), Direction::reply);
      flow.masquerade = flow.confirmed = flow.shared = true;
      flow.start(next);
      EXPECT_EQ(flow.protocol, next);
      EXPECT_FALSE(flow.replied || flow.masquerade || flow.confirmed || flow.shared || flow.over() || flow.opening());
      const bool blank =
          next == Protocol::sctp ? flow.sctp.state() == SctpState::none : flow.tcp.state() == TcpState::none;
      EXPECT_TRUE(blank);
    }
  }
}

TEST(Timeouts, EveryFieldHasANameOfItsOwn) {
  std::set<std::string_view> names;
  std::set<Seconds*> members;
  Timeouts timeouts;
  for (const Timeouts::Field& field : Timeouts::fields()) {
    names.insert(field.name);
    members.insert(&(timeouts.*field.member));
  }
  EXPECT_EQ(names.size(), Timeouts::fields().size());
  EXPECT_EQ(members.size(), Timeouts::fields().size());
  EXPECT_EQ(members.size(), sizeof(Timeouts) / sizeof(Seconds)) << "a field is missing";
}

}  // namespace
}  // namespace limpet::flow
