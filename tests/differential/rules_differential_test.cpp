// Random programs, the kernel and limpet side by side: every packet must meet the same rules and leave the same lists.
//
//   each event      stamp P ─ send a packet, write to a list, or load another program ─ stamp P
//                   the two stamps tell the first and the last tick at which the rules can have run
//   explained       if some tick of those gives the kernel's lists, and with them its counters. Where several do, each
//                   is believed until a later event refutes it: an nth counter may hide behind `--seconds` which it was
//   straddling      no tick of several does: one passed between two rules of one packet (the kernel reads the clock at
//                   each match; a walk here has one tick). The program is left there, and counted
//
// Counters are read every few events, and at once where more than one tick is possible. Needs root: the stamps are
// written through /proc/net/xt_recent, which belongs to the machine's root. Without: skipped, as not runnable.
// LIMPET_DIFFERENTIAL_PROGRAMS: how many programs (6, and 1 by nft, which takes longer to load); LIMPET_DIFFERENTIAL_SEED.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb/rules/jiffies.h"
#include "tests/differential/rule_events.h"
#include "tests/differential/rule_shapes.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::rules::differential {
namespace {

using limpet::test::Privilege;
using net::Family;

const std::string kFolder = "/proc/thread-self/net/xt_recent/";
constexpr int kEvents = 400;        // a program
constexpr int kCountersEvery = 20;  // events

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t from = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', from)) {
    lines.push_back(text.substr(from, end + 1 - from));
    from = end + 1;
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

void write_list(const std::string& list, const std::string& text) {
  const int file = ::open((kFolder + list).c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(file, 0) << list;
  EXPECT_EQ(::write(file, text.data(), text.size()), static_cast<ssize_t>(text.size())) << text;
  ::close(file);
}

std::uint64_t stamp_clock() {
  write_list("P", "+192.0.2.1");
  const std::string line = read_file(kFolder + "P");
  const std::size_t at = line.find("last_seen: ");
  EXPECT_NE(at, std::string::npos) << line;
  return std::strtoull(line.c_str() + at + 11, nullptr, 10);
}

void send(const Event& event) {
  const bool v6 = !event.packet.source.address.is_v4();
  const auto fill = [v6](sockaddr_storage& to, const net::AddressPort& end) -> socklen_t {
    auto& in = reinterpret_cast<sockaddr_in&>(to);
    auto& in6 = reinterpret_cast<sockaddr_in6&>(to);
    to.ss_family = v6 ? AF_INET6 : AF_INET;
    (v6 ? in6.sin6_port : in.sin_port) = htons(end.port);
    ::inet_pton(to.ss_family, end.address.to_string().c_str(), v6 ? static_cast<void*>(&in6.sin6_addr) : &in.sin_addr);
    return v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  };
  const int socket = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int one = 1, ttl = event.ttl;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  ::setsockopt(socket, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &ttl, sizeof ttl);
  sockaddr_storage from{}, to{};
  const socklen_t length = fill(from, event.packet.source);
  fill(to, event.packet.destination);
  EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&from), length), 0) << event.words();
  EXPECT_EQ(::sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), length), 1) << event.words();
  ::close(socket);
}

/// The kernel's side, by one of its two back-ends.
class Kernel {
 public:
  explicit Kernel(std::string backend) : backend_(std::move(backend)) {}

  void load(const Programs& programs) {
    for (const Family family : {Family::v4, Family::v6}) {
      const auto loaded = divert::run({tool(family) + "-restore"}, programs.of(family));
      ASSERT_TRUE(loaded && loaded->ok()) << (loaded ? loaded->err : loaded.error().message) << programs.of(family);
    }
  }
  void carry_out(const Event& event) {
    if (event.kind == Event::Kind::reload) return load(event.programs);
    if (event.kind == Event::Kind::packet) return send(event);
    if (::access((kFolder + event.list).c_str(), F_OK) == 0) write_list(event.list, event.text);
  }
  Dumps dumps() const {
    Dumps all;
    for (const std::string& name : kLists) all[name] = lines_of(read_file(kFolder + name));
    return all;
  }
  Counts counters() const {
    Counts all;
    for (const Family family : {Family::v4, Family::v6}) {
      const auto saved = divert::run({tool(family) + "-save", "-c", "-t", "raw"});
      EXPECT_TRUE(saved && saved->ok());
      all.merge(counts_of(parse_ruleset(saved->out, {.family = family}).rules));
    }
    return all;
  }

 private:
  std::string tool(Family family) const { return (family == Family::v4 ? "iptables-" : "ip6tables-") + backend_; }
  std::string backend_;
};

Counts sum(Counts a, const Counts& b) {
  for (const auto& [key, count] : b) a[key] += count;
  return a;
}

struct Tally {
  int packets = 0, writes = 0, reloads = 0, ambiguous = 0, straddling = 0, counters = 0;
  std::size_t believed = 0;  // at once, at most
  std::set<std::string> shapes;
};

