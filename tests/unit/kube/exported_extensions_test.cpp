// What limpet has and kube-proxy has not, in rules: expected outcomes are those of the configuration's reference
// (README).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/kube/exported.h"

namespace limpet::kube::test {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using datapath::Decision;
using service::ip;
using service::Service;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kVip = "10.31.240.99:80";
const std::string kClient = "203.0.113.7";

service::Config config_of(std::vector<Service> services) {
  service::Config config;
  config.node = service::seed_node();
  config.services = std::move(services);
  return config;
}

Service remembering(std::chrono::seconds timeout = seconds(100)) {
  Service service = service::seed_service();
  service.affinity_timeout = timeout;
  return service;
}

/// The seed's node with some services, and a clock.
class Exported {
 public:
  explicit Exported(const service::Config& config) : program_(config, net::Family::v4, true) {}
  explicit Exported(const Service& service) : Exported(config_of({service})) {}

  Decision connect(const std::string& from, const std::string& to, seconds at) {
    const net::Tuple tuple{net::Protocol::tcp, {ip(from), 40000}, service::at(to)};
    return program_.decide(arriving(tuple, program_.view()), flow::Instant{seconds(1'000'000) + at});
  }
  bool masquerades(const std::string& from, const std::string& to) {
    const Decision decision = connect(from, to, seconds(0));
    EXPECT_EQ(decision.action, Action::dnat);
    return decision.masquerade;
  }
  const std::string& text() const { return program_.text(); }

