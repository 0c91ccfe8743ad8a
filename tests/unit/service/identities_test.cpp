#include "lb/service/identities.h"

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using datapath::EndpointSlots;

Service small(std::string name, std::vector<Endpoint> endpoints, bool sticky = true) {
  Service service;
  service.name = std::move(name);
  service.endpoints = std::move(endpoints);
  if (sticky) service.affinity_timeout = flow::Seconds{10800};
  return service;
}

TEST(Identities, keeps_names_that_stay) {
  EndpointSlots slots(8);
  Identities identities(slots);
  const Endpoint a = local_endpoint("10.0.0.1:80");
  const Endpoint b = local_endpoint("10.0.0.2:80");
  const auto before = *identities.assign(std::vector{small("x/y:z", {a, b})});
  const auto after = *identities.assign(std::vector{small("p/q:r", {a}), small("x/y:z", {b, a})});
  EXPECT_EQ(after[1].affinity_scope, before[0].affinity_scope);
  EXPECT_EQ(after[1].endpoints[0], before[0].endpoints[1]);
  EXPECT_EQ(after[1].endpoints[1], before[0].endpoints[0]);
  EXPECT_NE(after[0].endpoints[0], before[0].endpoints[0]);  // the same address, another service port
  EXPECT_NE(after[0].affinity_scope, after[1].affinity_scope);
}

TEST(Identities, never_reuses_a_name) {
  EndpointSlots slots(8);
  Identities identities(slots);
  const std::vector with{small("x/y:z", {local_endpoint("10.0.0.1:80")})};
  const auto before = *identities.assign(with);
  ASSERT_TRUE(slots.is(before[0].endpoints[0], EndpointSlots::ready));
  ASSERT_TRUE(identities.assign(std::vector<Service>{}));
  EXPECT_FALSE(slots.is(before[0].endpoints[0], EndpointSlots::serving));
  const auto after = *identities.assign(with);
  EXPECT_NE(after[0].endpoints[0].id, before[0].endpoints[0].id);
  EXPECT_NE(after[0].affinity_scope, before[0].affinity_scope);
}

TEST(Identities, gives_a_new_scope_after_affinity_was_off) {
  EndpointSlots slots(8);
  Identities identities(slots);
  const auto on = *identities.assign(std::vector{small("x/y:z", {})});
  const auto off = *identities.assign(std::vector{small("x/y:z", {}, false)});
  const auto again = *identities.assign(std::vector{small("x/y:z", {})});
  EXPECT_EQ(off[0].affinity_scope, 0U);
  EXPECT_NE(on[0].affinity_scope, 0U);
  EXPECT_NE(again[0].affinity_scope, on[0].affinity_scope);
}

TEST(Identities, marks_weight_zero_as_draining) {
  EndpointSlots slots(8);
  Identities identities(slots);
  const auto ids = *identities.assign(std::vector{small("x/y:z", {local_endpoint("10.0.0.1:80", 0)})});
  EXPECT_TRUE(slots.is(ids[0].endpoints[0], EndpointSlots::serving));
  EXPECT_FALSE(slots.is(ids[0].endpoints[0], EndpointSlots::ready));
}

TEST(Identities, refuses_more_than_there_are_slots_and_changes_nothing) {
  EndpointSlots slots(1);
  Identities identities(slots);
  const std::vector one{small("x/y:z", {local_endpoint("10.0.0.1:80")})};
  const auto ids = *identities.assign(one);
  const auto refused =
      identities.assign(std::vector{small("x/y:z", {local_endpoint("10.0.0.2:80"), local_endpoint("10.0.0.3:80")})});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, store::ErrorKind::configuration);
  EXPECT_TRUE(slots.is(ids[0].endpoints[0], EndpointSlots::ready));
  EXPECT_EQ((*identities.assign(one))[0].endpoints[0], ids[0].endpoints[0]);
}

}  // namespace
}  // namespace limpet::service
