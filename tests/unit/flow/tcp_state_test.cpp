// The life of TCP connections as tables: one row a segment, and the state that nf_conntrack documents after it
// (net/netfilter/nf_conntrack_proto_tcp.c, the table tcp_conntracks and the comments above it). Where limpet is
// stricter than the kernel the row cites the RFC.
#include "conntrack/flow/tcp_state.h"

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/packet_builder.h"
#include "tests/unit/flow/tcp_segments.h"

namespace limpet::flow {
namespace {

struct Life {
  std::string name;
  std::vector<Step> steps;
};

const std::vector<Life> kLives{
    {"client closes first", opened({
                                {client, "PA", 1001, 5001, "ESTABLISHED", 10},
                                {server, "PA", 5001, 1011, "ESTABLISHED", 20},
                                {client, "FA", 1011, 5021, "FIN_WAIT"},
                                {server, "A", 5021, 1012, "CLOSE_WAIT"},
                                {server, "FA", 5021, 1012, "LAST_ACK"},
                                {client, "A", 1012, 5022, "TIME_WAIT"},
                            })},
    {"endpoint closes first", opened({
                                  {server, "FA", 5001, 1001, "FIN_WAIT"},
                                  {client, "A", 1001, 5002, "CLOSE_WAIT"},
                                  {client, "FA", 1001, 5002, "LAST_ACK"},
                                  {server, "A", 5002, 1002, "TIME_WAIT"},
                              })},
    {"three segments close: the second FIN carries the acknowledgement", opened({
                                                                             {client, "FA", 1001, 5001, "FIN_WAIT"},
                                                                             {server, "FA", 5001, 1002, "LAST_ACK"},
                                                                             {client, "A", 1002, 5002, "TIME_WAIT"},
                                                                         })},
    {"simultaneous close: the FINs cross", opened({
                                               {client, "FA", 1001, 5001, "FIN_WAIT"},
                                               {server, "FA", 5001, 1001, "LAST_ACK"},
                                               {client, "A", 1002, 5002, "TIME_WAIT"},
                                               {server, "A", 5002, 1002, "TIME_WAIT"},
                                           })},
    {"half closed: data still flows towards who closed", opened({
                                                             {client, "FA", 1001, 5001, "FIN_WAIT"},
                                                             {server, "A", 5001, 1002, "CLOSE_WAIT"},
                                                             {server, "PA", 5001, 1002, "CLOSE_WAIT", 100},
                                                             {client, "A", 1002, 5101, "CLOSE_WAIT"},
                                                             {server, "FA", 5101, 1002, "LAST_ACK"},
                                                             {client, "A", 1002, 5102, "TIME_WAIT"},
                                                         })},
    {"an ACK of the side that closed does not acknowledge its own FIN", opened({
                                                                            {client, "FA", 1001, 5001, "FIN_WAIT"},
                                                                            {client, "A", 1002, 5001, "FIN_WAIT"},
                                                                        })},
    {"the endpoint's ACK does not complete the handshake",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {server, "A", 5001, 1001, "SYN_RECV"}}},
    {"SYN retransmitted", {{client, "S", 1000, 0, "SYN_SENT"}, {client, "S", 1000, 0, "SYN_SENT"}}},
    {"SYN|ACK retransmitted",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "S", 1000, 0, "SYN_RECV"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "A", 1001, 5001, "ESTABLISHED"}}},
    {"SYN|ACK and SYN late, when the connection stands", opened({
                                                             {server, "SA", 5000, 1001, "ESTABLISHED"},
                                                             {client, "S", 1000, 0, "ESTABLISHED"},
                                                         })},
    {"another SYN takes the place of one that came to nothing",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {client, "S", 900'000'000, 0, "SYN_SENT"},
      {server, "SA", 5000, 900'000'001, "SYN_RECV"},
      {client, "A", 900'000'001, 5001, "ESTABLISHED"}}},
    {"another SYN takes the place of one that was answered only",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "S", 900'000'000, 0, "SYN_SENT"},
      {server, "SA", 700'000'000, 900'000'001, "SYN_RECV"},
      {client, "A", 900'000'001, 700'000'001, "ESTABLISHED"}}},
    {"a SYN|ACK of the client answers nothing",
     {{client, "S", 1000, 0, "SYN_SENT"}, {client, "SA", 1000, 5001, "SYN_SENT"}}},
    {"first FIN retransmitted", opened({
                                    {client, "FA", 1001, 5001, "FIN_WAIT"},
                                    {client, "FA", 1001, 5001, "FIN_WAIT"},
                                    {server, "A", 5001, 1002, "CLOSE_WAIT"},
                                    {client, "FA", 1001, 5001, "CLOSE_WAIT"},
                                })},
    {"second FIN retransmitted: LAST_ACK + FIN = LAST_ACK", opened({
                                                                {client, "FA", 1001, 5001, "FIN_WAIT"},
                                                                {server, "FA", 5001, 1002, "LAST_ACK"},
                                                                {server, "FA", 5001, 1002, "LAST_ACK"},
                                                                {client, "A", 1002, 5002, "TIME_WAIT"},
                                                            })},
    {"FIN retransmitted in TIME_WAIT", opened({
                                           {client, "FA", 1001, 5001, "FIN_WAIT"},
                                           {server, "FA", 5001, 1002, "LAST_ACK"},
                                           {client, "A", 1002, 5002, "TIME_WAIT"},
                                           {server, "FA", 5001, 1002, "TIME_WAIT"},
                                           {client, "A", 1002, 5002, "TIME_WAIT"},
                                       })},
    {"FIN in place of the handshake's last ACK",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "FA", 1001, 5001, "FIN_WAIT"}}},
    {"refused: the RST acknowledges the SYN", {{client, "S", 1000, 0, "SYN_SENT"}, {server, "RA", 0, 1001, "CLOSE"}}},
    {"refused: with data in the SYN (RFC 7413), of which the RST acknowledges all",
     {{client, "S", 1000, 0, "SYN_SENT", 300}, {server, "RA", 0, 1301, "CLOSE"}}},
    {"RFC 9293 3.10.7.3: SEG.ACK =< ISS, the RST is dropped",
     {{client, "S", 1000, 0, "SYN_SENT"}, {server, "RA", 0, 1000, "SYN_SENT"}}},
    {"RFC 9293 3.10.7.3: SEG.ACK > SND.NXT, the RST is dropped",
     {{client, "S", 1000, 0, "SYN_SENT"}, {server, "RA", 0, 1002, "SYN_SENT"}}},
    {"RFC 9293 3.10.7.3: a RST without ACK is dropped in SYN-SENT",
     {{client, "S", 1000, 0, "SYN_SENT"}, {server, "R", 0, 1001, "SYN_SENT"}}},
    {"the client gives up", {{client, "S", 1000, 0, "SYN_SENT"}, {client, "R", 1001, 0, "CLOSE"}}},
    {"reset by the client at the sequence that the endpoint expects", opened({{client, "R", 1001, 0, "CLOSE"}})},
    {"reset by the endpoint at the sequence that the client expects", opened({{server, "RA", 5001, 1001, "CLOSE"}})},
    {"RFC 5961 3.2: a RST one below what is expected", opened({{server, "R", 5000, 0, "ESTABLISHED"}})},
    {"RFC 5961 3.2: a RST one above what is expected", opened({{server, "R", 5002, 0, "ESTABLISHED"}})},
    {"RFC 5961 3.2: a blind RST towards the endpoint", opened({{client, "R", 77777, 0, "ESTABLISHED"}})},
    {"the expected sequence moves with the acknowledgements", opened({
                                                                  {server, "PA", 5001, 1001, "ESTABLISHED", 500},
                                                                  {client, "A", 1001, 5501, "ESTABLISHED"},
                                                                  {server, "R", 5001, 0, "ESTABLISHED"},
                                                                  {server, "R", 5501, 0, "CLOSE"},
                                                              })},
    {"an abort with data under way: the RST follows what was sent, not what was acknowledged",
     opened({
         {server, "PA", 5001, 1001, "ESTABLISHED", 500},
         {server, "PA", 5501, 1001, "ESTABLISHED", 500},
         {server, "R", 6002, 0, "ESTABLISHED"},
         {server, "R", 6001, 0, "CLOSE"},
     })},
    {"a forged segment does not prepare a RST: sequence out of reach",
     opened({
         {server, "A", 900'000'000, 1001, "ESTABLISHED"},
         {server, "R", 900'000'000, 0, "ESTABLISHED"},
     })},
    {"a forged segment does not prepare a RST: acknowledgement out of reach",
     opened({
         {client, "A", 1001, 900'000'000, "ESTABLISHED"},
         {server, "R", 900'000'000, 0, "ESTABLISHED"},
         {server, "A", 5'000'000, 900'000'000, "ESTABLISHED"},
         {server, "R", 5'000'000, 0, "ESTABLISHED"},
     })},
    {"a forged FIN closes nothing", opened({{client, "FA", 900'000'000, 900'000'000, "ESTABLISHED"}})},
    // An endpoint that answers with SYN cookies keeps no ISN: each retransmitted SYN may meet another.
    {"answered twice, the client takes the second",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "S", 1000, 0, "SYN_RECV"},
      {server, "SA", 900'005'000, 1001, "SYN_RECV"},
      {client, "A", 1001, 900'005'001, "ESTABLISHED"},
      {server, "PA", 900'005'001, 1001, "ESTABLISHED", 5},
      {client, "FA", 1001, 900'005'006, "FIN_WAIT"},
      {server, "FA", 900'005'006, 1002, "LAST_ACK"},
      {client, "A", 1002, 900'005'007, "TIME_WAIT"}}},
    {"answered twice, the client takes the first",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "S", 1000, 0, "SYN_RECV"},
      {server, "SA", 900'005'000, 1001, "SYN_RECV"},
      {client, "A", 1001, 5001, "ESTABLISHED"},
      {server, "PA", 5001, 1001, "ESTABLISHED", 5},
      {server, "R", 900'005'001, 0, "ESTABLISHED"},
      {server, "R", 5006, 0, "CLOSE"}}},
    {"8 MiB under way are within reach", opened({
                                             {server, "A", 5001 + (8u << 20) - 1, 1001, "ESTABLISHED", 500},
                                             {server, "R", 5001 + (8u << 20) + 499, 0, "CLOSE"},
                                         })},
    {"a blind RST in SYN_RECV",
     {{client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {server, "R", 7000, 0, "SYN_RECV"},
      {server, "R", 5001, 0, "CLOSE"}}},
    {"what a RST that is not believed acknowledges does not count", opened({
                                                                        {client, "RA", 7, 9000, "ESTABLISHED"},
                                                                        {server, "R", 9000, 0, "ESTABLISHED"},
                                                                        {server, "R", 5001, 0, "CLOSE"},
                                                                    })},
    {"reset in FIN_WAIT", opened({{client, "FA", 1001, 5001, "FIN_WAIT"}, {server, "R", 5001, 0, "CLOSE"}})},
    {"reset in TIME_WAIT", opened({
                               {client, "FA", 1001, 5001, "FIN_WAIT"},
                               {server, "FA", 5001, 1002, "LAST_ACK"},
                               {client, "A", 1002, 5002, "TIME_WAIT"},
                               {client, "R", 1002, 0, "CLOSE"},
                           })},
    {"nothing revives a closed connection: limpet begins another", opened({
                                                                       {client, "R", 1001, 0, "CLOSE"},
                                                                       {server, "PA", 5001, 1001, "CLOSE", 5},
                                                                       {server, "FA", 5006, 1001, "CLOSE"},
                                                                       {client, "A", 1001, 5001, "CLOSE"},
                                                                   })},
};