/// Limpet's side, if the events ran at these ticks.
struct Belief {
  std::vector<std::uint64_t> ticks;
  std::unique_ptr<Model> model;
  Counts pending;  // since the program was loaded
};

/// One program's life.
class Comparison {
 public:
  Comparison(const std::string& backend, const node::NodeView& node, std::uint32_t per_second, std::uint64_t seed,
             Tally& tally)
      : kernel_(backend),
        reloads_(backend == "legacy"),
        node_(node),
        per_second_(per_second),
        rng_(seed),
        shapes_(rng_, backend != "legacy"),
        tally_(tally) {}

  void run() {
    for (const std::string& name : kLists)
      ASSERT_NE(::access((kFolder + name).c_str(), F_OK), 0) << "a list is left over";
    first_ = {shapes_.program(Family::v4), shapes_.program(Family::v6)};
    kernel_.load(first_);
    if (testing::Test::HasFatalFailure()) return;
    beliefs_.push_back({{}, std::make_unique<Model>(first_, node_, per_second_), {}});
    for (int i = 1; i <= kEvents && !testing::Test::HasFailure() && !straddled_; ++i) {
      step(draw(), i % kCountersEvery == 0 || i == kEvents);
    }
    tally_.shapes.insert(shapes_.drawn().begin(), shapes_.drawn().end());
    const std::string empty = "*raw\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    kernel_.load({empty, empty});
  }

 private:
  Event draw() {
    Event event;
    const std::uint64_t what = rng_.uniform(100);
    const Family family = rng_.uniform(3) == 0 ? Family::v6 : Family::v4;
    if (what < 2 && reloads_) {
      event.kind = Event::Kind::reload;
      event.programs = {shapes_.program(Family::v4), shapes_.program(Family::v6)};
    } else if (what < 7) {
      event.kind = Event::Kind::write;
      event.list = kLists[rng_.uniform(kLists.size())];
      const std::string sign = rng_.uniform(2) == 0 ? "+" : "-";
      event.text = rng_.uniform(6) == 0 ? "/" : sign + client(family, rng_.uniform(kClients));
    } else {
      event.packet = {net::Protocol::udp,
                      {*net::Address::parse(client(family, rng_.uniform(kClients))), port(20000, 100)},
                      {*net::Address::parse(server(family, rng_.uniform(kServers))), port(kFirstPort, kChains)}};
      event.ttl = static_cast<std::uint8_t>(63 + rng_.uniform(3));
      pause();
    }
    return event;
  }
  std::uint16_t port(int first, std::uint64_t count) {
    return static_cast<std::uint16_t>(static_cast<std::uint64_t>(first) + rng_.uniform(count));
  }
  /// So that stamps grow old: 1 s and 704 ticks are the limits in the rules.
  void pause() {
    const std::uint64_t kind = rng_.uniform(160);
    const std::uint64_t milliseconds = kind == 0 ? 900 + rng_.uniform(200) : kind < 30 ? rng_.uniform(20) : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  }

  void step(const Event& event, bool look_at_counters) {
    const std::uint64_t first = stamp_clock();
    kernel_.carry_out(event);
    std::uint64_t last = stamp_clock();
    const Dumps dumps = kernel_.dumps();
    const bool open = first != last;
    if (event.kind == Event::Kind::reload) last = first;  // no rule reads the clock
    count(event, open);
    log_.push_back(event);
    std::optional<Counts> counters;
    if (look_at_counters || open || beliefs_.size() > 1) {
      ++tally_.counters;
      counters = kernel_.counters();
    }
    tried_ = "\nkernel " + testing::PrintToString(dumps) + testing::PrintToString(counters.value_or(Counts{}));
    std::vector<Belief> kept;
    for (Belief& belief : beliefs_) {
      for (std::uint64_t tick = first; tick <= last; ++tick) {
        Belief after = tick == last ? std::move(belief) : copy(belief);
        play(after, tick);
        const bool fits = after.model->dumps() == dumps && (!counters || after.pending == *counters);
        tried_ += "\nat " + std::to_string(tick) + (fits ? " alike" : " limpet " + describe(after));
        if (fits) keep(kept, std::move(after));
      }
    }
    beliefs_ = std::move(kept);
    tally_.believed = std::max(tally_.believed, beliefs_.size());
    if (!beliefs_.empty()) return;
    straddled_ = last != first;
    if (straddled_) return static_cast<void>(++tally_.straddling);
    ADD_FAILURE() << event.words() << " at " << first << tried_ << history();
  }
  /// The last event of the log.
  void play(Belief& belief, std::uint64_t tick) {
    const Counts hits = belief.model->apply(log_.back(), tick);
    belief.pending = log_.back().kind == Event::Kind::reload ? Counts{} : sum(std::move(belief.pending), hits);
    belief.ticks.push_back(tick);
  }
  /// As it was before the last event.
  Belief copy(const Belief& belief) const {
    Belief again{belief.ticks, std::make_unique<Model>(first_, node_, per_second_), belief.pending};
    for (std::size_t i = 0; i < again.ticks.size(); ++i) again.model->apply(log_[i], again.ticks[i]);
    return again;
  }
  /// Unless there is one that nothing can tell from it: lists and counters are the kernel's in both.
  static void keep(std::vector<Belief>& kept, Belief belief) {
    const auto same = [&](const Belief& other) { return other.model->counted() == belief.model->counted(); };
    if (std::none_of(kept.begin(), kept.end(), same)) kept.push_back(std::move(belief));
  }
  static std::string describe(const Belief& belief) {
    return testing::PrintToString(belief.model->dumps()) + testing::PrintToString(belief.pending);
  }
  void count(const Event& event, bool ambiguous) {
    ++(event.kind == Event::Kind::packet  ? tally_.packets
       : event.kind == Event::Kind::write ? tally_.writes
                                          : tally_.reloads);
    tally_.ambiguous += ambiguous ? 1 : 0;
  }
  /// For a failure's message.
  std::string history() const {
    std::string text = "\n" + first_.v4 + first_.v6;
    for (const Event& event : log_) text += event.words() + "\n";
    return text;
  }