 private:
  ExportedProgram program_;
};

TEST(ExportedWeights, AreProbabilitiesOfWhatIsLeft) {
  Service service = service::seed_service();
  service.endpoints = {service::local_endpoint("10.28.8.5:80", 1), service::local_endpoint("10.28.8.6:80", 5),
                       service::local_endpoint("10.28.8.7:80", 0), service::local_endpoint("10.28.8.8:80", 2)};
  const Exported exported(service);
  // 1 of 8; of the 7 that are left 5; who is left then goes to the last.
  EXPECT_THAT(exported.text(), HasSubstr("-> 10.28.8.5:80\" -m statistic --mode random --probability 0.1250000000 -j"));
  EXPECT_THAT(exported.text(), HasSubstr("-> 10.28.8.6:80\" -m statistic --mode random --probability 0.7142857143 -j"));
  EXPECT_THAT(exported.text(), HasSubstr("-> 10.28.8.8:80\" -j KUBE-SEP-"));
  EXPECT_THAT(exported.text(), Not(HasSubstr("10.28.8.7")));
}

TEST(ExportedMasquerade, AlwaysIsByEveryDoor) {
  Service service = service::seed_service();
  service.external_policy = service::TrafficPolicy::local;
  service.masquerade = service::MasqueradeMode::always;
  Exported exported(service);
  for (const char* const to : {"10.31.240.99:80", "10.128.0.5:31332"}) {
    for (const char* const from : {"203.0.113.7", "10.28.9.9", "10.128.0.5"}) {
      EXPECT_TRUE(exported.masquerades(from, to)) << from << " to " << to;
    }
  }
}

TEST(ExportedMasquerade, NeverIsNotEvenAHairpins) {
  Service service = service::seed_service();
  service.endpoints = {service::local_endpoint("10.28.8.5:80")};
  Exported automatic(service);
  EXPECT_TRUE(automatic.masquerades("10.28.8.5", kVip));
  service.masquerade = service::MasqueradeMode::never;
  Exported exported(service);
  for (const char* const from : {"203.0.113.7", "10.28.8.5", "10.128.0.5"}) {
    EXPECT_FALSE(exported.masquerades(from, kVip)) << from;
    EXPECT_FALSE(exported.masquerades(from, "10.128.0.5:31332")) << from;
  }
}

TEST(ExportedDetector, AnyOfSeveralNetworksIsAPods) {
  service::Config config = config_of({service::seed_service()});
  config.node.detect_local.cidrs = {service::cidr("10.28.0.0/14"), service::cidr("172.20.0.0/16")};
  Exported exported(config);
  EXPECT_FALSE(exported.masquerades("10.28.9.9", kVip));
  EXPECT_FALSE(exported.masquerades("172.20.1.1", kVip));
  EXPECT_TRUE(exported.masquerades(kClient, kVip));
}

TEST(ExportedDetector, ABridgesPacketsArePods) {
  service::Config config = config_of({service::seed_service()});
  config.node.detect_local = {service::LocalDetector::Mode::bridge_interface, {}, "eth0"};
  EXPECT_FALSE(Exported(config).masquerades(kClient, kVip)) << "it comes by eth0";
  EXPECT_TRUE(Exported(config).masquerades("10.128.0.5", kVip)) << "it comes by none";
  config.node.detect_local = {service::LocalDetector::Mode::interface_name_prefix, {}, "veth"};
  EXPECT_TRUE(Exported(config).masquerades(kClient, kVip));
}

TEST(ExportedAffinity, WithoutATimeoutLastsForEver) {
  Exported exported(remembering(seconds(0)));
  const Decision first = exported.connect(kClient, kVip, seconds(0));
  const Decision later = exported.connect(kClient, kVip, seconds(10 * 365 * 86400));
  EXPECT_EQ(later.affinity, AffinityOutcome::hit);
  EXPECT_EQ(later.endpoint, first.endpoint);
}

/// Every 60 s for 600 s: 100 s are over between the second and the third.
TEST(ExportedAffinity, ThatNothingRefreshesEndsAFixedTimeAfterTheChoice) {
  Service service = remembering();
  service.affinity_refresh = service::AffinityRefresh::never;
  Exported exported(service);
  const auto outcomes = [](Exported& asked) {
    std::vector<AffinityOutcome> result;
    for (int i = 0; i < 5; ++i) result.push_back(asked.connect(kClient, kVip, seconds(60 * i)).affinity);
    return result;
  };
  EXPECT_THAT(outcomes(exported), ElementsAre(AffinityOutcome::miss, AffinityOutcome::hit, AffinityOutcome::expired,
                                              AffinityOutcome::hit, AffinityOutcome::expired));
  Exported refreshed(remembering());
  EXPECT_THAT(outcomes(refreshed), ElementsAre(AffinityOutcome::miss, AffinityOutcome::hit, AffinityOutcome::hit,
                                               AffinityOutcome::hit, AffinityOutcome::hit));
}

TEST(ExportedAffinity, WithAPrefixIsANetworks) {
  Service service = remembering();
  service.affinity_prefix = 24;
  Exported exported(service);
  const Decision first = exported.connect("203.0.113.7", kVip, seconds(0));
  for (int i = 1; i < 40; ++i) {
    const Decision neighbour = exported.connect("203.0.113." + std::to_string(i), kVip, seconds(1));
    EXPECT_EQ(neighbour.endpoint, first.endpoint);
  }
  EXPECT_EQ(exported.connect("203.0.112.7", kVip, seconds(1)).affinity, AffinityOutcome::miss);
}

/// http has one endpoint an address; admin has two at 10.28.8.5, of which the clients of both keep to one.
TEST(ExportedAffinity, ThatServicesShareIsForAnAddress) {
  Service http = remembering(), admin = remembering();
  admin.name = "default/php-apache-svc:admin";
  admin.port = 8000;
  admin.node_port = 0;
  admin.endpoints = {service::local_endpoint("10.28.8.5:8000"), service::local_endpoint("10.28.8.5:8001"),
                     service::local_endpoint("10.28.8.6:8000")};
  http.endpoints = {service::local_endpoint("10.28.8.5:80"), service::local_endpoint("10.28.8.6:80")};
  http.affinity_group = admin.affinity_group = "service default/php-apache-svc";
  Exported exported(config_of({http, admin}));
  std::set<net::AddressPort> seen;
  for (int i = 1; i < 100; ++i) {
    const std::string client = "203.0.113." + std::to_string(i);
    const Decision first = exported.connect(client, "10.31.240.99:8000", seconds(0));
    const Decision second = exported.connect(client, kVip, seconds(1));
    const Decision third = exported.connect(client, "10.31.240.99:8000", seconds(2));
    EXPECT_EQ(second.affinity, AffinityOutcome::hit);
    EXPECT_EQ(second.endpoint.address, first.endpoint.address);
    EXPECT_EQ(third.endpoint.address, first.endpoint.address);
    seen.insert(first.endpoint);
  }
  EXPECT_EQ(seen.size(), 3U);
}

TEST(ExportedRefusal, MayBeAReset) {
  Service tcp = service::seed_service(), udp = service::seed_service();
  udp.name = "default/dns";
  udp.protocol = net::Protocol::udp;
  tcp.endpoints.clear();
  udp.endpoints.clear();
  service::Config config = config_of({tcp, udp});
  config.reject_with = service::RejectWith::tcp_reset;
  const Exported exported(config);
  EXPECT_THAT(exported.text(), HasSubstr("--dport 80 -j REJECT --reject-with tcp-reset\n"));
  EXPECT_THAT(exported.text(),
              HasSubstr("-p udp -m comment --comment \"default/dns has no endpoints\" -m udp --dport 80 "
                        "-j REJECT --reject-with icmp-port-unreachable\n"));
}

TEST(ExportedFrame, SpeaksOfTheOtherFamilyNowhere) {
  service::Config config = config_of({service::seed_service()});
  config.node.localhost_node_ports = true;
  const ExportedRules six = export_rules(config, service::seed_view(), net::Family::v6);
  EXPECT_EQ(six.services, 0U);
  EXPECT_THAT(six.text, Not(HasSubstr("127.0.0.0/8")));
  EXPECT_THAT(six.text, HasSubstr("-A KUBE-SERVICES ! -d ::1/128 -m addrtype --dst-type LOCAL "));
  const ExportedRules four = export_rules(config, service::seed_view(), net::Family::v4);
  EXPECT_EQ(four.services, 1U);
  EXPECT_THAT(four.text, HasSubstr("-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 "));
  EXPECT_THAT(four.text, HasSubstr("-A KUBE-SERVICES -m addrtype --dst-type LOCAL "));
}

/// kube-proxy's NewNodePortAddresses: each family by its own CIDRs; without any, everywhere.
TEST(ExportedFrame, ServesNodePortsWhereAFamilysNetworksSay) {
  Service six = service::seed_service();
  six.name = "default/six:http";
  six.cluster_ip = ip("fd00:31::99");
  six.endpoints = {service::local_endpoint("[fd00:28::5]:80")};
  service::Config config = config_of({service::seed_service(), six});
  const std::string everywhere = "-m addrtype --dst-type LOCAL -m comment --comment \"kubernetes service nodeports;";
  const auto rules = [&](net::Family family) { return export_rules(config, service::seed_view(), family).text; };
  config.node.node_port_addresses = {service::cidr("10.128.0.0/20")};
  EXPECT_THAT(rules(net::Family::v4), HasSubstr("-A KUBE-SERVICES -d 10.128.0.5/32 -m comment"));
  EXPECT_THAT(rules(net::Family::v4), Not(HasSubstr(everywhere)));
  EXPECT_THAT(rules(net::Family::v6), HasSubstr(everywhere));
  config.node.node_port_addresses = {service::cidr("2001:db8::/32")};
  EXPECT_THAT(rules(net::Family::v4), HasSubstr(everywhere));
  EXPECT_THAT(rules(net::Family::v6), HasSubstr("-A KUBE-SERVICES -d 2001:db8::5/128 -m comment"));
}

TEST(ExportedNotes, NameTheServiceAndWhatRulesCannotSay) {
  EXPECT_THAT(export_rules(config_of({service::seed_service()}), {}, net::Family::v4).notes, IsEmpty());
  Service packets = remembering(), lite = service::seed_service(), faint = service::seed_service();
  packets.affinity_refresh = service::AffinityRefresh::packets;
  packets.endpoints.front().weight = 0;
  lite.name = "default/lite";
  lite.protocol = net::Protocol::udplite;
  faint.name = "default/faint";
  faint.endpoints = {service::local_endpoint("10.28.8.5:80")};  // 1 of 4e9 and more
  for (int i = 0; i < 4000; ++i) {
    faint.endpoints.push_back(service::local_endpoint("10.28.8.6:" + std::to_string(10000 + i), 1U << 20U));
  }
  service::Config config = config_of({packets, lite, faint});
  config.icmp_echo = service::IcmpEcho::reply;
  config.rules.file = "own.rules";
  const ExportedRules exported = export_rules(config, {}, net::Family::v4);
  EXPECT_THAT(exported.notes,
              ElementsAre(HasSubstr("default/lite: the DNAT of iptables gives UDP-Lite no port"),
                          HasSubstr("default/php-apache-svc:http: sessionAffinity.clientIP.refresh: packets"),
                          HasSubstr("default/php-apache-svc:http: an endpoint of weight 0"),
                          HasSubstr("default/faint: an endpoint's share is below 2^-31"),
                          HasSubstr("1 service has sessionAffinity"), HasSubstr("icmpEcho: reply"),
                          HasSubstr("own.rules is a program already")));
  EXPECT_THAT(exported.text, Not(HasSubstr("udplite")));
}

}  // namespace
}  // namespace limpet::kube::test
