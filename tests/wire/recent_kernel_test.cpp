// The kernel's own `recent` lists, in a network of the test's own: what a rule writes there is read with its
// age.
#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb/rules/jiffies.h"
#include "lb/rules/recent_file.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::rules {
namespace {

using flow::Instant;
using flow::Milliseconds;
using test::Privilege;
using testing::AllOf;
using testing::Ge;
using testing::Le;
using testing::SizeIs;

// One's own thread's: this process entered its network after it was started.
const char* const kFolder = "/proc/thread-self/net/xt_recent";

class RecentKernel : public testing::TestWithParam<Privilege> {};

/// A datagram to this address, which a rule makes an entry of.
void send_to(const std::string& address) {
  const bool v6 = address.find(':') != std::string::npos;
  sockaddr_in to_v4{};
  sockaddr_in6 to_v6{};
  to_v4.sin_family = AF_INET;
  to_v6.sin6_family = AF_INET6;
  to_v4.sin_port = to_v6.sin6_port = htons(9);
  ::inet_pton(AF_INET, address.c_str(), &to_v4.sin_addr);
  ::inet_pton(AF_INET6, address.c_str(), &to_v6.sin6_addr);
  const int socket = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto* const to = v6 ? reinterpret_cast<sockaddr*>(&to_v6) : reinterpret_cast<sockaddr*>(&to_v4);
  EXPECT_EQ(::sendto(socket, "", 0, 0, to, v6 ? sizeof to_v6 : sizeof to_v4), 0) << address;
  ::close(socket);
}

TEST_P(RecentKernel, EntriesAreReadWithTheirAges) {
  if (const std::string reason = test::enter_private_network(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  for (const char* const command : {"iptables", "ip6tables"}) {
    test::must(std::string(command) + " -w -A OUTPUT -p udp --dport 9 -m recent --set --rdest --name KUBE-SEP-X");
  }
  test::must("ip link set lo up");
  const Instant before = flow::now();
  send_to("127.0.0.1");
  send_to("::1");
  const Instant stamped = flow::now();
  std::this_thread::sleep_for(Milliseconds(120));  // the age to be measured
  send_to("127.0.0.2");

  const Instant read = flow::now();
  const auto lists = read_recent(kFolder, "KUBE-SEP-");
  const auto jiffies = read_jiffies();
  const Instant after = flow::now();
  ASSERT_TRUE(lists) << lists.error().message;
  ASSERT_TRUE(jiffies) << jiffies.error().message;
  ASSERT_THAT(*lists, SizeIs(1));
  ASSERT_THAT(lists->front().errors, SizeIs(0));
  ASSERT_THAT(lists->front().entries, SizeIs(3));

  // A stamp and `now` are each up to a tick behind. Calculated instead of read, `now` is ahead by what the tick began
  // later than the clock in booting: no more than a second is thought of here.
  const Milliseconds tick(1000 / jiffies->per_second + 1);
  const Milliseconds ahead(jiffies->exact ? 0 : 1000);
  for (const RecentEntry& entry : lists->front().entries) {
    const bool last = entry.source == *net::Address::parse("127.0.0.2");
    const Milliseconds least = last ? Milliseconds(0) : read - stamped - tick;
    const Milliseconds most = (last ? after - stamped : after - before) + tick + ahead;
    EXPECT_THAT(jiffies->age(entry.last_seen).count(), AllOf(Ge(least.count()), Le(most.count())))
        << entry.source.to_string() << ", HZ " << jiffies->per_second << (jiffies->exact ? "" : ", calculated");
  }
}

// What is calculated, where /proc/timer_list cannot be read, is what can be read.
TEST(RecentKernelClock, CalculatedJiffiesAgreeWithTheKernels) {
  const auto jiffies = read_jiffies();
  ASSERT_TRUE(jiffies) << jiffies.error().message;
  if (!jiffies->exact) GTEST_SKIP() << "/proc/timer_list cannot be read";
  const auto boot = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch());
  const std::uint64_t calculated = jiffies_after(static_cast<std::uint64_t>(boot.count()), jiffies->per_second);
  EXPECT_GE(calculated + 1, jiffies->now);
  EXPECT_LE(calculated - jiffies->now, jiffies->per_second * 5U);
  std::cout << "the clock is " << (calculated - jiffies->now) * 1000 / jiffies->per_second
            << " ms ahead of the ticks\n";
}

INSTANTIATE_TEST_SUITE_P(Privileges, RecentKernel, testing::Values(Privilege::as_is, Privilege::rootless),
                         [](const auto& parameter) {
                           return parameter.param == Privilege::as_is ? "root" : "rootless";
                         });

}  // namespace
}  // namespace limpet::rules
