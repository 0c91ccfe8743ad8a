// Which packets a snapshot asks for: whatever it would not decide `none` about, and what endpoints answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/datapath/counted_plan.h"
#include "lb/service/snapshot.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> text(const std::vector<datapath::L4Address>& list) {
  std::vector<std::string> result;
  for (const auto& entry : list) result.push_back(net::to_string(entry.protocol) + " " + entry.at.to_string());
  return result;
}

TEST(Diversion, names_every_door_and_every_endpoint_once) {
  Service http = seed_service();
  http.endpoints = {local_endpoint("10.28.8.6:80"), remote_endpoint("10.28.6.5:80", 0)};  // weight 0 still answers
  Service alt = seed_service();
  alt.name = "default/php-apache-svc:alt";
  alt.port = 8080;
  alt.node_port = 0;
  alt.endpoints = http.endpoints;
  const World world(seed_node(), {http, alt});
  const datapath::DiversionPlan plan = world.snapshot().diversion(world.view);
  EXPECT_THAT(text(plan.services), ElementsAre("tcp 10.28.8.1:31332", "tcp 10.31.240.99:80", "tcp 10.31.240.99:8080",
                                               "tcp 10.128.0.5:31332"));
  EXPECT_THAT(text(plan.endpoints), ElementsAre("tcp 10.28.6.5:80", "tcp 10.28.8.6:80"));
  EXPECT_THAT(plan.locals, ElementsAre(ip("10.28.8.1"), ip("10.128.0.5"), ip("2001:db8::5")));
}

TEST(Diversion, takes_localhost_only_if_asked_for) {
  NodeConfig node = seed_node();
  node.localhost_node_ports = true;
  node.node_port_addresses = {cidr("127.0.0.0/8")};
  const World world(node, {seed_service()});
  EXPECT_THAT(text(world.snapshot().diversion(world.view).services),
              ElementsAre("tcp 10.31.240.99:80", "tcp 127.0.0.1:31332"));
}

/// A nodePort that nobody can be sent to is refused on every address of the node, so all are diverted until somebody can.
TEST(Diversion, takes_a_node_port_that_is_refused_from_every_address_of_the_node) {
  NodeConfig node = seed_node();
  node.node_port_addresses = {cidr("10.128.0.0/20")};
  const auto diverted = [&](const Service& service) {
    const World world(node, {service});
    return text(world.snapshot().diversion(world.view).services);
  };
  Service service = seed_service();
  service.cluster_ip.reset();
  const std::vector<std::string> chosen{"tcp 10.128.0.5:31332"};
  const std::vector<std::string> all{"tcp 10.28.8.1:31332", "tcp 10.128.0.5:31332", "tcp 127.0.0.1:31332"};
  Service empty = service;
  empty.endpoints.clear();
  EXPECT_EQ(diverted(service), chosen);
  service.external_policy = TrafficPolicy::local;
  EXPECT_EQ(diverted(service), chosen);
  for (Endpoint& endpoint : service.endpoints) endpoint.node_name = kOtherNode;
  EXPECT_EQ(diverted(service), all) << "none here";
  service.external_policy = TrafficPolicy::cluster;
  EXPECT_EQ(diverted(service), chosen);

  Service six = empty;
  six.name = "default/six:http";
  six.cluster_ip = ip("fd00::63");
  EXPECT_EQ(diverted(six),
            (std::vector<std::string>{"tcp [::1]:31332", "tcp [2001:db8::5]:31332", "tcp [fd00::63]:80"}));
  node.compat = Compat::nftables;
  empty.cluster_ip = ip("10.31.240.99");
  EXPECT_EQ(diverted(empty), (std::vector<std::string>{"tcp 10.31.240.99:80", "tcp 10.128.0.5:31332"}));
}

/// As the daemon changes its plan: by the service that is replaced alone.
TEST(Diversion, gives_those_addresses_up_when_endpoints_come) {
  NodeConfig node = seed_node();
  node.node_port_addresses = {cidr("10.128.0.0/20")};
  Service empty = seed_service();
  empty.endpoints.clear();
  const World without(node, {empty}), with(node, {seed_service()});
  const auto asked_by = [](const World& world) {
    return world.snapshot().diversion_of(world.snapshot().ports(), world.view);
  };
  datapath::CountedPlan counted;
  counted.change({}, asked_by(without));
  const datapath::PlanDelta coming = counted.change(asked_by(without), asked_by(with));
  EXPECT_THAT(text(coming.removed.services), ElementsAre("tcp 10.28.8.1:31332", "tcp 127.0.0.1:31332"));
  EXPECT_THAT(coming.added.services, IsEmpty());
  const datapath::PlanDelta going = counted.change(asked_by(with), asked_by(without));
  EXPECT_EQ(going.added.services, coming.removed.services);
  EXPECT_THAT(going.removed.services, IsEmpty());
}

