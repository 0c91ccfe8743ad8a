// The recorded event sequences about session affinity (tests/data/README.md), played to the rules that limpet exports:
// by each way into the service, rule by rule and compiled, with a new program for each change. The lists are the kernel's
// to the letter (tests of lb/affinity), so their capacity and who falls out of them is looked at, too.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "lb/rules/chain_names.h"
#include "tests/unit/kube/exported.h"
#include "tests/unit/service/scenario.h"

namespace limpet::kube::test {
namespace {

using nlohmann::json;
using service::ip;

class Sequence {
 public:
  Sequence(const json& scenario, std::string via, bool compiled)
      : scenario_(scenario), via_(std::move(via)), program_(configuration(), net::Family::v4, compiled) {}

  void run() {
    for (const json& event : scenario_.at("events")) {
      SCOPED_TRACE(event.dump());
      now_ = flow::Instant{std::chrono::seconds(1'000'000 + event.at("t").get<std::int64_t>())};
      const std::string op = event.at("op");
      if (op == "connect") {
        connect(event);
      } else if (op == "bulk_connect") {
        for (int i = 0; i < event.at("clients").get<int>(); ++i, ++strangers_) {
          decide(net::Address::from_v4(0xc6120000U + strangers_), event);
        }
      } else if (op != "packet_on_existing_connection") {  // nat does not see it
        change(op, event.at("set"));
      }
      look_at_lists(event);
    }
  }

 private:
  const json& name_of(const char* kind, const std::string& word) const {
    return scenario_.at("names").at(kind).at(word);
  }
  net::Address endpoint(const std::string& letter) const { return ip(name_of("endpoints", letter).get<std::string>()); }

  service::Config configuration() const {
    json now = scenario_;
    for (json& object : now.at("objects")) {
      if (object.at("kind") != "Service") {
        if (ready_) object["endpoints"] = of_those_ready(object.at("endpoints"));
        continue;
      }
      if (affinity_) object["spec"]["sessionAffinity"] = *affinity_;
      if (timeout_) object["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] = *timeout_;
    }
    service::Config config;
    config.node = service::scenario_node(now);
    config.services = service::scenario_objects(now).services();
    return config;
  }
  json of_those_ready(const json& endpoints) const {
    json kept = json::array();
    for (const json& each : endpoints) {
      if (std::ranges::find(*ready_, ip(each.at("addresses").at(0).get<std::string>())) != ready_->end()) {
        kept.push_back(each);
      }
    }
    return kept;
  }

  void change(const std::string& op, const json& set) {
    ASSERT_TRUE(op == "endpoints" || op == "affinity" || op == "timeout") << op;
    if (op == "affinity") affinity_ = set.get<std::string>();
    if (op == "timeout") timeout_ = set.get<int>();
    if (op == "endpoints") {
      ready_.emplace();
      for (const json& letter : set) ready_->push_back(endpoint(letter.get<std::string>()));
    }
    program_.load(configuration());
  }

  datapath::Decision decide(const net::Address& client, const json& event) {
    const std::string via = event.value("via", via_);
    const json& ports = scenario_.at("objects").at(0).at("spec").at("ports");
    const auto port = std::ranges::find_if(
        ports, [&](const json& each) { return !event.contains("port") || each.at("name") == event.at("port"); });
    const auto number = port->at(via == "nodePort" ? "nodePort" : "port").get<std::uint16_t>();
    const net::Tuple tuple{net::Protocol::tcp, {client, 40000}, {ip(name_of("via", via).get<std::string>()), number}};
    return program_.decide(arriving(tuple, program_.view()), now_);
  }

  void forget() {
    const auto& lists = program_.memory().lists;
    for (const std::string& name : lists.names()) lists.find(name)->flush();
  }

  void connect(const json& event) {
    const net::Address client = ip(name_of("clients", event.at("client")).get<std::string>());
    datapath::Decision decision = decide(client, event);
    if (event.contains("force")) {
      for (int i = 0; i < 200 && decision.endpoint.address != endpoint(event.at("force")); ++i) {
        forget();
        decision = decide(client, event);
      }
      ASSERT_EQ(decision.endpoint.address, endpoint(event.at("force")));
    }
    ASSERT_EQ(decision.action, datapath::Action::dnat);
    if (event.contains("bind")) bound_[event.at("bind")] = decision.endpoint;
    const std::string expect = event.value("expect", "");
    const bool known = decision.affinity == datapath::AffinityOutcome::hit;
    if (expect == "any") {
      EXPECT_FALSE(known) << "a fresh choice";
    } else if (expect.starts_with("=")) {
      EXPECT_EQ(decision.endpoint.address, endpoint(expect.substr(1)));
    } else if (!expect.empty()) {
      EXPECT_EQ(decision.endpoint, bound_.at(expect));
      EXPECT_TRUE(known);
    }
  }

  /// What the list of an endpoint holds. Of the first service port.
  std::vector<affinity::RecentRecord> recorded(const std::string& letter) const {
    const service::Service service = configuration().services.front();
    for (const service::Endpoint& each : service.endpoints) {
      if (each.at.address != endpoint(letter)) continue;
      const auto list = program_.memory().lists.find(rules::endpoint_chain(service.name, service.protocol, each.at));
      return list == nullptr ? std::vector<affinity::RecentRecord>() : list->records();
    }
    return {};
  }
  void look_at_lists(const json& event) const {
    const json counts = event.value("expect_recorded", json::object());
    for (const auto& [letter, count] : counts.items()) {
      EXPECT_EQ(recorded(letter).size(), count.get<std::size_t>()) << letter;
    }
    const json evicted = event.value("expect_evicted", json::array());
    for (const json& client : evicted) {
      const net::Address gone = ip(name_of("clients", client).get<std::string>());
      EXPECT_TRUE(std::ranges::none_of(recorded("A"), [&](const auto& each) { return each.address == gone; }))
          << client;
    }
  }

  const json& scenario_;
  std::string via_;
  std::optional<std::vector<net::Address>> ready_;
  std::optional<std::string> affinity_;
  std::optional<int> timeout_;
  ExportedProgram program_;
  flow::Instant now_{};
  std::map<std::string, net::AddressPort> bound_;
  std::uint32_t strangers_ = 1;
};

TEST(ExportAffinity, RulesRememberClientsAsKubeProxys) {
  for (const json& scenario : service::load_scenarios()) {
    if (scenario.at("kind") != "affinity_semantics") continue;
    for (const auto& via : scenario.at("names").at("via").items()) {
      for (const bool compiled : {false, true}) {
        SCOPED_TRACE(scenario.at("name").get<std::string>() + " by " + via.key() + (compiled ? ", compiled" : ""));
        Sequence(scenario, via.key(), compiled).run();
      }
    }
  }
}

}  // namespace
}  // namespace limpet::kube::test
