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

/// Zeroed, for one test.
std::span<std::byte> memory_of(const IdentityLimits& limits) {
  static std::vector<std::uint64_t> words;
  words.assign(Identities::memory(limits) / 8, 0);
  return std::as_writable_bytes(std::span(words));
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

TEST(Identities, names_addresses_where_a_scope_is_shared) {
  EndpointSlots slots(16);
  Identities identities(slots);
  Service http = small("x/y:http", {local_endpoint("10.0.0.1:80"), local_endpoint("10.0.0.2:80")});
  Service https = small("x/y:https", {local_endpoint("10.0.0.2:443"), local_endpoint("10.0.0.3:443")});
  http.affinity_group = https.affinity_group = "service x/y";
  const auto ids = *identities.assign(std::vector{http, https, small("p/q:r", {local_endpoint("10.0.0.2:80")})});
  EXPECT_EQ(ids[0].affinity_scope, ids[1].affinity_scope);
  EXPECT_EQ(ids[0].affinity_ids[1], ids[1].affinity_ids[0]) << "one address";
  EXPECT_NE(ids[0].affinity_ids[0], ids[1].affinity_ids[1]);
  EXPECT_NE(ids[0].endpoints[1], ids[1].endpoints[0]) << "two endpoints";
  EXPECT_NE(ids[2].affinity_scope, ids[0].affinity_scope);
  EXPECT_EQ(ids[2].affinity_ids[0], ids[2].endpoints[0].id) << "alone, a service port remembers its endpoints";
}

// Of one service port two endpoints at 10.0.0.2, of the other one: both of the first port's are told apart, and mean
// that one to the second port.
TEST(Identities, tells_endpoints_at_one_address_apart_in_a_shared_scope) {
  EndpointSlots slots(16);
  Identities identities(slots);
  Service http =
      small("x/y:http", {local_endpoint("10.0.0.2:81"), local_endpoint("10.0.0.1:80"), local_endpoint("10.0.0.2:80")});
  Service https = small("x/y:https", {local_endpoint("10.0.0.3:443"), local_endpoint("10.0.0.2:443")});
  http.affinity_group = https.affinity_group = "service x/y";
  const auto ids = *identities.assign(std::vector{http, https});
  const std::uint32_t first = ids[0].affinity_ids[2], second = ids[0].affinity_ids[0];  // by port: 80, 81
  EXPECT_NE(first, second);
  EXPECT_EQ(ids[1].affinity_ids[1], first);
  EXPECT_TRUE(ids[0].aliases.empty());
  EXPECT_EQ(ids[1].aliases, (AffinityAliases{{second, 1}}));
}

/// The memory of a process that is gone, as the next one finds it.
class Inherited : public testing::Test {
 protected:
  static constexpr IdentityLimits kLimits{8, 4};
  static constexpr store::HashKey kKey{1, 2};

  std::vector<ServiceIds> assign(const std::vector<Service>& services, const Identities::SlotInUse& in_use = nobody) {
    Identities identities(slots_, kLimits, kKey, std::as_writable_bytes(std::span(memory_)));
    auto ids = identities.assign(services, in_use);
    EXPECT_TRUE(ids) << ids.error().message;
    return ids ? std::move(*ids) : std::vector<ServiceIds>{};
  }
  static bool nobody(std::uint32_t) { return false; }

  std::vector<std::uint64_t> memory_ = std::vector<std::uint64_t>(Identities::memory(kLimits) / 8);
  EndpointSlots slots_{kLimits.endpoints};
};

TEST_F(Inherited, names_are_kept) {
  const std::vector services{small("x/y:z", {local_endpoint("10.0.0.1:80"), local_endpoint("[fd00::1]:80")}),
                             small("p/q:r", {local_endpoint("10.0.0.1:80")})};
  const auto before = assign(services);
  const auto after = assign({services[1], services[0]});
  EXPECT_EQ(after[1].endpoints, before[0].endpoints);
  EXPECT_EQ(after[1].affinity_scope, before[0].affinity_scope);
  EXPECT_EQ(after[0].endpoints, before[1].endpoints);
}

TEST_F(Inherited, what_was_removed_meanwhile_comes_back_under_another_name) {
  const std::vector one{small("x/y:z", {local_endpoint("10.0.0.1:80")})};
  const auto before = assign(one);
  assign({});
  const auto after = assign(one);
  EXPECT_NE(after[0].endpoints[0].id, before[0].endpoints[0].id);
  EXPECT_NE(after[0].affinity_scope, before[0].affinity_scope);
}

TEST_F(Inherited, a_slot_waits_for_the_flows_that_name_it) {
  const auto before = assign({small("x/y:z", {local_endpoint("10.0.0.1:80")})});
  const auto after =
      assign({small("x/y:z", {local_endpoint("10.0.0.2:80")})}, [](std::uint32_t slot) { return slot == 0; });
  EXPECT_EQ(before[0].endpoints[0].slot, 0u);
  EXPECT_NE(after[0].endpoints[0].slot, 0u);
  assign({});
  const auto later = assign({small("x/y:z", {local_endpoint("10.0.0.3:80")})});
  EXPECT_EQ(later[0].endpoints[0].slot, 0u) << "free, and named by nobody";
  EXPECT_NE(later[0].endpoints[0].id, before[0].endpoints[0].id);
}

TEST_F(Inherited, a_torn_or_damaged_record_is_free) {
  assign({small("x/y:z", {local_endpoint("10.0.0.1:80")})});
  memory_[1] = 0xffffffff'ffffffff;  // the first record's id, port, family: an id that was never given
  const auto ids = assign({small("x/y:z", {local_endpoint("10.0.0.1:80")})});
  EXPECT_EQ(ids[0].endpoints[0], (datapath::EndpointId{0, 2}));
}

TEST_F(Inherited, scopes_come_to_an_end) {
  auto* const next = reinterpret_cast<std::uint32_t*>(memory_.data());  // the header: next id, next scope
  next[1] = Identities::kScopes;
  Identities identities(slots_, kLimits, kKey, std::as_writable_bytes(std::span(memory_)));
  const auto refused = identities.assign(std::vector{small("x/y:z", {})});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("16777215"), std::string::npos) << refused.error().message;
}

