// The program itself on a node of its own: who may change the rules, and what becomes of them when something fails.
//
//   ifa 10.1.0.1 node 10.2.0.1 ──── 10.2.0.2 pod        VIP 10.96.0.1:80 UDP, nodePort 30080 → 10.2.0.2:53
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

constexpr const char* kConfig = "/run/limpet.yaml";
constexpr const char* kOtherQueues = "/run/other.yaml";
constexpr const char* kLog = "/run/limpet.log";
constexpr const char* kBroken = "/run/broken";  // while it is there, request rules cannot be installed
constexpr int kPatience = 5000;                 // ms

void write_file(const char* path, const std::string& text) {
  std::ofstream(path) << text;
}

std::string read_file(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool eventually(const std::function<bool()>& holds, int limit_ms = kPatience) {
  for (int waited = 0; waited < limit_ms; waited += 10) {
    if (holds()) return true;
    ::usleep(10'000);
  }
  return holds();
}

bool logged(const std::string& words) {
  return read_file(kLog).find(words) != std::string::npos;
}

std::string config(unsigned first_queue) {
  return "node: {name: node, addresses: []}\nqueues: {first: " + std::to_string(first_queue) +
         ", count: 1}\ndivert: {backend: iptables-nft}\nstop: remove\ntables: {flows: 1000, affinity: 1000}\n"
         "services:\n- name: a/b:c\n  clusterIP: 10.96.0.1\n  port: 80\n  nodePort: 30080\n  protocol: UDP\n"
         "  masquerade: never\n  endpoints: [{address: 10.2.0.2, port: 53}]\n";
}

/// `limpet ARGUMENTS`, its words on `output`; killed with the test at the latest.
pid_t start(std::vector<const char*> arguments, int output) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(output, STDERR_FILENO);
  arguments.insert(arguments.begin(), LIMPET_PROGRAM);
  arguments.push_back(nullptr);
  ::execv(LIMPET_PROGRAM, const_cast<char* const*>(arguments.data()));
  ::_exit(127);
}

/// Its exit status; -1 if a signal ended it.
int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

divert::Outcome limpet(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), LIMPET_PROGRAM);
  const auto outcome = divert::run(arguments);
  return outcome ? *outcome : divert::Outcome{127, "", outcome.error().message};
}

/// The lines of limpet's, without their counters.
std::string rules() {
  std::istringstream lines(must("iptables-nft-save"));
  std::string ours;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("-A") && line.find("LIMPET") != line.npos) ours += line + "\n";
  }
  return ours;
}

class Daemon : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    must("ip link add name ifa type veth peer name ifb");
    must("ip link set ifa up");
    must("ip addr add 10.1.0.1/24 dev ifa");
    write_file(kConfig, config(0));
    write_file(kOtherQueues, config(4) + "state: {path: none}\n");  // nothing in common but the namespace
    shadow_restore();
  }
  void TearDown() override {
    if (limpet_ > 0) ::kill(limpet_, SIGKILL), wait_for(limpet_);
  }

  /// An iptables-restore that fails at will.
  void shadow_restore() {
    const std::string real = must("which iptables-nft-restore");
    ASSERT_EQ(::mkdir("/run/bin", 0755), 0);
    write_file("/run/bin/iptables-nft-restore",
               "#!/bin/sh\nreal=" + real + "\n[ -e " + kBroken +
                   " ] || exec $real \"$@\"\ntext=$(cat)\n"
                   "case \"$text\" in *'-A LIMPET-PREROUTING'*) echo out of luck >&2; exit 4 ;; esac\n"
                   "printf '%s\\n' \"$text\" | $real \"$@\"\n");
    ASSERT_EQ(::chmod("/run/bin/iptables-nft-restore", 0755), 0);
    ::setenv("PATH", (std::string("/run/bin:") + std::getenv("PATH")).c_str(), 1);
  }

  void start_daemon() {
    const int log = ::open(kLog, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    limpet_ = start({"run", "-c", kConfig}, log);
    ::close(log);
    ASSERT_TRUE(eventually([] { return logged("ready:"); })) << read_file(kLog);
  }
  int stop_daemon() {
    ::kill(limpet_, SIGTERM);
    return wait_for(std::exchange(limpet_, -1));
  }

  pid_t limpet_ = -1;
};

TEST_F(Daemon, ASecondOneOnOtherQueuesRefuses) {
  start_daemon();
  const std::string before = rules();
  const auto second = limpet({"run", "-c", kOtherQueues});
  EXPECT_EQ(second.status, 4) << second.err;
  EXPECT_NE(second.err.find("another limpet runs in this network namespace"), std::string::npos) << second.err;
  EXPECT_EQ(rules(), before);
}

TEST_F(Daemon, RulesAreNotChangedByHandWhileOneRuns) {
  start_daemon();
  const std::string before = rules();
  for (const char* action : {"apply", "cleanup"}) {
    auto arguments = std::vector<std::string>{"divert", action};
    if (action == std::string("apply")) arguments.insert(arguments.end(), {"-c", kOtherQueues});
    const auto refused = limpet(arguments);
    EXPECT_EQ(refused.status, 4) << action;
    EXPECT_NE(refused.err.find("stop it first"), std::string::npos) << refused.err;
    EXPECT_EQ(rules(), before) << action;
  }
  EXPECT_EQ(stop_daemon(), 0);
  EXPECT_EQ(limpet({"divert", "apply", "-c", kConfig}).status, 0) << "the lock died with the process";
  EXPECT_EQ(limpet({"divert", "cleanup"}).status, 0);
  EXPECT_EQ(rules(), "");
}

