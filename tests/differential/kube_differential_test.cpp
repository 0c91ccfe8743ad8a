// kube-proxy's own rules, three ways: by the kernel, by limpet rule by rule, by limpet compiled. Connection by connection.
//
//   client ─ connect ─▶ VIP ─ nat OUTPUT: KUBE-SERVICES ▸ KUBE-SVC ▸ KUBE-SEP ─▶ endpoint, as the listener sees it
//
//   known client   both of limpet's walks say that it is, and where it belongs: the kernel must send it there
//   new client     the kernel chooses. Limpet's walks get random numbers with which they choose alike, so that all three
//                  remember the same from then on
//   counters       each rule has matched as often in the kernel as in either walk: nobody was known to one alone
//   shares         further new clients, of each of the three: chi-square against the product of the rules' probabilities
//
// Programs: the seed's dump, and generated ones of 2 to 500 endpoints. A false alarm is rarer than 1e-6.
// LIMPET_KUBE_SEED draws other clients.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb/rules/chains.h"
#include "lb/rules/completion.h"
#include "lb/rules/ruleset_text.h"
#include "tests/support/chi_square.h"
#include "tests/support/kube_rules.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::rules::differential {
namespace {

using limpet::test::Privilege;
using limpet::test::Shares;
using limpet::test::Tally;

constexpr double kFalseAlarm = 1e-6 / 64;     // of one comparison of shares: there are fewer than 64
constexpr std::size_t kExpected = 20;         // times that each endpoint is expected in one,
constexpr std::size_t kMostOfKernel = 4000;   // by so many connections of the kernel at most
constexpr std::uint32_t kTicks = 250;         // a second, of limpet's side
constexpr std::uint16_t kFirstPort = 10'000;  // of clients: no connection has the tuple of another
constexpr std::uint16_t kPorts = 50'000;

/// What runs, and who connects.
struct Program {
  std::string name;
  std::string text;  // a whole table
  std::vector<std::string> destinations;
  std::string balancing;     // the chain whose probabilities are the shares of destinations[0]
  std::string clients;       // "10.120.": pods, which are not masqueraded
  std::uint64_t known = 60;  // clients that come again and again
  std::uint64_t events = 300;
  std::chrono::milliseconds pause{0};  // in the middle: longer than affinity lasts
};

std::string dotted(std::uint64_t i) {
  return std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
}

/// What iptables-save prints of these rules: chains are declared before rules jump to them.
std::string saved(const std::string& text) {
  ReadRuleset read = parse_ruleset(text);
  for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
  complete(read.rules);
  return print(read.rules, Spelling::as_saved);
}

Program generated(int endpoints, int seconds = 10800) {
  Program program;
  program.name = std::to_string(endpoints) + " endpoints, " + std::to_string(seconds) + " s";
  program.text = saved(limpet::test::kube_rules(1, endpoints, seconds));
  program.destinations = {limpet::test::kube_service(0) + ":80", "10.128.0.5:30000"};
  program.balancing = "KUBE-SVC-0";
  program.clients = "10.120.";
  if (endpoints == 2) {  // more clients than two lists hold
    program.known = 300;
    program.events = 1000;
  }
  if (seconds < 10) program.pause = std::chrono::milliseconds(seconds * 1000 + 500);
  return program;
}

Program seed() {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  const std::string dump((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return {.name = "the seed's dump",
          .text = saved(dump),
          .destinations = {"10.31.240.99:80", "10.128.0.5:31332"},
          .balancing = "KUBE-SVC-TLHPL6Z5YI33DALW",
          .clients = "10.29."};
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { ::close(fd_); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

sockaddr_in to_sockaddr(const net::AddressPort& end) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(end.port);
  std::memcpy(&address.sin_addr, end.address.bytes().data(), sizeof address.sin_addr);
  return address;
}

/// The kernel's side: every address of 10.0.0.0/8 is here, so that clients, VIPs, and endpoints are.
class Kernel {
 public:
  explicit Kernel(std::string backend) : backend_(std::move(backend)) {
    limpet::test::must("ip link set lo up");
    limpet::test::must("ip addr add 10.128.0.5/32 dev lo");
    limpet::test::must("ip route add local 10.0.0.0/8 dev lo");
    listen(low_listener_, 80);
    listen(high_listener_, 8080);
  }

  void load(const std::string& text) {
    const auto loaded = divert::run({"iptables-" + backend_ + "-restore"}, text);
    ASSERT_TRUE(loaded && loaded->ok()) << (loaded ? loaded->err : loaded.error().message);
  }
  /// Where a new connection comes out: "10.28.8.6:80".
  std::string connect(const net::Tuple& tuple, std::uint16_t endpoint_port) {
    const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    const linger reset{1, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    const sockaddr_in from = to_sockaddr(tuple.source), to = to_sockaddr(tuple.destination);
    EXPECT_EQ(::bind(client.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from), 0) << tuple.to_string();
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << tuple.to_string();
    if (testing::Test::HasFailure()) return "";
    const int listener = endpoint_port == 80 ? low_listener_.get() : high_listener_.get();
    const Fd accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    sockaddr_in here{};
    socklen_t size = sizeof here;
    EXPECT_EQ(::getsockname(accepted.get(), reinterpret_cast<sockaddr*>(&here), &size), 0);
    return net::AddressPort{net::Address::from_v4(ntohl(here.sin_addr.s_addr)), ntohs(here.sin_port)}.to_string();
  }
  Tally counters() const {
    const auto saved = divert::run({"iptables-" + backend_ + "-save", "-c", "-t", "nat"});
    EXPECT_TRUE(saved && saved->ok());
    Tally counts;
    const Ruleset rules = parse_ruleset(saved->out).rules;
    for (const Chain& chain : rules.find(Table::nat)->chains) {
      for (std::size_t i = 0; i < chain.rules.size(); ++i) {
        const auto packets = chain.rules[i].counters.value_or(Counters{}).packets;
        if (packets != 0) counts[chain.name + ":" + std::to_string(i + 1)] = packets;
      }
    }
    return counts;
  }

 private:
  static void listen(const Fd& socket, std::uint16_t port) {
    const sockaddr_in any = to_sockaddr({net::Address(), port});
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(socket.get(), 16), 0);
  }

  std::string backend_;
  Fd low_listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  Fd high_listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

const node::NodeView& node_view() {
  static const node::NodeView view(
      {{.interface = 1, .address = *net::Address::parse("10.128.0.5"), .prefix_length = 32}}, {}, {{1, "lo"}});
  return view;
}

/// Limpet's side, by one of its two ways.
class Walks {
 public:
  Walks(const std::string& text, bool compiled) : memory_({.per_second = kTicks}, NthOnReload::reset) {
    ReadRuleset read = parse_ruleset(text);
    for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
    program_ = link(std::move(read.rules), memory_, {.compiled = compiled});
    for (const auto& error : program_.errors) ADD_FAILURE() << store::to_string(error);
  }

  struct Outcome {
    std::string endpoint;
    bool known = false;
    friend bool operator==(const Outcome&, const Outcome&) = default;
  };
  /// What would happen with these random numbers.
  Outcome peek(const net::Tuple& tuple, std::uint64_t now, pick::Rng& rng) { return walk(tuple, {now, rng, true}); }
  /// It happens, with whatever random numbers lead to this endpoint.
  void follow(const net::Tuple& tuple, std::uint64_t now, const std::string& endpoint) {
    for (std::uint64_t seed = 0; seed < 100'000; ++seed) {
      pick::Rng rng(seed), again(seed);
      if (peek(tuple, now, rng).endpoint != endpoint) continue;
      hits_.clear();
      walk(tuple, {now, again}, &hits_);
      for (const Hit& hit : hits_) ++counters_[*hit.chain + ":" + std::to_string(hit.number)];
      return;
    }
    ADD_FAILURE() << "no random numbers lead " << tuple.to_string() << " to " << endpoint;
  }
  const Tally& counters() const { return counters_; }

 private:
  Outcome walk(const net::Tuple& tuple, const Moment& moment, std::vector<Hit>* hits = nullptr) {
    Facts facts{.tuple = tuple, .out_interface = "lo", .ttl = 64, .node = &node_view()};
    const auto walk = program_.find(Table::nat)->walk("OUTPUT", facts, moment, hits);
    const auto* const dnat = walk && walk->by != nullptr ? std::get_if<Dnat>(&walk->by->target) : nullptr;
    if (dnat == nullptr) return {};
    return {net::AddressPort{dnat->to.addresses->first, dnat->to.ports->first}.to_string(), walk->known};
  }

  RuleMemory memory_;
  LinkedRuleset program_;
  Tally counters_;
  std::vector<Hit> hits_;
};

/// By the probabilities of the chain's rules, each of those that come so far; the last one takes the rest.
Shares shares_of(const Ruleset& rules, const std::string& chain) {
  const TableRules& nat = *rules.find(Table::nat);
  Shares shares;
  double left = 1;
  for (const Rule& rule : nat.find(chain)->rules) {
    const bool asks = std::any_of(rule.matches.begin(), rule.matches.end(), [](const Match& match) {
      return std::holds_alternative<affinity::RecentMatch>(match);
    });
    const auto* const jump = std::get_if<Jump>(&rule.target);
    if (asks || jump == nullptr || jump->chain == "KUBE-MARK-MASQ") continue;
    double probability = 1;
    for (const Match& match : rule.matches) {
      const auto* const random = std::get_if<RandomMatch>(&match);
      if (random != nullptr) probability = static_cast<double>(random->threshold) / RandomMatch::kAlways;
    }
    const Dnat& dnat = std::get<Dnat>(nat.find(jump->chain)->rules.back().target);
    shares[net::AddressPort{dnat.to.addresses->first, dnat.to.ports->first}.to_string()] = left * probability;
    left *= 1 - probability;
  }
  return shares;
}

std::uint64_t now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) * kTicks /
         1000;
}

/// One program's life, three times at once.
class Comparison {
 public:
  Comparison(Kernel& kernel, const Program& program, std::uint64_t seed)
      : kernel_(kernel), program_(program), literal_(program.text, false), compiled_(program.text, true), rng_(seed) {}

  void run() {
    const Ruleset rules = parse_ruleset(program_.text).rules;
    shares_ = shares_of(rules, program_.balancing);
    endpoint_port_ = net::AddressPort::parse(shares_.begin()->first)->port;
    kernel_.load(program_.text);
    if (testing::Test::HasFailure()) return;
    for (std::uint64_t i = 0; i < program_.events && !testing::Test::HasFailure(); ++i) {
      if (i == program_.events / 2) std::this_thread::sleep_for(program_.pause);
      step(rng_.uniform(program_.known));
    }
    if (!testing::Test::HasFailure()) compare_counters();
    if (!testing::Test::HasFailure()) compare_shares();
    kernel_.load("*nat\nCOMMIT\n");
    std::cout << program_.name << ": " << known_ << " connections of known clients, " << new_
              << " of new ones; shares of " << sample()
              << " more; mismatches: " << (testing::Test::HasFailure() ? "see above" : "0") << "\n";
    const bool forgets = program_.pause.count() != 0 || program_.known > 200;
    EXPECT_GT(known_, program_.events / 4);
    EXPECT_GT(new_, forgets ? program_.known / 2 : 30);
  }

 private:
  std::size_t sample() const { return kExpected * shares_.size(); }
  net::Tuple tuple(std::uint64_t client, const std::string& destination) {
    const auto port = static_cast<std::uint16_t>(kFirstPort + connections_++ % kPorts);
    return {net::Protocol::tcp,
            {*net::Address::parse(program_.clients + dotted(client)), port},
            *net::AddressPort::parse(destination)};
  }

  void step(std::uint64_t client) {
    const net::Tuple tuple = this->tuple(client, program_.destinations[rng_.uniform(program_.destinations.size())]);
    const std::uint64_t tick = now();
    pick::Rng rng(1), same(1);
    const Walks::Outcome literal = literal_.peek(tuple, tick, rng), compiled = compiled_.peek(tuple, tick, same);
    ASSERT_EQ(literal.known, compiled.known) << tuple.to_string();
    const std::string kernel = kernel_.connect(tuple, endpoint_port_);
    if (literal.known) {
      ASSERT_EQ(literal.endpoint, compiled.endpoint) << tuple.to_string();
      ASSERT_EQ(kernel, literal.endpoint) << tuple.to_string();
    }
    ++(literal.known ? known_ : new_);
    literal_.follow(tuple, tick, kernel);
    compiled_.follow(tuple, tick, kernel);
  }

  void compare_counters() {
    Tally kernel = kernel_.counters();
    std::erase_if(kernel, [](const auto& count) { return count.first.find("POSTROUTING") != std::string::npos; });
    EXPECT_EQ(literal_.counters(), kernel);
    EXPECT_EQ(compiled_.counters(), kernel);
  }

  void compare_shares() {
    Tally kernel, literal, compiled;
    for (std::uint64_t i = 0; i < sample() && !testing::Test::HasFailure(); ++i) {
      const net::Tuple tuple = this->tuple(1000 + i, program_.destinations[0]);
      if (i < kMostOfKernel) ++kernel[kernel_.connect(tuple, endpoint_port_)];
      ++literal[literal_.peek(tuple, now(), rng_).endpoint];
      ++compiled[compiled_.peek(tuple, now(), rng_).endpoint];
    }
    compare_shares("kernel", kernel);
    compare_shares("rule by rule", literal);
    compare_shares("compiled", compiled);
  }
  void compare_shares(const char* whose, const Tally& counts) {
    const limpet::test::ChiSquare found = limpet::test::chi_square(counts, shares_);
    EXPECT_LT(found.statistic, found.bound(kFalseAlarm)) << whose << ", " << found.outcomes << " outcomes";
  }

  Kernel& kernel_;
  const Program program_;
  Walks literal_, compiled_;
  pick::Rng rng_;
  Shares shares_;
  std::uint16_t endpoint_port_ = 0;
  std::uint64_t connections_ = 0, known_ = 0, new_ = 0;
};

class KubeDifferential : public testing::TestWithParam<std::pair<std::string, Privilege>> {};

TEST_P(KubeDifferential, KernelAndLimpetAndItsCompilerAgree) {
  const auto& [backend, privilege] = GetParam();
  if (const std::string reason = limpet::test::enter_private_network(privilege); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  const auto works = divert::run({"iptables-" + backend + "-restore", "--test"}, generated(2).text);
  if (!works || !works->ok()) GTEST_SKIP() << "this kernel lacks nat, recent or statistic for iptables-" << backend;
  std::vector<Program> programs{seed(), generated(2), generated(7, 2)};
  if (backend == "legacy" && privilege == Privilege::as_is) {
    for (const int endpoints : {3, 7, 16, 64, 200, 500}) programs.push_back(generated(endpoints));
  }
  const char* const number = std::getenv("LIMPET_KUBE_SEED");
  Kernel kernel(backend);
  for (const Program& program : programs) {
    SCOPED_TRACE("iptables-" + backend + ": " + program.name);
    Comparison(kernel, program, number == nullptr ? 1 : std::strtoull(number, nullptr, 10)).run();
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, KubeDifferential,
                         testing::Values(std::pair("legacy", Privilege::as_is),
                                         std::pair("legacy", Privilege::rootless), std::pair("nft", Privilege::as_is)),
                         [](const auto& parameter) {
                           return parameter.param.first +
                                  (parameter.param.second == Privilege::as_is ? "_root" : "_rootless");
                         });

}  // namespace
}  // namespace limpet::rules::differential
