// Which of kube-proxy's `recent` entries become affinities. Two services of two endpoints; HZ 1000, so that ticks are
// milliseconds; now is tick 1,000,000.
#include "lb/rules/recent_import.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/rules/chain_names.h"

namespace limpet::rules {
namespace {

using affinity::NamedEntry;
using flow::Milliseconds;
using flow::Seconds;
using net::Protocol;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kNow = 1'000'000;
const Jiffies kJiffies{.now = kNow, .per_second = 1000};

net::AddressPort at(const char* text) {
  return *net::AddressPort::parse(text);
}
net::Address address(const char* text) {
  return *net::Address::parse(text);
}

// As text "10.2.0.10:80" comes before "10.2.0.9:80": the order of kube-proxy's rules.
const std::vector<KnownEndpoint> kEndpoints = {
    {"t/web:http", Protocol::tcp, at("10.2.0.9:80"), Seconds(60)},
    {"t/web:http", Protocol::tcp, at("10.2.0.10:80"), Seconds(60)},
    {"t/api:http", Protocol::tcp, at("10.2.0.9:80"), Seconds(0)},
    {"t/none:http", Protocol::tcp, at("10.2.0.9:80"), std::nullopt},
};

RecentEntry entry(const char* client, std::uint64_t age) {
  return {.source = address(client), .ttl = 64, .last_seen = kNow - age, .stamps = 1};
}

RecentList list(const KnownEndpoint& endpoint, std::vector<RecentEntry> entries) {
  return {endpoint_chain(endpoint.service, endpoint.protocol, endpoint.at), std::move(entries), {}};
}

NamedEntry taken(const KnownEndpoint& endpoint, const char* client, int age) {
  return {endpoint.service, address(client), endpoint.at, Milliseconds(age), true};
}

TEST(RecentImport, AListIsItsEndpointsByItsName) {
  const RecentList lists[] = {list(kEndpoints[0], {entry("198.18.0.1", 5)}),
                              list(kEndpoints[2], {entry("198.18.0.1", 7)})};
  const auto imported = import_recent(lists, kEndpoints, kJiffies);
  EXPECT_THAT(imported.entries,
              ElementsAre(taken(kEndpoints[2], "198.18.0.1", 7), taken(kEndpoints[0], "198.18.0.1", 5)));
  EXPECT_EQ(imported.lists, 2U);
  EXPECT_THAT(imported.unknown_lists, IsEmpty());
}

// xt_recent: a stamp counts iff its age is at most `--seconds`, inclusive.
TEST(RecentImport, WhatIsOlderThanTheTimeoutIsLeftOut) {
  const RecentList lists[] = {
      list(kEndpoints[0], {entry("198.18.0.1", 59'999), entry("198.18.0.2", 60'000), entry("198.18.0.3", 60'001)})};
  const auto imported = import_recent(lists, kEndpoints, kJiffies);
  EXPECT_THAT(imported.entries,
              ElementsAre(taken(kEndpoints[0], "198.18.0.1", 59'999), taken(kEndpoints[0], "198.18.0.2", 60'000)));
  EXPECT_EQ(imported.expired, 1U);
}

TEST(RecentImport, WhereTheTimeoutIsNeverNothingIsTooOld) {
  const RecentList lists[] = {list(kEndpoints[2], {entry("198.18.0.1", 900'000)})};
  EXPECT_THAT(import_recent(lists, kEndpoints, kJiffies).entries,
              ElementsAre(taken(kEndpoints[2], "198.18.0.1", 900'000)));
}

TEST(RecentImport, AClientInTwoListsGoesWhereTheFirstRuleSendsIt) {
  const RecentList lists[] = {list(kEndpoints[0], {entry("198.18.0.1", 1)}),
                              list(kEndpoints[1], {entry("198.18.0.1", 50'000), entry("198.18.0.2", 60'001)})};
  const auto imported = import_recent(lists, kEndpoints, kJiffies);
  EXPECT_THAT(imported.entries, ElementsAre(taken(kEndpoints[1], "198.18.0.1", 50'000)));
  EXPECT_EQ(imported.in_several, 1U);
  EXPECT_EQ(imported.expired, 1U);
}

TEST(RecentImport, AnExpiredEntryInTheFirstListOverrulesNothing) {
  const RecentList lists[] = {list(kEndpoints[0], {entry("198.18.0.1", 1)}),
                              list(kEndpoints[1], {entry("198.18.0.1", 60'001)})};
  EXPECT_THAT(import_recent(lists, kEndpoints, kJiffies).entries, ElementsAre(taken(kEndpoints[0], "198.18.0.1", 1)));
}

TEST(RecentImport, WhatBelongsToNothingHereIsReported) {
  const RecentList lists[] = {{"KUBE-SEP-AAAAAAAAAAAAAAAA", {entry("198.18.0.1", 1), entry("198.18.0.2", 1)}, {}},
                              list(kEndpoints[3], {entry("198.18.0.3", 1)})};
  const auto imported = import_recent(lists, kEndpoints, kJiffies);
  EXPECT_THAT(imported.entries, IsEmpty());
  EXPECT_THAT(imported.unknown_lists, ElementsAre("KUBE-SEP-AAAAAAAAAAAAAAAA"));
  EXPECT_EQ(imported.unknown_entries, 2U);
  EXPECT_EQ(imported.without_affinity, 1U);
}

}  // namespace
}  // namespace limpet::rules