TEST_F(Daemon, ALogThatNobodyReadsDoesNotEndIt) {
  std::array<int, 2> pipe;
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  limpet_ = start({"run", "-c", kConfig}, pipe[1]);
  ::close(pipe[1]);
  std::string text;
  for (char byte; text.find("ready:") == text.npos && ::read(pipe[0], &byte, 1) == 1;) text += byte;
  ::close(pipe[0]);
  ::kill(limpet_, SIGUSR1);
  EXPECT_EQ(stop_daemon(), 0);
  EXPECT_EQ(rules(), "");
}

TEST_F(Daemon, AFailedAdaptationIsTriedAgain) {
  start_daemon();
  write_file(kBroken, "");
  must("ip addr add 10.1.0.2/24 dev ifa");
  ASSERT_TRUE(eventually([] { return logged("will try again"); })) << read_file(kLog);
  ::unlink(kBroken);
  EXPECT_TRUE(eventually([] { return logged("rules adapted"); })) << read_file(kLog);
  EXPECT_NE(rules().find("-A LIMPET-PREROUTING -d 10.1.0.2/32"), std::string::npos) << rules();
}

TEST_F(Daemon, ABurstOfChangesDoesNotPutTheAdaptationOff) {
  start_daemon();
  bool adapted = false;
  for (int i = 0; i < 200 && !adapted; ++i) {  // 200 changes, 20 ms apart: less than the time that changes settle in
    must("ip addr add 10.3.0." + std::to_string(i) + "/32 dev ifa");
    adapted = eventually([] { return logged("rules adapted"); }, 20);
  }
  EXPECT_TRUE(adapted);
}

TEST_F(Daemon, AFailedApplyTakesBackItsOwnRules) {
  write_file(kBroken, "");
  const auto failed = limpet({"divert", "apply", "-c", kConfig});
  EXPECT_NE(failed.status, 0);
  EXPECT_NE(failed.err.find("out of luck"), std::string::npos) << failed.err;
  EXPECT_EQ(rules(), "");
}

TEST_F(Daemon, AFailedApplyLeavesTheRulesThatWereThere) {
  ASSERT_EQ(limpet({"divert", "apply", "-c", kConfig}).status, 0);
  const std::string before = rules();
  ASSERT_NE(before, "");
  write_file(kBroken, "");
  EXPECT_NE(limpet({"divert", "apply", "-c", kConfig}).status, 0);
  EXPECT_EQ(rules(), before);
}

TEST_F(Daemon, SaysThatTheNodeOwnsAVip) {
  must("ip addr add 10.96.0.1/32 dev lo");
  start_daemon();
  EXPECT_TRUE(logged("clusterIP 10.96.0.1 is also an address of this node")) << read_file(kLog);
}

TEST_F(Daemon, StartsOnANetworkThatIsDown) {
  must("ip link set lo down");
  must("ip link set ifa down");
  start_daemon();
  EXPECT_TRUE(logged("VIP 10.96.0.1")) << read_file(kLog);
  EXPECT_TRUE(logged("Network is down")) << read_file(kLog);
}

/// In namespace "pod": answers one datagram at port 53, 150 ms after it came. `came` becomes readable when it does.
pid_t start_slow_endpoint(int& came) {
  must("ip netns add pod");
  must("ip link add name to-pod type veth peer name eth0 netns pod");
  must("ip addr add 10.2.0.1/24 dev to-pod");
  must("ip link set to-pod up");
  must("ip -n pod addr add 10.2.0.2/24 dev eth0");
  must("ip -n pod link set eth0 up");
  must("ip -n pod route add default via 10.2.0.1");
  std::array<int, 2> pipe;
  EXPECT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setns(::open("/run/netns/pod", O_RDONLY | O_CLOEXEC), CLONE_NEWNET);
    const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {INADDR_ANY}, .sin_zero = {}};
    const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at);
    char text[8];
    socklen_t length = sizeof at;
    if (bound != 0 || ::write(pipe[1], "", 1) != 1) ::_exit(1);
    const ssize_t n = ::recvfrom(fd, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&at), &length);
    if (n < 0 || ::write(pipe[1], "", 1) != 1) ::_exit(1);
    ::usleep(150'000);
    ::_exit(::sendto(fd, text, static_cast<std::size_t>(n), 0, reinterpret_cast<const sockaddr*>(&at), length) != n);
  }
  ::close(pipe[1]);
  came = pipe[0];
  char byte;
  EXPECT_EQ(::read(came, &byte, 1), 1) << "the endpoint did not start";
  return child;
}

TEST_F(Daemon, AnAnswerUnderWayAtTheEndIsTranslated) {
  int came = -1;
  const pid_t endpoint = start_slow_endpoint(came);
  start_daemon();
  const int client = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in vip{.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {inet_addr("10.96.0.1")}, .sin_zero = {}};
  ASSERT_EQ(::connect(client, reinterpret_cast<const sockaddr*>(&vip), sizeof vip), 0) << std::strerror(errno);
  ASSERT_EQ(::send(client, "hello", 5, 0), 5);
  char text[8];
  ASSERT_EQ(::read(came, text, 1), 1);
  ::kill(limpet_, SIGTERM);
  pollfd entry{.fd = client, .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&entry, 1, kPatience), 1) << "no answer";
  EXPECT_EQ(::recv(client, text, sizeof text, 0), 5);
  EXPECT_EQ(wait_for(std::exchange(limpet_, -1)), 0);
  EXPECT_EQ(wait_for(endpoint), 0);
  EXPECT_EQ(rules(), "");
  ::close(client);
  ::close(came);
}

}  // namespace
}  // namespace limpet::test
