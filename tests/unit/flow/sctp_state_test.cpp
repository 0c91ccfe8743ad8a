// Associations as a row of packets each, with the state after every one. States: net/netfilter/nf_conntrack_proto_sctp.c.
// Tags: RFC 9260 section 8.5. Here a packet's bytes are the SCTP packet alone, laid out by hand after section 3.
#include "conntrack/flow/sctp_state.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "conntrack/flow/flow.h"

namespace limpet::flow {
namespace {

constexpr auto client = Direction::original;
constexpr auto server = Direction::reply;

// Tags as each side chose them: what is sent to the client carries kClient, what is sent to the endpoint kServer.
constexpr std::uint32_t kClient = 0xc11e47, kServer = 0x5e74e5, kOther = 0x07e4;

// RFC 9260 section 3.2.
enum : std::uint8_t {
  DATA = 0,
  INIT = 1,
  INIT_ACK = 2,
  SACK = 3,
  HEARTBEAT = 4,
  HEARTBEAT_ACK = 5,
  ABORT = 6,
  SHUTDOWN = 7,
  SHUTDOWN_ACK = 8,
  ERROR = 9,
  COOKIE_ECHO = 10,
  COOKIE_ACK = 11,
  SHUTDOWN_COMPLETE = 14,
};

struct Chunk {
  std::uint8_t type = DATA;
  std::uint32_t initiate = 0;  // INIT and INIT ACK
  bool reflected = false;      // the T bit of ABORT and SHUTDOWN COMPLETE
};

class Packet {
 public:
  Packet(std::uint32_t tag, const std::vector<Chunk>& chunks) : bytes_(12) {
    for (const Chunk& chunk : chunks) {
      const bool init = chunk.type == INIT || chunk.type == INIT_ACK;
      const std::size_t length = init ? 20 : chunk.type == COOKIE_ECHO || chunk.type == DATA ? 21 : 4;
      put8(chunk.type), put8(chunk.reflected ? 1 : 0), put16(static_cast<unsigned>(length));
      if (init) put16(chunk.initiate >> 16), put16(chunk.initiate & 0xffff);
      while (bytes_.size() % 4 != 0 || bytes_.size() < start_ + length) put8(0);
      start_ = bytes_.size();
      view.sctp_chunks.bits = static_cast<std::uint16_t>(view.sctp_chunks.bits | 1 << chunk.type);
    }
    view.bytes = bytes_;
    view.tuple.protocol = net::Protocol::sctp;
    view.sctp_tag = tag;
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;
  void cut(std::size_t size) { view.bytes = view.bytes.first(size); }

  net::PacketView view;

 private:
  void put8(unsigned value) { bytes_.push_back(static_cast<std::byte>(value & 0xff)); }
  void put16(unsigned value) { put8(value >> 8), put8(value); }

  std::vector<std::byte> bytes_;
  std::size_t start_ = 12;
};

struct Step {
  Direction from;
  std::uint32_t tag;
  std::vector<Chunk> chunks;
  std::string_view state;  // afterwards
};
struct Life {
  std::string name;
  std::vector<Step> steps;
};

const std::vector<Step> kHandshake{{client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
                                   {server, kClient, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
                                   {client, kServer, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
                                   {server, kClient, {{COOKIE_ACK}}, "ESTABLISHED"}};

/// An established association, and what follows.
std::vector<Step> opened(const std::vector<Step>& then) {
  std::vector<Step> steps = kHandshake;
  steps.insert(steps.end(), then.begin(), then.end());
  return steps;
}
/// The first `n` packets of the handshake, and what follows.
std::vector<Step> begun(std::ptrdiff_t n, const std::vector<Step>& then) {
  std::vector<Step> steps(kHandshake.begin(), kHandshake.begin() + n);
  steps.insert(steps.end(), then.begin(), then.end());
  return steps;
}

const std::vector<Life> kLives{
    {"data, acknowledgements and heartbeats change nothing",
     opened({{client, kServer, {{DATA}}, "ESTABLISHED"},
             {server, kClient, {{SACK}, {DATA}}, "ESTABLISHED"},
             {client, kServer, {{HEARTBEAT}}, "ESTABLISHED"},
             {server, kClient, {{HEARTBEAT_ACK}}, "ESTABLISHED"},
             {server, kClient, {{ERROR}}, "ESTABLISHED"}})},
    {"data goes along with the cookie and with its acknowledgement",
     {{client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
      {server, kClient, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
      {client, kServer, {{COOKIE_ECHO}, {DATA}}, "COOKIE_ECHOED"},
      {server, kClient, {{COOKIE_ACK}, {SACK}, {DATA}}, "ESTABLISHED"}}},
    {"shut down by the client", opened({{client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
                                        {server, kClient, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
                                        {client, kServer, {{SHUTDOWN_COMPLETE}}, "CLOSED"}})},
    {"shut down by the endpoint", opened({{server, kClient, {{SHUTDOWN}}, "SHUTDOWN_RECD"},
                                          {client, kServer, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
                                          {server, kClient, {{SHUTDOWN_COMPLETE}}, "CLOSED"}})},
    {"shut down by both at once (section 9.2)", opened({{client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
                                                        {server, kClient, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
                                                        {client, kServer, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
                                                        {server, kClient, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
                                                        {client, kServer, {{SHUTDOWN_COMPLETE}}, "CLOSED"}})},
    {"data is still under way after a SHUTDOWN", opened({{client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
                                                         {server, kClient, {{DATA}}, "SHUTDOWN_SENT"},
                                                         {client, kServer, {{SHUTDOWN}, {SACK}}, "SHUTDOWN_SENT"}})},
    {"section 8.4 (5): a SHUTDOWN COMPLETE that reflects the tag, from who has forgotten the association",
     opened({{client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
             {server, kClient, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
             {client, kClient, {{SHUTDOWN_COMPLETE, 0, true}}, "CLOSED"}})},
    {"section 8.5.1 C: a SHUTDOWN COMPLETE whose T bit and tag do not agree",
     opened({{client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"},
             {server, kClient, {{SHUTDOWN_ACK}}, "SHUTDOWN_ACK_SENT"},
             {client, kServer, {{SHUTDOWN_COMPLETE, 0, true}}, "SHUTDOWN_ACK_SENT"},
             {client, kClient, {{SHUTDOWN_COMPLETE}}, "SHUTDOWN_ACK_SENT"}})},
    {"a SHUTDOWN COMPLETE ends nothing that is not being shut down",
     opened({{server, kClient, {{SHUTDOWN_COMPLETE}}, "ESTABLISHED"}})},
    {"every packet of the handshake twice",
     {{client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
      {client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
      {server, kClient, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
      {server, kClient, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
      {client, kServer, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
      {client, kServer, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
      {server, kClient, {{COOKIE_ACK}}, "ESTABLISHED"},
      {client, kServer, {{COOKIE_ECHO}}, "ESTABLISHED"},
      {server, kClient, {{COOKIE_ACK}}, "ESTABLISHED"}}},
    {"two INIT ACKs with different tags, and the client takes the first",
     {{client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
      {server, kClient, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
      {server, kClient, {{INIT_ACK, kOther}}, "COOKIE_WAIT"},
      {client, kServer, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
      {server, kClient, {{COOKIE_ACK}}, "ESTABLISHED"},
      {client, kServer, {{DATA}}, "ESTABLISHED"},
      {client, kOther, {{ABORT}}, "ESTABLISHED"},
      {client, kServer, {{ABORT}}, "CLOSED"}}},
    {"both open at once (section 5.2.1): the endpoint's cookie is the one that counts",
     {{client, 0, {{INIT, kClient}}, "COOKIE_WAIT"},
      {server, 0, {{INIT, kServer}}, "COOKIE_WAIT"},
      {client, kServer, {{INIT_ACK, kClient}}, "COOKIE_WAIT"},
      {server, kClient, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
      {client, kServer, {{COOKIE_ACK}}, "ESTABLISHED"}}},
    {"refused: the ABORT carries the tag of the INIT", begun(1, {{server, kClient, {{ABORT}}, "CLOSED"}})},
    {"refused, but under a tag that the client never chose", begun(1, {{server, kOther, {{ABORT}}, "COOKIE_WAIT"}})},
    {"refused without any tag",
     begun(1, {{server, 0, {{ABORT}}, "COOKIE_WAIT"}, {server, 0, {{ABORT, 0, true}}, "COOKIE_WAIT"}})},
    {"the cookie is refused", begun(3, {{server, kClient, {{ERROR}, {ABORT}}, "CLOSED"}})},
    {"the client gives up", begun(2, {{client, kServer, {{ABORT}}, "CLOSED"}})},
    {"section 8.5.1 A: an INIT with a tag", {{client, kOther, {{INIT, kClient}}, "NONE"}}},
    {"section 3.3.2: an INIT that asks for tag 0", {{client, 0, {{INIT, 0}}, "NONE"}}},
    {"a cookie before the INIT ACK is nobody's", begun(1, {{client, kServer, {{COOKIE_ECHO}}, "COOKIE_WAIT"}})},
    {"an INIT ACK under a tag that the client never chose does not answer",
     begun(1, {{server, kOther, {{INIT_ACK, kServer}}, "COOKIE_WAIT"},
               {client, kServer, {{COOKIE_ECHO}}, "COOKIE_WAIT"}})},
    {"a COOKIE ACK under another tag", begun(3, {{server, kOther, {{COOKIE_ACK}}, "COOKIE_ECHOED"}})},
    {"aborted by the client", opened({{client, kServer, {{ABORT}}, "CLOSED"}})},
    {"aborted by the endpoint", opened({{server, kClient, {{ABORT}}, "CLOSED"}})},
    {"aborted after other chunks of the packet", opened({{server, kClient, {{SACK}, {ERROR}, {ABORT}}, "CLOSED"}})},
    {"section 8.5.1 B: the endpoint has forgotten the association and reflects the tag",
     opened({{server, kServer, {{ABORT, 0, true}}, "CLOSED"}})},
    {"section 8.5.1 B: T bit and tag do not agree",
     opened({{server, kClient, {{ABORT, 0, true}}, "ESTABLISHED"}, {server, kServer, {{ABORT}}, "ESTABLISHED"}})},
    {"a forged ABORT", opened({{client, kOther, {{ABORT}}, "ESTABLISHED"}, {client, 0, {{ABORT}}, "ESTABLISHED"}})},
    {"a forged SHUTDOWN",
     opened({{client, kOther, {{SHUTDOWN}}, "ESTABLISHED"}, {server, kServer, {{SHUTDOWN}}, "ESTABLISHED"}})},
    {"a forged INIT prepares no ABORT", opened({{client, 0, {{INIT, kOther}}, "ESTABLISHED"},
                                                {server, kOther, {{ABORT}}, "ESTABLISHED"},
                                                {server, kClient, {{ABORT}}, "CLOSED"}})},
    {"a forged cookie takes the place of none",
     opened({{client, kOther, {{COOKIE_ECHO}}, "ESTABLISHED"}, {client, kOther, {{ABORT}}, "ESTABLISHED"}})},
    {"a forged cookie during the handshake teaches no tag",
     begun(2, {{client, kOther, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
               {client, kOther, {{ABORT}}, "COOKIE_ECHOED"},
               {client, kServer, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
               {server, kClient, {{COOKIE_ACK}}, "ESTABLISHED"},
               {client, kServer, {{SHUTDOWN}}, "SHUTDOWN_SENT"}})},
    {"section 5.2.4 A: the client has restarted and begins anew on the same ports",
     opened({{client, 0, {{INIT, 77}}, "ESTABLISHED"},
             {server, 77, {{INIT_ACK, 88}}, "ESTABLISHED"},
             {client, 88, {{COOKIE_ECHO}}, "COOKIE_ECHOED"},
             {server, kClient, {{COOKIE_ACK}}, "COOKIE_ECHOED"},
             {server, 77, {{COOKIE_ACK}}, "ESTABLISHED"},
             {client, kServer, {{ABORT}}, "ESTABLISHED"},
             {client, 88, {{ABORT}}, "CLOSED"}})},
    {"nothing revives a closed association: limpet begins another",
     opened({{client, kServer, {{ABORT}}, "CLOSED"},
             {server, kClient, {{DATA}}, "CLOSED"},
             {client, 0, {{INIT, kOther}}, "CLOSED"},
             {client, kServer, {{COOKIE_ECHO}}, "CLOSED"}})},
};

TEST(SctpState, EveryLife) {
  for (const Life& life : kLives) {
    SCOPED_TRACE(life.name);
    SctpTracker tracker;
    for (std::size_t i = 0; i < life.steps.size(); ++i) {
      const Step& step = life.steps[i];
      tracker.see(Packet(step.tag, step.chunks).view, step.from);
      EXPECT_EQ(to_string(tracker.state()), step.state) << "after packet " << i;
    }
  }
}

SctpTracker after(const std::vector<Step>& steps) {
  SctpTracker tracker;
  for (const Step& step : steps) tracker.see(Packet(step.tag, step.chunks).view, step.from);
  return tracker;
}
std::string_view state_after(SctpTracker tracker, Direction from, std::uint32_t tag, const std::vector<Chunk>& chunks) {
  tracker.see(Packet(tag, chunks).view, from);
  return to_string(tracker.state());
}

TEST(SctpState, AdoptedInTheMiddle) {
  SctpTracker tracker;
  tracker.adopt();
  EXPECT_EQ(tracker.state(), SctpState::heartbeat_sent);
  EXPECT_EQ(state_after(tracker, server, kClient, {{ABORT}}), "HEARTBEAT_SENT") << "no tag is known yet: none is right";
  tracker.see(Packet(kServer, {{DATA}}).view, client);
  EXPECT_EQ(tracker.state(), SctpState::heartbeat_sent);
  EXPECT_EQ(state_after(tracker, server, kServer, {{ABORT, 0, true}}), "CLOSED") << "the endpoint knows it no more";
  tracker.see(Packet(kClient, {{SACK}}).view, server);
  EXPECT_EQ(tracker.state(), SctpState::established);
  EXPECT_EQ(state_after(tracker, client, kOther, {{ABORT}}), "ESTABLISHED") << "the first tags seen are the right ones";
  EXPECT_EQ(state_after(tracker, client, kServer, {{SHUTDOWN}}), "SHUTDOWN_SENT");
  EXPECT_EQ(state_after(tracker, server, kClient, {{ABORT}}), "CLOSED");
}

TEST(SctpState, WhatIsCutOffIsNotBelieved) {
  struct Cut {
    std::string name;
    std::vector<Step> before;
    Direction from;
    std::uint32_t tag;
    std::vector<Chunk> chunks;
    std::size_t size;
    std::string_view state;
  };
  for (const Cut& c : std::vector<Cut>{
           {"an INIT with all of its tag", {}, client, 0, {{INIT, kClient}}, 20, "COOKIE_WAIT"},
           {"an INIT without the end of its tag", {}, client, 0, {{INIT, kClient}}, 19, "NONE"},
           {"an INIT without its chunk header", {}, client, 0, {{INIT, kClient}}, 15, "NONE"},
           {"no common header", {}, client, 0, {{INIT, kClient}}, 11, "NONE"},
           {"an ABORT behind data, whole", opened({}), client, kServer, {{DATA}, {ABORT}}, 40, "CLOSED"},
           {"an ABORT behind data, cut off", opened({}), client, kServer, {{DATA}, {ABORT}}, 39, "ESTABLISHED"},
           {"an ABORT behind data that is cut off",
            opened({}),
            client,
            kServer,
            {{DATA}, {ABORT}},
            30,
            "ESTABLISHED"}}) {
    SCOPED_TRACE(c.name);
    SctpTracker tracker = after(c.before);
    Packet packet(c.tag, c.chunks);
    packet.cut(c.size);
    tracker.see(packet.view, c.from);
    EXPECT_EQ(to_string(tracker.state()), c.state);
  }
}

TEST(SctpState, AChunkOfNoLengthEndsTheWalk) {
  SctpTracker tracker = after(opened({}));
  Packet packet(kServer, {{DATA}, {ABORT}});
  packet.view.bytes[12 + 3] = std::byte{0};  // the length of DATA
  packet.view.bytes[12 + 2] = std::byte{0};
  tracker.see(packet.view, client);
  EXPECT_EQ(tracker.state(), SctpState::established);
}

TEST(SctpState, OnlyWhoHasTheCookieIsProved) {
  const Packet cookie(kServer, {{COOKIE_ECHO}}), guessed(kOther, {{COOKIE_ECHO}}), data(kServer, {{DATA}});
  const Packet accepted(kServer, {{COOKIE_ACK}}), blank(0, {{COOKIE_ECHO}});
  const SctpTracker waiting = after(begun(1, {}));
  EXPECT_FALSE(waiting.proves_client(cookie.view)) << "the endpoint has not answered";
  EXPECT_FALSE(waiting.proves_client(blank.view));
  const SctpTracker answered = after(begun(2, {}));
  EXPECT_TRUE(answered.proves_client(cookie.view));
  EXPECT_TRUE(answered.proves_client(accepted.view)) << "of both opening at once";
  EXPECT_FALSE(answered.proves_client(guessed.view));
  EXPECT_FALSE(answered.proves_client(data.view)) << "no cookie";
  // As the pipeline asks: of a packet that see() knows.
  EXPECT_TRUE(after(begun(3, {})).proves_client(cookie.view));
  EXPECT_FALSE(after(begun(2, {{client, kOther, {{COOKIE_ECHO}}, ""}})).proves_client(guessed.view));
  EXPECT_TRUE(after(opened({})).proves_client(data.view)) << "the endpoint has taken the cookie";
  SctpTracker adopted;
  adopted.adopt();
  adopted.see(cookie.view, client);
  adopted.see(Packet(kClient, {{SACK}}).view, server);
  EXPECT_FALSE(adopted.proves_client(cookie.view)) << "it may have made up the tag";
}

TEST(SctpState, OpeningUntilTheEndpointAnswers) {
  EXPECT_FALSE(SctpTracker().opening());
  EXPECT_TRUE(after(begun(1, {})).opening());
  EXPECT_FALSE(after(begun(2, {})).opening());
  EXPECT_FALSE(after(begun(3, {})).opening());
  EXPECT_FALSE(after(begun(1, {{server, kClient, {{ABORT}}, ""}})).opening());
}

struct Property {
  std::string_view state;
  std::vector<Step> steps;
  std::int64_t seconds;  // /proc/sys/net/netfilter/nf_conntrack_sctp_timeout_* of Linux 6.18
  bool over;
  bool half_open;
};

const std::vector<Property> kProperties{
    {"CLOSED", opened({{client, kServer, {{ABORT}}, ""}}), 10, true, true},
    {"COOKIE_WAIT", begun(2, {}), 3, false, true},
    {"COOKIE_ECHOED", begun(3, {}), 3, false, true},
    {"ESTABLISHED", opened({}), 210, false, false},
    {"SHUTDOWN_SENT", opened({{client, kServer, {{SHUTDOWN}}, ""}}), 3, false, false},
    {"SHUTDOWN_RECD", opened({{server, kClient, {{SHUTDOWN}}, ""}}), 3, false, false},
    {"SHUTDOWN_ACK_SENT", opened({{client, kServer, {{SHUTDOWN}}, ""}, {server, kClient, {{SHUTDOWN_ACK}}, ""}}), 3,
     false, false},
};

TEST(SctpState, TimeoutsAndStandingByState) {
  for (const Property& property : kProperties) {
    SCOPED_TRACE(property.state);
    Flow flow;
    flow.start(net::Protocol::sctp);
    for (const Step& step : property.steps) flow.see(Packet(step.tag, step.chunks).view, step.from);
    EXPECT_EQ(to_string(flow.sctp.state()), property.state);
    EXPECT_TRUE(flow.replied);
    EXPECT_EQ(flow.over(), property.over);
    EXPECT_EQ(flow.half_open(), property.half_open);
    flow.touch({}, Instant{Milliseconds{7}});
    EXPECT_EQ(flow.deadline, Instant{Milliseconds{7 + property.seconds * 1000}});

    Timeouts timeouts;  // each its own value: the one of the state's name is taken
    std::int64_t value = 1, expected = 0;
    for (const Timeouts::Field& field : Timeouts::fields()) timeouts.*field.member = Seconds{value++};
    std::string name = "sctp_";
    for (const char c : property.state) name += static_cast<char>(c == '_' ? c : c | 0x20);
    for (const Timeouts::Field& field : Timeouts::fields()) {
      if (field.name == name) expected = (timeouts.*field.member).count();
    }
    EXPECT_EQ(flow.sctp.timeout(timeouts).count(), expected);
  }
}

TEST(SctpState, TimeoutOfAnAdoptedAssociation) {
  Flow flow;
  flow.start(net::Protocol::sctp);
  flow.adopt();
  flow.see(Packet(kServer, {{HEARTBEAT}}).view, client);
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{30}}) << "nf_conntrack_sctp_timeout_heartbeat_sent";
  EXPECT_TRUE(flow.half_open());
  flow.see(Packet(kClient, {{HEARTBEAT_ACK}}).view, server);
  flow.touch({}, Instant{});
  EXPECT_EQ(flow.deadline, Instant{Seconds{210}});
  EXPECT_FALSE(flow.half_open());
}

}  // namespace
}  // namespace limpet::flow
