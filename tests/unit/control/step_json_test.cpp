// What a crossing says as an object, it says again when the object is read. (What the objects are: cli/render_path_test.cpp.)
#include "lb/control/step_json.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::control {
namespace {

using datapath::PathStep;
using net::Protocol;
using nlohmann::ordered_json;
using service::at;
using service::ip;
using Kind = datapath::PacketFacts::Kind;

PathStep base() {
  PathStep step;
  step.number = 3;
  step.time = std::chrono::microseconds(1'700'000'000'123'456);
  step.hook = datapath::Hook::postrouting;
  step.before = {.kind = Kind::transport,
                 .tuple = {Protocol::tcp, at("[fd01::2]:40000"), at("[fd96::10]:80")},
                 .quoted = {},
                 .detail = "SA"};
  step.after = step.before;
  step.outcome = datapath::Counter::accepted_miss;
  return step;
}

std::vector<PathStep> samples() {
  std::vector<PathStep> all{base()};
  PathStep& begun = all.emplace_back(base());
  begun.hook = datapath::Hook::prerouting;
  begun.decision.emplace();
  begun.decision->action = datapath::Action::dnat;
  begun.decision->reason = datapath::Reason::affinity;
  begun.decision->affinity = datapath::AffinityOutcome::hit;
  begun.decision->masquerade = true;
  begun.decision->endpoint = at("[fd02::1]:8080");
  begun.service = "t/web:http";
  begun.after.tuple.destination = begun.decision->endpoint;
  begun.outcome = datapath::Counter::rewritten;
  begun.verdict = {.rewritten = true, .set_mark = true, .mark = 1};
  PathStep& refused = all.emplace_back(base());
  refused.decision.emplace();
  refused.decision->action = datapath::Action::reject;
  refused.decision->reason = datapath::Reason::no_endpoints;
  refused.outcome = datapath::Counter::dropped_rejected;
  refused.verdict = {.accept = false, .reply = net::ReplyKind::tcp_reset};
  PathStep& error = all.emplace_back(base());
  error.before = {.kind = Kind::icmp_error,
                  .tuple = {Protocol::icmp, {ip("10.9.9.9"), 0}, {ip("10.1.0.2"), 0}},
                  .quoted = {Protocol::udp, at("10.1.0.2:5353"), at("10.2.0.1:53")},
                  .detail = "port-unreachable"};
  error.after = error.before;
  error.after.quoted.destination = at("10.96.0.20:53");
  error.hit = flow::KeyRole::middle;
  PathStep& readdressed = all.emplace_back(base());
  readdressed.captured = {Protocol::tcp, at("10.96.0.10:80"), at("10.1.0.2:1")};
  readdressed.hit = flow::KeyRole::inner;
  readdressed.verdict = {.rewritten = true, .set_mark = true, .mark = 0};
  PathStep& passed = all.emplace_back(base());
  passed.hook.reset();
  passed.outcome = {};
  PathStep& other = all.emplace_back(base());
  other.before = {.kind = Kind::other,
                  .tuple = {static_cast<Protocol>(47), {ip("10.1.0.2"), 0}, {ip("10.96.0.10"), 0}},
                  .quoted = {},
                  .detail = {}};
  other.after = other.before;
  return all;
}

TEST(StepJson, IsReadAsItWasWritten) {
  for (const PathStep& step : samples()) {
    const ordered_json json = to_json(step);
    SCOPED_TRACE(json.dump());
    const auto again = step_from_json(ordered_json::parse(json.dump()));
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(to_json(*again), json);
    EXPECT_EQ(again->time, step.time);
    EXPECT_EQ(again->before.kind, step.before.kind);
    EXPECT_EQ(again->before.tuple, step.before.tuple);
    EXPECT_EQ(again->after.tuple, step.after.tuple);
    EXPECT_EQ(again->after.quoted, step.after.quoted);
    EXPECT_EQ(again->hit, step.hit);
    EXPECT_EQ(again->outcome, step.outcome);
  }
}

TEST(StepJson, WhatIsNoSuchObjectIsNotRead) {
  const ordered_json good = to_json(samples()[1]);
  EXPECT_TRUE(step_from_json(good).has_value());
  for (const auto& [key, value] : good.items()) {
    if (key == "detail" || key == "to" || key == "mark" || key == "decision") continue;  // not always there
    ordered_json without = good;
    without.erase(key);
    EXPECT_FALSE(step_from_json(without).has_value()) << "without " << key;
  }
  struct Case {
    const char* path;
    ordered_json value;
  };
  const Case cases[] = {{"/t", "now"},
                        {"/packet", "x"},
                        {"/hook", "INGRESS"},
                        {"/protocol", "gre"},
                        {"/protocol", "protocol 256"},
                        {"/source", "here"},
                        {"/key", "outermost"},
                        {"/outcome", "fine"},
                        {"/decision/action", "pass"},
                        {"/decision/reason", 5},
                        {"/to/source", ordered_json()},
                        {"/answer", "none at all"}};
  for (const Case& one : cases) {
    ordered_json bad = good;
    bad[ordered_json::json_pointer(one.path)] = one.value;
    EXPECT_FALSE(step_from_json(bad).has_value()) << one.path;
  }
  for (const char* text : {"{}", "[]", "null", "5", "\"x\"", R"({"lost":3})"}) {
    EXPECT_FALSE(step_from_json(ordered_json::parse(text)).has_value()) << text;
  }
}

}  // namespace
}  // namespace limpet::control
