// Affinity and choice through the Decider's door. Times are worked out from the rule: remembered while
// now - last connection <= timeout, inclusive.
#include "lb/service/balancer.h"

#include <array>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using datapath::Decision;
using datapath::EndpointSlots;
using datapath::Reason;
using flow::Milliseconds;
using flow::Seconds;

const std::string kVip = "10.31.240.99:80";
const std::string kNodePort = "10.128.0.5:31332";

Service sticky_service(Seconds timeout = Seconds{10800}) {
  Service service = seed_service();
  service.external_policy = TrafficPolicy::local;
  service.affinity_timeout = timeout;
  return service;
}

std::string client(unsigned i) {
  return net::Address::from_v4(0xcb007100 + i).to_string();
}  // 203.0.113.0 + i

TEST(Balancer, remembers_to_the_millisecond_and_slides) {
  World world(seed_node(), {sticky_service(Seconds{10})});
  struct {
    int at_ms;
    AffinityOutcome outcome;
  } const timeline[] = {
      {0, AffinityOutcome::miss},         {10'000, AffinityOutcome::hit},  // exactly the timeout: inclusive
      {20'000, AffinityOutcome::hit},                                      // 10 s after the refresh at 10 s
      {30'001, AffinityOutcome::expired},                                  // 10,001 ms after the refresh at 20 s
      {30'002, AffinityOutcome::hit},
  };
  for (const auto& step : timeline) {
    EXPECT_EQ(world.decide(connection(client(7), kVip), Milliseconds{step.at_ms}).affinity, step.outcome)
        << step.at_ms << " ms";
  }
}

TEST(Balancer, keeps_every_client_at_its_endpoint) {
  World world(seed_node(), {sticky_service()});
  std::set<net::AddressPort> used;
  for (unsigned i = 0; i < 100; ++i) {
    const Decision first = world.decide(connection(client(i), kVip));
    const Decision second = world.decide(connection(client(i), kVip));
    EXPECT_EQ(first.reason, Reason::picked);
    EXPECT_EQ(second.reason, Reason::affinity);
    EXPECT_EQ(second.endpoint, first.endpoint);
    EXPECT_EQ(second.endpoint_id, first.endpoint_id);
    used.insert(first.endpoint);
  }
  EXPECT_EQ(used.size(), 4U);  // all alike by chance: 4 * 0.75^100 < 1e-11
}

TEST(Balancer, shares_affinity_between_the_doors_of_one_port) {
  World world(seed_node(), {sticky_service()});
  const Decision inside = world.decide(connection(client(1), kNodePort));  // one of the two local ones
  const Decision by_vip = world.decide(connection(client(1), kVip));
  EXPECT_EQ(by_vip.affinity, AffinityOutcome::hit);
  EXPECT_EQ(by_vip.endpoint, inside.endpoint);
}

TEST(Balancer, moves_a_client_whose_endpoint_is_not_in_the_set) {
  World world(seed_node(), {sticky_service()});
  // Look for a client whom the VIP (4 endpoints) gave a remote one; then come by the nodePort (2 local ones).
  for (unsigned i = 0; i < 100; ++i) {
    const Decision by_vip = world.decide(connection(client(i), kVip));
    if (by_vip.endpoint.address < ip("10.28.8.0")) {
      const Decision moved = world.decide(connection(client(i), kNodePort));
      EXPECT_EQ(moved.affinity, AffinityOutcome::moved);
      EXPECT_EQ(moved.reason, Reason::picked);
      EXPECT_GT(moved.endpoint.address, ip("10.28.8.0"));
      EXPECT_EQ(world.decide(connection(client(i), kVip)).endpoint, moved.endpoint);  // one entry, replaced
      return;
    }
  }
  FAIL() << "no client got a remote endpoint: chance 0.5^100";
}

TEST(Balancer, gives_each_service_port_an_affinity_of_its_own) {
  Service http = sticky_service();
  Service https = sticky_service();
  https.name = "default/php-apache-svc:https";
  https.port = 443;
  https.node_port = 30558;
  World world(seed_node(), {http, https});
  const Decision one = world.decide(connection(client(1), kVip));
  const Decision other = world.decide(connection(client(1), "10.31.240.99:443"));
  EXPECT_EQ(other.affinity, AffinityOutcome::miss);
  EXPECT_NE(one.remembered.scope(), other.remembered.scope());
}

TEST(Balancer, service_ports_may_share_their_clients_by_address) {
  Service http = sticky_service();
  Service https = sticky_service();
  https.name = "default/php-apache-svc:https";
  https.port = 443;
  https.node_port = 30558;
  for (Endpoint& endpoint : https.endpoints) endpoint.at.port = 8443;
  http.affinity_group = https.affinity_group = "service default/php-apache-svc";
  World world(seed_node(), {http, https});
  for (unsigned n = 1; n <= 20; ++n) {
    const Decision one = world.decide(connection(client(n), kVip));
    const Decision other = world.decide(connection(client(n), "10.31.240.99:443"));
    EXPECT_EQ(other.affinity, AffinityOutcome::hit);
    EXPECT_EQ(other.endpoint.address, one.endpoint.address);
    EXPECT_EQ(other.endpoint.port, 8443);
    EXPECT_EQ(one.remembered, other.remembered);
  }
}

// Two pods on one host network: an address is two endpoints of the one port, and one of the other.
TEST(Balancer, keeps_clients_apart_who_share_an_address_and_a_scope) {
  Service http = sticky_service();
  http.endpoints = {local_endpoint("10.28.8.5:80"), local_endpoint("10.28.8.5:81")};
  Service https = sticky_service();
  https.name = "default/php-apache-svc:https";
  https.port = 443;
  https.node_port = 30558;
  https.endpoints = {local_endpoint("10.28.8.5:8443"), local_endpoint("10.28.8.6:8443")};
  http.affinity_group = https.affinity_group = "service default/php-apache-svc";
  World world(seed_node(), {http, https});
  std::set<std::uint16_t> used;
  for (unsigned n = 1; n <= 20; ++n) {  // that none of 20 draws one of the two: 2^-19
    const Decision one = world.decide(connection(client(n), kVip));
    const Decision other = world.decide(connection(client(n), "10.31.240.99:443"));
    const Decision again = world.decide(connection(client(n), kVip));
    EXPECT_EQ(other.affinity, AffinityOutcome::hit);
    EXPECT_EQ(other.endpoint, at("10.28.8.5:8443"));
    EXPECT_EQ(other.remembered, one.remembered) << "so that the other's flows confirm it too";
    EXPECT_EQ(again.affinity, AffinityOutcome::hit);
    EXPECT_EQ(again.endpoint, one.endpoint);
    used.insert(one.endpoint.port);
  }
  EXPECT_EQ(used, (std::set<std::uint16_t>{80, 81}));

  http.endpoints[0].weight = 0;
  world.reload(seed_node(), {http, https});
  for (unsigned n = 1; n <= 20; ++n) {
    EXPECT_EQ(world.decide(connection(client(n), kVip)).endpoint, at("10.28.8.5:81")) << "its neighbour drains alone";
  }
}

TEST(Balancer, clients_of_one_network_may_be_one) {
  Service service = sticky_service();
  service.affinity_prefix = 24;
  World world(seed_node(), {service});
  const Decision first = world.decide(connection("203.0.113.1", kVip));
  for (unsigned n = 2; n <= 20; ++n) {
    const Decision other = world.decide(connection("203.0.113." + std::to_string(n), kVip));
    EXPECT_EQ(other.affinity, AffinityOutcome::hit);
    EXPECT_EQ(other.endpoint, first.endpoint);
  }
  EXPECT_EQ(world.decide(connection("203.0.114.1", kVip)).affinity, AffinityOutcome::miss);
}

TEST(Balancer, without_affinity_remembers_nothing) {
  World world(seed_node(), {seed_service()});
  std::set<net::AddressPort> used;
  for (int i = 0; i < 100; ++i) {
    const Decision decision = world.decide(connection(client(1), kVip));
    EXPECT_EQ(decision.affinity, AffinityOutcome::none);
    EXPECT_FALSE(decision.remembered);
    used.insert(decision.endpoint);
  }
  EXPECT_EQ(used.size(), 4U);
}

TEST(Balancer, chooses_by_weight) {
  Service service = seed_service();
  const std::array<std::uint32_t, 4> weights = {1, 2, 5, 0};  // sum 8
  for (std::size_t i = 0; i < weights.size(); ++i) service.endpoints[i].weight = weights[i];
  World world(seed_node(), {service});
  constexpr int kDraws = 80'000;
  std::map<net::AddressPort, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[world.decide(connection(client(1), kVip)).endpoint];
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double p = weights[i] / 8.0;
    const double sigma = std::sqrt(kDraws * p * (1 - p));
    EXPECT_NEAR(counts[service.endpoints[i].at], kDraws * p, 5 * sigma) << i;  // seed 42
  }
}

TEST(Balancer, masquerades_a_pod_that_reaches_itself) {
  Service service = seed_service();
  World world(seed_node(), {service});
  bool itself = false;
  for (int i = 0; i < 100; ++i) {
    const Decision decision = world.decide(connection("10.28.8.5", kVip));
    EXPECT_EQ(decision.masquerade, decision.endpoint.address == ip("10.28.8.5"));
    itself |= decision.masquerade;
  }
  EXPECT_TRUE(itself);
}

TEST(Balancer, recalls_midstream_and_assigns_nothing) {
  World world(seed_node(), {sticky_service(Seconds{10})});
  auto midstream = connection(client(1), kVip);
  midstream.known_clients_only = true;
  const Decision unknown = world.decide(midstream);
  EXPECT_EQ(unknown.action, Action::drop);
  EXPECT_EQ(unknown.reason, Reason::midstream);
  EXPECT_EQ(world.decide(connection(client(1), kVip)).affinity, AffinityOutcome::miss);  // nothing was assigned
  const Decision known = world.decide(midstream, Milliseconds{10'000});
  EXPECT_EQ(known.action, Action::dnat);
  EXPECT_EQ(known.affinity, AffinityOutcome::hit);
  EXPECT_EQ(world.decide(midstream, Milliseconds{10'001}).action, Action::drop);  // nor refreshed
}

TEST(Balancer, drops_midstream_without_affinity) {
  World world(seed_node(), {seed_service()});
  auto midstream = connection(client(1), kVip);
  midstream.known_clients_only = true;
  EXPECT_EQ(world.decide(midstream).reason, Reason::midstream);
}

TEST(Balancer, does_not_return_to_an_endpoint_that_drains) {
  Service service = sticky_service();
  service.endpoints.resize(2);
  World world(seed_node(), {service});
  const Decision before = world.decide(connection(client(1), kVip));
  const std::size_t chosen = before.endpoint == service.endpoints[0].at ? 0 : 1;
  service.endpoints[chosen].weight = 0;
  world.reload(seed_node(), {service});
  const Decision after = world.decide(connection(client(1), kVip));
  EXPECT_EQ(after.affinity, AffinityOutcome::moved);
  EXPECT_EQ(after.endpoint, service.endpoints[1 - chosen].at);
  EXPECT_TRUE(world.balancer().still_valid(before.endpoint_id));  // its flows go on
}

TEST(Balancer, treats_an_endpoint_that_returns_as_new) {
  Service service = sticky_service();
  service.endpoints.resize(1);
  World world(seed_node(), {service});
  const Decision before = world.decide(connection(client(1), kVip));
  Service empty = service;
  empty.endpoints.clear();
  world.reload(seed_node(), {empty});
  EXPECT_FALSE(world.balancer().still_valid(before.endpoint_id));
  EXPECT_EQ(world.decide(connection(client(1), kVip)).action, Action::reject);
  world.reload(seed_node(), {service});
  const Decision after = world.decide(connection(client(1), kVip));
  EXPECT_EQ(after.affinity, AffinityOutcome::moved);
  EXPECT_NE(after.endpoint_id, before.endpoint_id);
}

TEST(Balancer, applies_a_changed_timeout_to_known_clients) {
  World world(seed_node(), {sticky_service(Seconds{10})});
  world.decide(connection(client(1), kVip));
  world.reload(seed_node(), {sticky_service(Seconds{0})});  // never
  EXPECT_EQ(world.decide(connection(client(1), kVip), Milliseconds{1'000'000'000}).affinity, AffinityOutcome::hit);
}

}  // namespace
}  // namespace limpet::service