TEST(Diversion, listed_addresses_do_not_hide_where_masqueraded_replies_arrive) {
  NodeConfig node = seed_node();
  node.addresses = {ip("10.128.0.5"), ip("192.0.2.1")};
  const World world(node, {seed_service()});
  const datapath::DiversionPlan plan = world.snapshot().diversion(world.view);
  EXPECT_THAT(plan.locals, ElementsAre(ip("10.28.8.1"), ip("10.128.0.5"), ip("192.0.2.1"), ip("2001:db8::5")));
  EXPECT_THAT(text(plan.services), ElementsAre("tcp 10.31.240.99:80", "tcp 10.128.0.5:31332", "tcp 192.0.2.1:31332"))
      << "nodePorts listen on the listed ones only";
}

TEST(Diversion, names_echo_requests_to_vips_if_they_are_to_be_answered) {
  Service six = seed_service();
  six.name = "default/six:http";
  six.cluster_ip = ip("fd00::63");
  six.node_port = 0;
  six.endpoints = {};
  Service own = seed_service();
  own.name = "default/own:http";
  own.cluster_ip = ip("10.128.0.5");  // an address of the node: its kernel answers
  own.node_port = 0;
  Config config;
  config.node = seed_node();
  config.services = {seed_service(), six, own};
  config.services[0].node_port = 0;
  for (const IcmpEcho echo : {IcmpEcho::ignore, IcmpEcho::reply}) {
    config.icmp_echo = echo;
    datapath::EndpointSlots slots(64);
    Identities identities(slots);
    const auto snapshot = *Snapshot::build(config, identities);
    std::vector<std::string> expected = {"tcp 10.31.240.99:80", "tcp 10.128.0.5:80", "tcp [fd00::63]:80"};
    if (echo == IcmpEcho::reply) {  // 2048 = 8 << 8, 32768 = 128 << 8
      expected.insert(expected.begin(), "icmp 10.31.240.99:2048");
      expected.push_back("icmp6 [fd00::63]:32768");
    }
    EXPECT_EQ(text(snapshot->diversion(seed_view()).services), expected);
  }
}

TEST(Diversion, takes_whole_service_addresses_in_nftables_mode) {
  NodeConfig node = seed_node();
  node.compat = Compat::nftables;
  node.service_cidrs = {cidr("10.31.240.0/20"), cidr("10.128.0.0/24")};
  Service outside = seed_service();  // of serviceCIDRs
  outside.name = "default/outside:http";
  outside.cluster_ip = ip("10.96.0.1");
  Service own = seed_service();
  own.name = "default/own:http";
  own.cluster_ip = ip("10.28.8.1");  // an address of the node: its other ports are its own
  const World world(node, {seed_service(), outside, own});
  const datapath::DiversionPlan plan = world.snapshot().diversion(world.view);
  EXPECT_THAT(plan.addresses, ElementsAre(ip("10.96.0.1")));
  EXPECT_THAT(plan.prefixes, ElementsAre(cidr("10.31.240.0/20"), cidr("10.128.0.0/24")));

  const auto refused = [&](const char* destination) {
    datapath::NewConnection connection;
    connection.tuple = {net::Protocol::tcp, {ip("203.0.113.7"), 40000}, *net::AddressPort::parse(destination)};
    return world.snapshot().match(connection, world.view).reason;
  };
  EXPECT_EQ(refused("10.31.240.99:81"), datapath::Reason::no_such_port);
  EXPECT_EQ(refused("10.31.241.1:80"), datapath::Reason::unallocated);
  EXPECT_EQ(refused("10.28.8.1:22"), datapath::Reason::not_a_service);
  EXPECT_EQ(refused("10.128.0.5:22"), datapath::Reason::not_a_service) << "in serviceCIDRs, yet the node's own";

  node.compat = Compat::iptables;
  const World usual(node, {seed_service(), outside, own});
  EXPECT_THAT(usual.snapshot().diversion(usual.view).addresses, IsEmpty());
  EXPECT_THAT(usual.snapshot().diversion(usual.view).prefixes, IsEmpty());
}

TEST(Diversion, is_empty_without_services) {
  const World world(seed_node(), {});
  const datapath::DiversionPlan plan = world.snapshot().diversion(world.view);
  EXPECT_THAT(plan.services, IsEmpty());
  EXPECT_THAT(plan.endpoints, IsEmpty());
}

}  // namespace
}  // namespace limpet::service
