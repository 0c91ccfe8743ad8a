// An iptables program as a Subject. Expected values: the write-up's dump, read by hand.
#include "lb/lab/program_subject.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/lab/replay.h"
#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const char* const kDump = LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md";
const char* const kVip = "10.31.240.99:80";
const char* const kNodePort = "10.128.0.5:31332";

service::NodeConfig node_config() {
  service::NodeConfig config;
  config.node_ip = ip("10.128.0.5");
  return config;
}

class ProgramReplay {
 public:
  explicit ProgramReplay(std::unique_ptr<Subject> of)
      : node(std::move(*EventNode::open(node_config()))), subject(std::move(of)), replay(*subject, node, 1) {}

  Replay::Played play(std::chrono::microseconds time, const std::string& from, const std::string& to) {
    Event event;
    event.time = time;
    event.tuple = tuple(net::Protocol::tcp, from + ":40000", to);
    return *replay.play(event);
  }
  service::Explanation explain(const std::string& from, const std::string& to) {
    return replay.describe(play(seconds(0), from, to));
  }

  EventNode node;
  std::unique_ptr<Subject> subject;
  Replay replay;
};

store::Result<std::unique_ptr<ProgramSubject>> read(const std::string& file) {
  service::RulesConfig config;
  config.file = file;
  return ProgramSubject::read(config);
}

std::unique_ptr<Subject> dump() {
  return std::move(*read(kDump));
}

TEST(ProgramSubject, RemembersByTheTimelinesTicks) {
  ProgramReplay bench(dump());
  const auto first = bench.play(seconds(1'700'000'000), "203.0.113.7", kNodePort).decision;
  EXPECT_EQ(first.action, Action::dnat);
  EXPECT_EQ(first.affinity, AffinityOutcome::miss);
  const auto again = bench.play(seconds(1'700'010'800), "203.0.113.7", kNodePort).decision;
  EXPECT_EQ(again.affinity, AffinityOutcome::hit) << "10800 s later, inclusive";
  EXPECT_EQ(again.endpoint, first.endpoint);
  const auto late = bench.play(seconds(1'700'021'600) + milliseconds(4), "203.0.113.7", kNodePort).decision;
  EXPECT_EQ(late.affinity, AffinityOutcome::expired) << "a tick later";
}

TEST(ProgramSubject, CandidatesAreWhereTheRulesCouldLead) {
  ProgramReplay bench(dump());
  const auto outside = bench.explain("203.0.113.7", kNodePort);
  EXPECT_THAT(outside.candidates, ElementsAre("10.28.8.5:80", "10.28.8.6:80"));
  EXPECT_EQ(outside.reason, "chosen by the rules from 2 endpoints");
  EXPECT_EQ(outside.service, "default/php-apache-svc:http");
  EXPECT_FALSE(outside.decision.masquerade);
  EXPECT_THAT(outside.why, Contains(HasSubstr("nat KUBE-NODEPORTS:1 ")));
  const auto inside = bench.explain("10.28.6.77", kVip);
  EXPECT_THAT(inside.candidates, ElementsAre("10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"));
  EXPECT_FALSE(inside.decision.masquerade);
  EXPECT_TRUE(bench.explain("203.0.113.8", kVip).decision.masquerade);
  EXPECT_EQ(bench.explain("10.28.6.77", kVip).reason, "the endpoint that this client is remembered for");
  EXPECT_EQ(bench.explain("10.28.6.77", kVip).candidates, inside.candidates) << "also of a known client";
}

TEST(ProgramSubject, WhatIsNotTranslatedHasNoCandidates) {
  ProgramReplay bench(dump());
  const auto other = bench.explain("203.0.113.7", "10.31.240.99:81");
  EXPECT_EQ(other.decision.action, Action::none);
  EXPECT_THAT(other.candidates, IsEmpty());
  EXPECT_EQ(other.service, std::nullopt);
  EXPECT_EQ(other.reason, "no rule translates this connection");
  EXPECT_THAT(other.why, testing::Not(IsEmpty()));
}

TEST(ProgramSubject, RefusesByRule) {
  ProgramReplay bench(std::move(*ProgramSubject::parse(
      "*filter\n-A FORWARD -d 10.31.240.99/32 -p tcp -m tcp --dport 80 -j REJECT\nCOMMIT\n", "f")));
  const auto refused = bench.explain("203.0.113.7", kVip);
  EXPECT_EQ(refused.decision.action, Action::reject);
  EXPECT_EQ(refused.reason, "a rule says so");
  ASSERT_EQ(refused.why.size(), 1U);
  EXPECT_THAT(refused.why[0], HasSubstr("filter FORWARD:1 "));
}

TEST(ProgramSubject, DestinationsInWords) {
  struct Case {
    const char* target;
    const char* candidate;
  };
  const Case cases[] = {{"DNAT --to-destination 10.2.0.1:8080", "10.2.0.1:8080"},
                        {"DNAT --to-destination 10.2.0.1", "10.2.0.1:80"},
                        {"DNAT --to-destination 10.2.0.1-10.2.0.9", "10.2.0.1-10.2.0.9"},
                        {"DNAT --to-destination 10.2.0.1:80-90 --random", "10.2.0.1:80-90"},
                        {"REDIRECT --to-ports 8080", "this node:8080"},
                        {"REDIRECT", "this node:80"}};
  for (const Case& c : cases) {
    auto subject = ProgramSubject::parse("-A PREROUTING -p tcp -j " + std::string(c.target) + "\n", "f");
    ASSERT_TRUE(subject) << subject.error().message;
    ProgramReplay bench(std::move(*subject));
    EXPECT_THAT(bench.explain("203.0.113.7", kVip).candidates, ElementsAre(c.candidate)) << c.target;
  }
}

TEST(ProgramSubject, EveryFaultyLineIsTold) {
  const auto parsed = ProgramSubject::parse("-A PREROUTING -j DNAT\n-A PREROUTING -m recent --name A\n", "dump.txt");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().kind, store::ErrorKind::configuration);
  EXPECT_THAT(parsed.error().message, testing::AllOf(HasSubstr("dump.txt:1: "), HasSubstr("\ndump.txt:2: ")));
  const auto unlinked = ProgramSubject::parse("-A PREROUTING -j NOWHERE\n", "dump.txt");
  ASSERT_FALSE(unlinked);
  EXPECT_THAT(unlinked.error().message, HasSubstr("dump.txt:1: "));
  const auto none = read("/nonexistent");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, store::ErrorKind::configuration);
  EXPECT_THAT(none.error().message, HasSubstr("/nonexistent cannot be read"));
}

TEST(MixedSubject, ServicesComeFirstThenRules) {
  service::Config config;
  config.node = node_config();
  service::Service web;
  web.name = "t/web:http";
  web.cluster_ip = ip("10.96.0.10");
  web.port = 80;
  web.endpoints = {{at("10.2.0.1:8080"), "here", 1}};
  config.services = {web};
  config.rules.file = kDump;
  auto subject = make_subject(config, 100, {});
  ASSERT_TRUE(subject) << subject.error().message;
  ProgramReplay bench(std::move(*subject));
  EXPECT_EQ(bench.explain("203.0.113.7", "10.96.0.10:80").service, "t/web:http");
  EXPECT_EQ(bench.explain("203.0.113.7", kVip).service, "default/php-apache-svc:http");
  EXPECT_EQ(bench.explain("203.0.113.7", "10.96.0.10:81").decision.action, Action::none);
}

}  // namespace
}  // namespace limpet::lab