  Kernel kernel_;
  const bool reloads_;
  const node::NodeView& node_;
  const std::uint32_t per_second_;
  pick::Rng rng_;
  Shapes shapes_;
  Tally& tally_;
  Programs first_;
  std::vector<Belief> beliefs_;
  std::vector<Event> log_;
  bool straddled_ = false;
  std::string tried_;  // for a failure's message
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

node::NodeView make_network() {
  limpet::test::must("ip link set lo up");
  std::vector<node::InterfaceAddress> addresses;
  for (const Family family : {Family::v4, Family::v6}) {
    const auto own = [&](const std::string& address) {
      limpet::test::must("ip addr add " + address + (family == Family::v4 ? "/32" : "/128 nodad") + " dev lo");
      addresses.push_back({.interface = 1, .address = *net::Address::parse(address), .prefix_length = 128});
      if (family == Family::v4) addresses.back().prefix_length = 32;
    };
    for (std::uint64_t i = 0; i < kClients; ++i) own(client(family, i));
    for (std::uint64_t i = 0; i < kServers; ++i) own(server(family, i));
  }
  return {std::move(addresses), {}, {{1, "lo"}}};
}

class RulesDifferential : public testing::TestWithParam<std::pair<std::string, Privilege>> {};

TEST_P(RulesDifferential, KernelAndLimpetMeetTheSameRules) {
  const auto& [backend, privilege] = GetParam();
  if (const std::string reason = limpet::test::enter_private_network(privilege); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  if (privilege == Privilege::rootless) {
    GTEST_SKIP() << "not runnable without root: /proc/net/xt_recent, by which ticks are read, takes its writes alone";
  }
  const auto works = divert::run({"iptables-" + backend, "-t", "raw", "-A", "OUTPUT", "-m", "recent", "--set"});
  if (!works || !works->ok()) GTEST_SKIP() << "this kernel has no `recent` match for iptables-" << backend;
  limpet::test::must("iptables-" + backend + " -t raw -F OUTPUT");
  const node::NodeView node = make_network();
  const auto jiffies = read_jiffies();
  ASSERT_TRUE(jiffies) << jiffies.error().message;

  const std::uint64_t seed = from_environment("LIMPET_DIFFERENTIAL_SEED", 1);
  const std::uint64_t programs = from_environment("LIMPET_DIFFERENTIAL_PROGRAMS", backend == "legacy" ? 6 : 1);
  Tally tally;
  for (std::uint64_t i = 0; i < programs && !HasFailure(); ++i) {
    SCOPED_TRACE("iptables-" + backend + ", seed " + std::to_string(seed) + ", program " + std::to_string(i));
    Comparison(backend, node, jiffies->per_second, seed * 1000 + i, tally).run();
  }
  std::cout << "iptables-" << backend << ", seed " << seed << ": " << programs << " programs of " << tally.shapes.size()
            << " shapes, " << tally.packets << " packets, " << tally.writes << " writes, " << tally.reloads
            << " reloads; counters read " << tally.counters << " times, " << tally.ambiguous
            << " events with more than one tick, at most " << tally.believed << " explanations at once, "
            << tally.straddling << " packets across a tick; mismatches: " << (HasFailure() ? "see above" : "0") << "\n";
  EXPECT_TRUE(programs < 6 || tally.shapes.size() >= 30);
  EXPECT_LE(tally.straddling * 100, tally.packets + 200) << "more than 1 % and 2: the clock is not understood";
}

INSTANTIATE_TEST_SUITE_P(Backends, RulesDifferential,
                         testing::Values(std::pair("legacy", Privilege::as_is),
                                         std::pair("legacy", Privilege::rootless), std::pair("nft", Privilege::as_is),
                                         std::pair("nft", Privilege::rootless)),
                         [](const auto& parameter) {
                           return parameter.param.first +
                                  (parameter.param.second == Privilege::as_is ? "_root" : "_rootless");
                         });

}  // namespace
}  // namespace limpet::rules::differential
