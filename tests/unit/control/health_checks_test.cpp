#include "lb/control/health_checks.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/control_thread.h"
#include "tests/unit/service/fixture.h"

namespace limpet::control {
namespace {

using service::ip;
using service::kOtherNode;
using service::kThisNode;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::StartsWith;

// ------------------------------------------------------------------------------------------------ who is to be answered

service::Service checked(const std::string& name, std::uint16_t port, std::vector<service::Endpoint> endpoints) {
  service::Service service;
  service.name = name;
  service.cluster_ip = endpoints.empty() ? ip("10.96.0.1") : endpoints.front().at.address;
  service.health_check_node_port = port;
  service.endpoints = std::move(endpoints);
  return service;
}

TEST(CheckedServices, AreCountedByServiceNotByPort) {
  auto terminating = service::local_endpoint("10.0.0.3:80");
  terminating.ready = false;
  terminating.terminating = true;
  const std::vector<service::Service> services = {
      checked("a/web:http", 30100, {service::local_endpoint("10.0.0.1:80"), service::local_endpoint("10.0.0.2:80")}),
      checked("a/web:https", 30100, {service::local_endpoint("10.0.0.1:443")}),
      checked("a/web:http", 30100, {service::local_endpoint("[fd00::1]:80")}),  // its other family
      checked("a/far", 30101, {service::remote_endpoint("10.0.0.9:80")}),
      checked("a/going", 30102, {terminating}),
      checked("a/none", 30103, {}),
      checked("a/unchecked", 0, {service::local_endpoint("10.0.0.4:80")}),
  };
  EXPECT_THAT(checked_services(services, {kThisNode, ""}),
              ElementsAre(Pair("a/far", CheckedService{30101, 0}), Pair("a/going", CheckedService{30102, 0}),
                          Pair("a/none", CheckedService{30103, 0}), Pair("a/web", CheckedService{30100, 3})));
}

struct AddressCase {
  std::string name;
  service::NodeConfig config;
  std::vector<std::string> expected;
};

TEST(CheckedAddresses, AreThoseOfNodePorts) {
  const node::NodeView view({{.interface = 2, .address = ip("192.168.1.5"), .prefix_length = 24},
                             {.interface = 2, .address = ip("fe80::5"), .prefix_length = 64},
                             {.interface = 3, .address = ip("fd00::5"), .prefix_length = 64}},
                            {}, {});
  const auto with = [](auto change) {
    service::NodeConfig config;
    change(config);
    return config;
  };
  const std::vector<AddressCase> cases = {
      {"any", {}, {}},
      {"of one network of each family",
       with([](auto& c) {
         c.node_port_addresses = {service::cidr("192.168.0.0/16"), service::cidr("fd01::/16")};
       }),
       {"192.168.1.5"}},
      {"of one network, and all of the family that it is silent about",
       with([](auto& c) { c.node_port_addresses = {service::cidr("192.168.0.0/16")}; }),
       {"192.168.1.5", "fd00::5"}},
      {"link-local ones cannot be bound",
       with([](auto& c) {
         c.node_port_addresses = {service::cidr("10.0.0.0/8"), service::cidr("::/0")};
       }),
       {"fd00::5"}},
      {"not this machine's",
       with([](auto& c) {
         c.node_port_addresses = {service::cidr("10.0.0.0/8")};
         c.addresses = {ip("10.0.0.5")};
       }),
       {}},
      {"primary",
       with([](auto& c) {
         c.node_port_primary_only = true;
         c.node_ip = ip("192.168.1.5");
       }),
       {"192.168.1.5"}},
  };
  for (const AddressCase& tested : cases) {
    std::vector<std::string> found;
    for (const net::Address& address : checked_addresses(tested.config, view)) found.push_back(address.to_string());
    EXPECT_EQ(found, tested.expected) << tested.name;
  }
}

// ------------------------------------------------------------------------------------------------------------- answers

class HealthChecksTest : public testing::Test {
 protected:
  ~HealthChecksTest() override {
    thread_.run([this] { checks_.reset(); });
  }
  void update(const CheckedServices& services, std::vector<net::Address> addresses = {own_loopback(0)}) {
    thread_.run([&] { checks_->update(services, addresses); });
  }
  static net::AddressPort door(std::uint16_t port, unsigned address = 0) { return {own_loopback(address), port}; }