TEST(Identities, what_is_gone_makes_room) {
  EndpointSlots slots(2);
  Identities identities(slots, {.endpoints = 2, .scopes = 1}, {}, memory_of({.endpoints = 2, .scopes = 1}));
  const auto before =
      *identities.assign(std::vector{small("x/y:z", {local_endpoint("10.0.0.1:80"), local_endpoint("10.0.0.2:80")})});
  const auto after =
      identities.assign(std::vector{small("p/q:r", {local_endpoint("10.0.0.3:80"), local_endpoint("10.0.0.4:80")})});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_TRUE(slots.is((*after)[0].endpoints[0], EndpointSlots::ready));
  EXPECT_FALSE(slots.is(before[0].endpoints[0], EndpointSlots::serving)) << "the slot is another's now";
  EXPECT_EQ((*after)[0].endpoints[0].id, 3U) << "slots are used again, ids are not";
  EXPECT_EQ((*after)[0].affinity_scope, 2U);
}

TEST(Identities, what_is_gone_makes_no_room_while_flows_name_it) {
  EndpointSlots slots(1);
  Identities identities(slots);
  const std::vector old{small("x/y:z", {local_endpoint("10.0.0.1:80")})};
  const auto before = *identities.assign(old);
  const auto refused = identities.assign(std::vector{small("x/y:z", {local_endpoint("10.0.0.2:80")})},
                                         [](std::uint32_t) { return true; });
  ASSERT_FALSE(refused);
  EXPECT_TRUE(slots.is(before[0].endpoints[0], EndpointSlots::ready)) << "nothing was changed";
  EXPECT_EQ((*identities.assign(old))[0].endpoints, before[0].endpoints);
}

TEST(Identities, a_slot_that_was_free_before_is_taken_first) {
  EndpointSlots slots(3);
  Identities identities(slots);
  const auto before = *identities.assign(std::vector{small("x/y:z", {local_endpoint("10.0.0.1:80")})});
  const auto after = *identities.assign(std::vector{
      small("x/y:z", {local_endpoint("10.0.0.2:80"), local_endpoint("10.0.0.3:80"), local_endpoint("10.0.0.4:80")})});
  EXPECT_EQ(before[0].endpoints[0].slot, 0U);
  EXPECT_EQ(after[0].endpoints[0].slot, 1U);
  EXPECT_EQ(after[0].endpoints[1].slot, 2U);
  EXPECT_EQ(after[0].endpoints[2].slot, 0U);
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
