// Affinities from elsewhere: which are taken, which are left and why, which requests are refused as a whole.
#include "lb/control/affinity_batch.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/control/resources.h"
#include "tests/unit/control/fakes.h"

namespace limpet::control {
namespace {

using affinity::NamedEntry;
using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

NamedEntry entry(const char* service, const char* client, const char* endpoint, int age, bool confirmed = true) {
  return {service, ip(client), at(endpoint), flow::Milliseconds(age), confirmed};
}

class AffinityBatch : public testing::Test {
 protected:
  Response post(const std::string& body) { return resources.answer(Method::post, "/v1/affinity", body); }
  BatchOutcome post(const std::vector<NamedEntry>& entries) {
    const Response response = post(to_json(std::span(entries)).dump());
    EXPECT_EQ(response.status, 200U) << response.body;
    return outcome_from(response.body);
  }

  FakeTables tables;
  Resources resources{tables};
};

TEST_F(AffinityBatch, WhatIsKnownIsTakenWithItsAge) {
  EXPECT_EQ(post({entry("t/web:http", "203.0.113.7", "10.2.0.2:8080", 2500, false)}).taken, 1U);
  ASSERT_THAT(tables.affinity, SizeIs(1));
  const AffinityEntry& taken = tables.affinity.front();
  EXPECT_EQ(taken.scope, tables.scope(0));
  EXPECT_EQ(taken.client, ip("203.0.113.7"));
  EXPECT_EQ(taken.endpoint_id, tables.endpoint(0, 1));
  EXPECT_EQ(taken.age, flow::Milliseconds(2500));
  EXPECT_FALSE(taken.confirmed);
}

TEST_F(AffinityBatch, WhatIsListedIsWhatIsTaken) {
  tables.remember(0, "203.0.113.7", 1, true, flow::Milliseconds(2500));
  tables.remember(1, "fd01::2", 0, false, flow::Milliseconds(7));
  const auto before = resources.answer(Method::get, "/v1/affinity").body["items"];
  std::vector<NamedEntry> entries;
  for (const ordered_json& item : before) entries.push_back(entry_from(item).value());
  tables.affinity.clear();
  EXPECT_EQ(post(entries).taken, 2U);
  EXPECT_EQ(resources.answer(Method::get, "/v1/affinity").body["items"], before);
}

TEST_F(AffinityBatch, WhatIsListedOfASharedScopeIsTaken) {
  auto services = three_services();
  services[1] = services[0];
  services[1].name = "t/web:https";
  services[1].port = 443;
  services[1].node_port = 30443;
  services[1].endpoints = {service::remote_endpoint("10.2.0.9:8443")};
  services[0].affinity_group = services[1].affinity_group = "service t/web";
  FakeTables shared(services);
  Resources api(shared);
  shared.remember(1, "203.0.113.7", 0);
  std::vector<NamedEntry> entries;
  const Response listed = api.answer(Method::get, "/v1/affinity");
  for (const ordered_json& item : listed.body["items"]) entries.push_back(entry_from(item).value());
  const auto before = std::exchange(shared.affinity, {});
  const auto answer = api.answer(Method::post, "/v1/affinity", to_json(std::span(entries)).dump());
  EXPECT_EQ(outcome_from(answer.body).taken, 1U) << answer.body;
  ASSERT_THAT(shared.affinity, SizeIs(1));
  EXPECT_EQ(shared.affinity.front().endpoint_id, before.front().endpoint_id);
}

TEST_F(AffinityBatch, WhatIsLeftIsCounted) {
  tables.remember(0, "203.0.113.1", 0);
  const BatchOutcome outcome = post({
      entry("t/web:http", "203.0.113.1", "10.2.0.2:8080", 0),        // remembered already
      entry("t/web:http", "203.0.113.2", "10.2.0.2:8080", 100'000),  // T = 100 s, inclusive
      entry("t/web:http", "203.0.113.3", "10.2.0.2:8080", 100'001),
      entry("t/dns:dns", "203.0.113.3", "10.2.0.3:53", 1'000'000'000),  // never expires
      entry("t/gone:http", "203.0.113.3", "10.2.0.2:8080", 0),
      entry("t/web:http", "203.0.113.4", "10.2.0.2:80", 0),
      entry("t/bare:http", "203.0.113.3", "10.2.0.2:8080", 0),
  });
  EXPECT_EQ(to_json(outcome).dump(),
            R"({"taken":2,"kept":1,"expired":1,"unknown_service":1,"unknown_endpoint":1,"without_affinity":1,)"
            R"("no_room":0})");
}

TEST_F(AffinityBatch, NobodyIsPushedOutForThem) {
  tables.remember(0, "203.0.113.1", 0);
  tables.capacity = 2;
  const BatchOutcome outcome = post(
      {entry("t/web:http", "203.0.113.2", "10.2.0.1:8080", 0), entry("t/web:http", "203.0.113.3", "10.2.0.1:8080", 0)});
  EXPECT_EQ(outcome.taken, 1U);
  EXPECT_EQ(outcome.no_room, 1U);
}

TEST_F(AffinityBatch, ClientsAreMaskedAsTheServiceWants) {
  auto services = three_services();
  services[0].affinity_prefix = 24;
  FakeTables masked(services);
  Resources api(masked);
  const std::vector<NamedEntry> entries = {entry("t/web:http", "203.0.113.7", "10.2.0.1:8080", 0)};
  api.answer(Method::post, "/v1/affinity", to_json(std::span(entries)).dump());
  ASSERT_THAT(masked.affinity, SizeIs(1));
  EXPECT_EQ(masked.affinity.front().client, ip("203.0.113.0"));
}

TEST_F(AffinityBatch, WhatCannotBeReadIsRefusedAsAWhole) {
  const std::string good =
      R"({"service":"t/web:http","client":"203.0.113.7","endpoint":"10.2.0.1:8080","confirmed":true,"age":0})";
  const char* const kBad[] = {
      R"("service":7)",
      R"("service":"")",
      R"("client":"203.0.113.256")",
      R"("endpoint":"10.2.0.1")",
      R"("confirmed":1)",
      R"("age":-1)",
      R"("age":"1")",
      R"("age":1e300)",
      R"("client":null)",
  };
  for (const std::string bad : kBad) {
    const Response response =
        post(R"({"entries":[)" + good + "," + good.substr(0, good.size() - 1) + "," + bad + "}]}");
    EXPECT_EQ(response.status, 400U) << bad;
    EXPECT_THAT(response.body.value("error", ""), HasSubstr("entry 1")) << bad;
  }
  for (const std::string body :
       {"", "{", "[]", "{}", R"({"entries":{}})", R"({"entries":[[]]})", R"({"entries":[7]})"}) {
    EXPECT_EQ(post(body).status, 400U) << body;
  }
  EXPECT_EQ(post(std::string(100'000, '[')).status, 400U);
  EXPECT_THAT(tables.affinity, IsEmpty());
}

TEST_F(AffinityBatch, ABatchHasABound) {
  std::vector<NamedEntry> entries(kMostEntries, entry("t/web:http", "203.0.113.7", "10.2.0.1:8080", 0));
  EXPECT_EQ(post(entries).taken, 1U);
  entries.push_back(entries.front());
  EXPECT_EQ(post(to_json(std::span<const NamedEntry>(entries)).dump()).status, 400U);
}

}  // namespace
}  // namespace limpet::control