TEST(TcpState, EveryLife) {
  for (const Life& life : kLives) {
    SCOPED_TRACE(life.name);
    TcpTracker tracker;
    for (std::size_t i = 0; i < life.steps.size(); ++i) {
      const Step& step = life.steps[i];
      tracker.see(segment(step.flags, step.sequence, step.acknowledgement, step.payload), step.from);
      EXPECT_EQ(to_string(tracker.state()), step.state) << "after segment " << i << " (" << step.flags << ")";
    }
  }
}

TEST(TcpState, AdoptedInTheMiddle) {
  TcpTracker tracker;
  tracker.adopt();
  EXPECT_EQ(tracker.state(), TcpState::established);
  // The first segment that passes by sets what is expected; before it, nothing is known and a RST is believed.
  tracker.see(segment("PA", 40, 70, 3), client);
  tracker.see(segment("R", 71), server);
  EXPECT_EQ(tracker.state(), TcpState::established);
  tracker.see(segment("R", 70), server);
  EXPECT_EQ(tracker.state(), TcpState::close);

  TcpTracker silent;
  silent.adopt();
  silent.see(segment("R", 12345), server);
  EXPECT_EQ(silent.state(), TcpState::close);
}

TEST(TcpState, SequenceNumbersWrap) {
  TcpTracker tracker = after({{client, "S", 0xffffffff, 0, "SYN_SENT"}, {server, "SA", 0xffffffff, 0, "SYN_RECV"}});
  EXPECT_EQ(tracker.state(), TcpState::syn_recv);
  EXPECT_TRUE(tracker.proves_client(segment("A", 0, 0)));  // 0xffffffff + 1
  TcpTracker refused = after({{client, "S", 0xffffffff, 0, "SYN_SENT"}, {server, "RA", 0, 0, "CLOSE"}});
  EXPECT_EQ(refused.state(), TcpState::close);
}

