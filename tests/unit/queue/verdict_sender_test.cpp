// How a batch of verdicts is cut into datagrams, seen from the other end of a socket pair.
#include "lb/queue/verdict_sender.h"

#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb/queue/message.h"

namespace limpet::queue {
namespace {

class Sender : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0); }
  void TearDown() override {
    for (const int end : ends) ::close(end);
  }
  /// Every datagram that has arrived.
  std::vector<std::string> received() {
    std::vector<std::string> all;
    std::string buffer(1 << 16, '\0');
    for (;;) {
      const ssize_t n = ::recv(ends[1], buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0) return all;
      all.push_back(buffer.substr(0, static_cast<std::size_t>(n)));
    }
  }
  int ends[2]{};
};

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_F(Sender, CutsByTheLimitInOrder) {
  struct Row {
    std::string name;
    std::vector<std::string> verdicts, datagrams;
  };
  for (const Row& row : std::vector<Row>{
           {"nothing", {}, {}},
           {"one", {"aaaa"}, {"aaaa"}},
           {"exactly the limit", {"aaaa", "bbbbbbbb"}, {"aaaabbbbbbbb"}},
           {"past the limit", {"aaaa", "bbbbbbbb", "cccc"}, {"aaaabbbbbbbb", "cccc"}},
           {"one above the limit alone", {"aaaa", "bbbbbbbbbbbbbbbb", "cccc"}, {"aaaa", "bbbbbbbbbbbbbbbb", "cccc"}}}) {
    SCOPED_TRACE(row.name);
    VerdictSender sender(ends[0], 12, 8);
    for (const std::string& verdict : row.verdicts) sender.add(bytes(verdict));
    EXPECT_EQ(sender.flush(), 0u);
    EXPECT_EQ(received(), row.datagrams);
    EXPECT_EQ(sender.flush(), 0u) << "a flush leaves nothing behind";
    EXPECT_TRUE(received().empty());
  }
}

TEST_F(Sender, AtMost1024VerdictsACall) {  // IOV_MAX
  VerdictSender sender(ends[0], std::size_t{1} << 20, 1025);
  const std::string verdict = "vvvv";
  for (int i = 0; i < 1025; ++i) sender.add(bytes(verdict));
  EXPECT_EQ(sender.flush(), 0u);
  std::vector<std::size_t> sizes;
  for (const std::string& datagram : received()) sizes.push_back(datagram.size());
  EXPECT_THAT(sizes, testing::ElementsAre(4096, 4));
}

TEST_F(Sender, CountsWhatTheSocketDoesNotTake) {
  VerdictSender sender(-1, 8, 8);
  const std::string verdict = "vvvv";
  for (int i = 0; i < 5; ++i) sender.add(bytes(verdict));
  EXPECT_EQ(sender.flush(), 5u);
  EXPECT_EQ(sender.flush(), 0u);
}

// A sequenced-packet socket takes no datagram beyond its send buffer: EMSGSIZE, as netlink answers.
TEST_F(Sender, WhatIsTooLargeBecomesADropAndTheOthersGo) {
  const int small = 4096;
  ASSERT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  datapath::Verdict accept{.accept = true, .rewritten = true};
  std::vector<std::byte> room(kVerdictRoom + 20000), spare(kVerdictRoom + 100);
  Message large, normal;
  large.id = 7, large.packet.bytes = std::span(room).subspan(kVerdictRoom);
  normal.id = 8, normal.packet.bytes = std::span(spare).subspan(kVerdictRoom, 97);
  VerdictSender sender(ends[0], std::size_t{1} << 20, 8);
  sender.add(build_verdict(large, accept, 0));
  sender.add(build_verdict(normal, accept, 0));
  EXPECT_EQ(sender.flush(), 1u);
  const std::vector<std::string> all = received();
  ASSERT_EQ(all.size(), 2u);
  ASSERT_EQ(all[0].size(), 32u) << "nlmsghdr 16, nfgenmsg 4, attribute 4 + 8";
  EXPECT_EQ(all[0].substr(24, 8), std::string("\0\0\0\0\0\0\0\7", 8)) << "NF_DROP 0, id 7";
  EXPECT_EQ(all[0][0], 32) << "nlmsg_len";
  EXPECT_EQ(all[1].size(), 36u + 100u);
}

}  // namespace
}  // namespace limpet::queue