  ControlThread thread_;
  Health health_{.healthy = true, .updated = std::chrono::system_clock::from_time_t(1'000'000'000)};
  std::unique_ptr<HealthChecks> checks_ = std::make_unique<HealthChecks>(thread_.io, [this] { return health_; });
};

TEST_F(HealthChecksTest, AnswersAsKubeProxy) {
  struct Case {
    const char* name;
    std::uint32_t count;
    bool healthy;
    const char* status;
    const char* body;
  };
  const Case cases[] = {
      {"endpoints here", 3, true, "200 OK",
       R"({"service":{"namespace":"a","name":"web"},"localEndpoints":3,"serviceProxyHealthy":true})"},
      {"none here", 0, true, "503 Service Unavailable",
       R"({"service":{"namespace":"a","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true})"},
      {"not healthy", 3, false, "503 Service Unavailable",
       R"({"service":{"namespace":"a","name":"web"},"localEndpoints":3,"serviceProxyHealthy":false})"},
  };
  for (const Case& tested : cases) {
    update({{"a/web", {30100, tested.count}}});
    thread_.run([&] { health_.healthy = tested.healthy; });
    EXPECT_THAT(fetch(door(30100), "/any/path"),
                AllOf(StartsWith("HTTP/1.1 " + std::string(tested.status) + "\r\n"),
                      HasSubstr("X-Load-Balancing-Endpoint-Weight: " + std::to_string(tested.count) + "\r\n"),
                      HasSubstr("X-Content-Type-Options: nosniff\r\n"), EndsWith(std::string(tested.body) + "\n")))
        << tested.name;
  }
}

TEST_F(HealthChecksTest, AConnectionThatStaysHearsOfTheChange) {
  update({{"a/web", {30100, 1}}});
  TcpClient client(door(30100));
  client.say(get("/"));
  EXPECT_THAT(client.hear(), HasSubstr("\"localEndpoints\":1,"));
  update({{"a/web", {30100, 2}}, {"a/more", {30101, 1}}});
  client.say(get("/"));
  EXPECT_THAT(client.hear(), HasSubstr("\"localEndpoints\":2,"));
}

TEST_F(HealthChecksTest, OpensAndClosesPortsAsServicesComeAndGo) {
  update({{"a/web", {30100, 1}}});
  update({{"a/web", {30101, 1}}, {"b/web", {30102, 1}}});
  EXPECT_THAT(fetch(door(30100)), IsEmpty());
  EXPECT_THAT(fetch(door(30101)), HasSubstr(R"("namespace":"a")"));
  EXPECT_THAT(fetch(door(30102)), HasSubstr(R"("namespace":"b")"));
  update({{"b/web", {30101, 1}}});  // what another one had
  EXPECT_THAT(fetch(door(30101)), HasSubstr(R"("namespace":"b")"));
  EXPECT_THAT(fetch(door(30102)), IsEmpty());
  update({});
  EXPECT_THAT(fetch(door(30101)), IsEmpty());
}

TEST_F(HealthChecksTest, FollowsTheNodesAddresses) {
  update({{"a/web", {30100, 1}}}, {own_loopback(0), own_loopback(1)});
  EXPECT_THAT(fetch(door(30100, 0)), HasSubstr("200 OK"));
  EXPECT_THAT(fetch(door(30100, 1)), HasSubstr("200 OK"));
  EXPECT_THAT(fetch(door(30100, 2)), IsEmpty());
  update({{"a/web", {30100, 1}}}, {own_loopback(1), own_loopback(2)});
  EXPECT_THAT(fetch(door(30100, 0)), IsEmpty());
  EXPECT_THAT(fetch(door(30100, 2)), HasSubstr("200 OK"));
}

TEST_F(HealthChecksTest, APortThatIsTakenIsTriedAgain) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor in_the_way(io, {boost::asio::ip::make_address(own_loopback(0).to_string()), 30100});
  const CheckedServices services{{"a/web", {30100, 1}}, {"b/web", {30101, 1}}};
  update(services);
  EXPECT_THAT(fetch(door(30101)), HasSubstr("200 OK")) << "the other one is none the worse";
  EXPECT_EQ(thread_.run([this] { return checks_->listening(); }), 1U);
  in_the_way.close();
  update(services);
  EXPECT_THAT(fetch(door(30100)), HasSubstr("200 OK"));
}

TEST_F(HealthChecksTest, OfTwoServicesWithOnePortTheSecondWaits) {
  update({{"a/web", {30100, 1}}, {"b/web", {30100, 1}}});
  EXPECT_THAT(fetch(door(30100)), HasSubstr(R"("namespace":"a")"));
  update({{"b/web", {30100, 1}}});
  EXPECT_THAT(fetch(door(30100)), HasSubstr(R"("namespace":"b")"));
}

TEST_F(HealthChecksTest, Healthz) {
  ASSERT_TRUE(thread_.run([this] { return checks_->open_healthz(door(30256)); }));
  for (const std::string path : {"/healthz", "/livez", "/livez?verbose"}) {
    thread_.run([this] { health_.healthy = true; });
    // 10^9 s after the epoch (man 1 date).
    EXPECT_THAT(fetch(door(30256), path), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                                                HasSubstr(R"({"lastUpdated":"2001-09-09T01:46:40Z","currentTime":"2)")))
        << path;
    thread_.run([this] { health_.healthy = false; });
    EXPECT_THAT(fetch(door(30256), path), StartsWith("HTTP/1.1 503 Service Unavailable\r\n")) << path;
  }
  EXPECT_THAT(fetch(door(30256), "/"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
}

}  // namespace
}  // namespace limpet::control