TEST(TcpState, OnlyTheAnswerToTheEndpointsSynProvesTheClient) {
  const TcpTracker waiting = after({{client, "S", 1000, 0, "SYN_SENT"}});
  EXPECT_FALSE(waiting.proves_client(segment("A", 1001, 1))) << "nothing to prove yet, not even ISN 0";
  const TcpTracker answered = after({{client, "S", 1000, 0, ""}, {server, "SA", 5000, 1001, ""}});
  EXPECT_TRUE(answered.proves_client(segment("A", 1001, 5001)));
  EXPECT_TRUE(answered.proves_client(segment("PA", 1001, 5001, 9)));
  EXPECT_FALSE(answered.proves_client(segment("A", 1001, 5000))) << "ISN itself";
  EXPECT_FALSE(answered.proves_client(segment("A", 1001, 5002)));
  EXPECT_FALSE(answered.proves_client(segment("P", 1001, 5001))) << "the field means nothing without ACK";
}

TEST(TcpState, ForeignSynAck) {
  const net::PacketView answer = segment("SA", 5000, 1001);
  const TcpTracker waiting = after({{client, "S", 1000, 0, ""}});
  EXPECT_FALSE(waiting.is_foreign(answer)) << "the answer that is waited for";
  EXPECT_TRUE(waiting.is_foreign(segment("SA", 5000, 1002))) << "it acknowledges what was never sent";
  EXPECT_TRUE(waiting.is_foreign(segment("SA", 5000, 900'000))) << "another connection's";
  const TcpTracker with_data = after({{client, "S", 1000, 0, "", 300}});
  EXPECT_FALSE(with_data.is_foreign(segment("SA", 5000, 1301))) << "RFC 7413: the data in the SYN taken";
  EXPECT_FALSE(with_data.is_foreign(answer)) << "RFC 7413: the data in the SYN refused";
  const TcpTracker answered = after({{client, "S", 1000, 0, ""}, {server, "SA", 5000, 1001, ""}});
  EXPECT_FALSE(answered.is_foreign(answer)) << "a retransmission";
  EXPECT_FALSE(answered.is_foreign(segment("SA", 6000, 1001))) << "SYN cookies: the same SYN answered once more";
  EXPECT_TRUE(answered.is_foreign(segment("SA", 6000, 900'000))) << "another connection's";
  const TcpTracker established = after(opened({}));
  EXPECT_FALSE(established.is_foreign(answer)) << "a retransmission";
  EXPECT_TRUE(established.is_foreign(segment("SA", 6000, 1001))) << "another connection's";
  EXPECT_FALSE(answered.is_foreign(segment("A", 6000, 1001))) << "no SYN|ACK";
  EXPECT_FALSE(answered.is_foreign(segment("S", 6000)));
  TcpTracker adopted;
  adopted.adopt();
  EXPECT_TRUE(adopted.is_foreign(answer)) << "it never sent a SYN";
  EXPECT_TRUE(after({{client, "S", 1000, 0, ""}, {client, "R", 1001, 0, ""}}).is_foreign(answer));
}

/// RFC 7323 section 2: a window of 65,535 units of 2^scale bytes may be under way.
TEST(TcpState, TheReachGrowsWithTheAnnouncedWindows) {
  struct Row {
    std::string name;
    unsigned client_scale, server_scale;
    std::uint32_t under_way;
    std::string_view state;  // after a RST that follows so many bytes
  };
  for (const Row& row : std::vector<Row>{{"no scale: 8 MiB", 0, 0, 8u << 20, "CLOSE"},
                                         {"no scale, beyond", 0, 0, (8u << 20) + 1, "ESTABLISHED"},
                                         {"the client's scale of 10", 10, 0, 65535u << 10, "CLOSE"},
                                         {"the endpoint's scale of 10", 7, 10, 65535u << 10, "CLOSE"},
                                         {"a scale of 10, beyond", 10, 10, (65535u << 10) + 1, "ESTABLISHED"},
                                         {"the largest", 14, 14, 65535u << 14, "CLOSE"},
                                         {"one too large counts as 14", 200, 0, 65535u << 14, "CLOSE"}}) {
    SCOPED_TRACE(row.name);
    TcpTracker tracker;
    const auto send = [&](Direction from, const char* flags, std::uint32_t sequence, std::uint32_t ack,
                          unsigned scale) {
      test::Bytes bytes = test::PacketBuilder()
                              .v4("10.0.0.1", "10.0.0.2")
                              .tcp(1, 2)
                              .flags(flags)
                              .seq(sequence)
                              .ack(ack)
                              .tcp_options({1, 3, 3, static_cast<std::uint8_t>(scale)})
                              .build();
      net::PacketView view;
      ASSERT_EQ(net::parse(bytes, view), net::ParseError::none);
      tracker.see(view, from);
    };
    send(client, "S", 1000, 0, row.client_scale);
    send(server, "SA", 5000, 1001, row.server_scale);
    send(client, "A", 1001, 5001, 0);
    tracker.see(segment("A", 5001 + row.under_way, 1001), server);
    tracker.see(segment("R", 5001 + row.under_way), server);
    EXPECT_EQ(to_string(tracker.state()), row.state);
  }
}

}  // namespace
}  // namespace limpet::flow
