// The recorded event sequences about session affinity (tests/data/README.md), on a model clock: by each way into the
// service, and with endpoints that leave by being removed or by being not ready.
//
// What holds of the kernel's lists alone (expect_recorded, expect_evicted: 100 sources an endpoint) is not looked at.
#include <algorithm>
#include <map>
#include <memory>

#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"
#include "tests/unit/service/scenario.h"

namespace limpet::service {
namespace {

using nlohmann::json;

enum class Leaves { by_removal, by_not_ready };

class AffinityRun {
 public:
  AffinityRun(const json& scenario, std::string via, Leaves leaves)
      : scenario_(scenario), via_(std::move(via)), leaves_(leaves), node_(scenario_node(scenario)) {
    world_ = std::make_unique<World>(node_, services());
  }

  void run() {
    for (const json& event : scenario_.at("events")) {
      SCOPED_TRACE(event.dump());
      now_ = flow::Milliseconds(1000 * event.at("t").get<std::int64_t>());
      const std::string op = event.at("op");
      if (op == "connect") {
        connect(event);
      } else if (op == "bulk_connect") {
        for (int i = 0; i < event.at("clients").get<int>(); ++i) decide("198.18.0." + std::to_string(i + 1), event);
      } else if (op != "packet_on_existing_connection") {  // such a packet does not come this way: its flow has it
        change(op, event.at("set"));
      }
    }
  }

 private:
  /// The objects, changed by what has happened.
  std::vector<Service> services() const {
    json changed = scenario_;
    for (json& object : changed.at("objects")) {
      if (object.at("kind") == "Service") {
        if (affinity_) object["spec"]["sessionAffinity"] = *affinity_;
        if (timeout_) object["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] = *timeout_;
      } else if (ready_) {
        object["endpoints"] = with_ready(object.at("endpoints"));
      }
    }
    return scenario_objects(changed).services();
  }

  json with_ready(const json& endpoints) const {
    json result = json::array();
    for (json endpoint : endpoints) {
      const std::string address = endpoint.at("addresses").at(0);
      const bool ready = std::find(ready_->begin(), ready_->end(), address) != ready_->end();
      if (!ready && leaves_ == Leaves::by_removal) continue;
      if (!ready) endpoint["conditions"] = {{"ready", false}, {"serving", false}, {"terminating", false}};
      result.push_back(endpoint);
    }
    return result;
  }

  void change(const std::string& op, const json& set) {
    if (op == "endpoints") {
      ready_.emplace();
      for (const json& letter : set) ready_->push_back(endpoint(letter.get<std::string>()));
    } else if (op == "affinity") {
      affinity_ = set;
    } else if (op == "timeout") {
      timeout_ = set;
    } else {
      FAIL() << "unknown operation " << op;
    }
    world_->reload(node_, services());
  }

  std::string endpoint(const std::string& letter) const { return scenario_.at("names").at("endpoints").at(letter); }

  datapath::Decision decide(const std::string& client, const json& event) {
    const json& spec = scenario_.at("objects").at(0).at("spec");
    const std::string via = event.value("via", via_);
    const std::string name = event.value("port", "");
    std::string port;
    for (const json& each : spec.at("ports")) {
      if (!name.empty() && each.at("name") != name) continue;
      port = std::to_string(each.at(via == "nodePort" ? "nodePort" : "port").get<int>());
      break;
    }
    const std::string to = scenario_.at("names").at("via").at(via).get<std::string>() + ":" + port;
    return world_->decide(connection(client, to), now_);
  }

  void connect(const json& event) {
    const std::string client = scenario_.at("names").at("clients").at(event.at("client").get<std::string>());
    datapath::Decision decision = decide(client, event);
    if (event.contains("force")) {
      const std::string wanted = endpoint(event.at("force"));
      for (int i = 0; i < 200 && decision.endpoint.address != ip(wanted); ++i) {
        world_->table().erase_all();
        decision = decide(client, event);
      }
      ASSERT_EQ(decision.endpoint.address, ip(wanted));
    }
    ASSERT_EQ(decision.action, datapath::Action::dnat);
    if (event.contains("bind")) bound_[event.at("bind")] = decision.endpoint;
    const std::string expect = event.value("expect", "");
    if (expect == "any") {
      EXPECT_NE(decision.affinity, datapath::AffinityOutcome::hit) << "a fresh choice";
    } else if (expect.starts_with("=")) {
      EXPECT_EQ(decision.endpoint.address, ip(endpoint(expect.substr(1))));
    } else if (!expect.empty()) {
      EXPECT_EQ(decision.endpoint, bound_.at(expect));
      EXPECT_EQ(decision.affinity, datapath::AffinityOutcome::hit);
    }
  }

  const json& scenario_;
  std::string via_;
  Leaves leaves_;
  NodeConfig node_;
  std::unique_ptr<World> world_;
  flow::Milliseconds now_{};
  std::map<std::string, net::AddressPort> bound_;
  std::optional<std::vector<std::string>> ready_;
  std::optional<std::string> affinity_;
  std::optional<int> timeout_;
};

TEST(Scenarios, ClientsAreRememberedAsKubeProxyDoes) {
  for (const json& scenario : load_scenarios()) {
    if (scenario.at("kind") != "affinity_semantics") continue;
    for (const auto& via : scenario.at("names").at("via").items()) {
      for (const Leaves leaves : {Leaves::by_removal, Leaves::by_not_ready}) {
        SCOPED_TRACE(scenario.at("name").get<std::string>() + " by " + via.key());
        AffinityRun(scenario, via.key(), leaves).run();
      }
    }
  }
}

}  // namespace
}  // namespace limpet::service
