// What is asked, what is answered: routes, filters, pages, refusals; over lists that stand in for the tables.
#include "lb/control/resources.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/control/entries.h"
#include "tests/unit/control/fakes.h"

namespace limpet::control {
namespace {

using nlohmann::ordered_json;

class ResourcesTest : public testing::Test {
 protected:
  Response get(const std::string& target) { return resources.answer(Method::get, target); }
  ordered_json items(const std::string& target) {
    const Response response = get(target);
    EXPECT_EQ(response.status, 200u) << response.body;
    EXPECT_EQ(response.body["next"], nullptr) << "one page";
    return response.body["items"];
  }
  /// The values of one key of a list.
  std::vector<std::string> column(const std::string& target, const char* key) {
    std::vector<std::string> values;
    for (const ordered_json& item : items(target)) {
      values.push_back(item[key].is_string() ? item[key].get<std::string>() : item[key].dump());
    }
    return values;
  }

  FakeTables tables;
  Resources resources{tables};
};

using Texts = std::vector<std::string>;

TEST_F(ResourcesTest, ServicesSayWhereElseTheyAreAndWhoTakesNewConnections) {
  service::Service service = three_services().front();
  service.external_ips = {ip("192.0.2.1")};
  service.load_balancer_ips = {ip("192.0.2.2")};
  service.endpoints[0].ready = service.endpoints[0].serving = false;
  const service::ServicePort port(service, {1, {{0, 1}, {1, 2}}, {1, 2}, {}}, {});
  const nlohmann::ordered_json json = to_json(port);
  EXPECT_EQ(json.at("externalIPs").dump(), R"(["192.0.2.1"])");
  EXPECT_EQ(json.at("loadBalancerIPs").dump(), R"(["192.0.2.2"])");
  EXPECT_EQ(json.at("endpoints"), 2);
  EXPECT_EQ(json.at("usable"), 1);
}

TEST_F(ResourcesTest, ServicesSayWhatTheyAre) {
  EXPECT_EQ(
      items("/v1/services").dump(),
      R"([{"service":"t/web:http","protocol":"tcp","clusterIP":"10.96.0.10","port":80,"nodePort":30080,)"
      R"("affinity":100,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","masquerade":"auto",)"
      R"("endpoints":2,"usable":2},)"
      R"({"service":"t/dns:dns","protocol":"udp","clusterIP":"10.96.0.20","port":53,"nodePort":null,"affinity":0,)"
      R"("externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster","masquerade":"auto","endpoints":1,)"
      R"("usable":0},)"
      R"({"service":"t/bare:http","protocol":"tcp","clusterIP":"fd96::30","port":80,"nodePort":null,)"
      R"("affinity":null,"externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster",)"
      R"("masquerade":"auto","endpoints":0,"usable":0}])");
  EXPECT_EQ(column("/v1/services?protocol=udp", "service"), Texts{"t/dns:dns"});
  EXPECT_EQ(column("/v1/services?service=t/web:http", "port"), Texts{"80"});
}

TEST_F(ResourcesTest, EndpointsSayHowTheyFare) {
  EXPECT_EQ(items("/v1/endpoints?endpoint=10.2.0.2:8080").dump(),
            R"([{"service":"t/web:http","protocol":"tcp","endpoint":"10.2.0.2:8080","node":")" + service::kOtherNode +
                R"(","weight":1,"state":"ready","id":2,"opened":12,"active":2,"established":0,"refused":0,)"
                R"("timed_out":0}])");
  EXPECT_EQ(column("/v1/endpoints", "endpoint"), (Texts{"10.2.0.1:8080", "10.2.0.2:8080", "10.2.0.3:53"}));
  EXPECT_EQ(column("/v1/endpoints", "state"), (Texts{"ready", "ready", "draining"}));
  EXPECT_EQ(column("/v1/endpoints?service=t/dns:dns", "endpoint"), Texts{"10.2.0.3:53"});
  EXPECT_EQ(column("/v1/endpoints?protocol=tcp", "endpoint"), (Texts{"10.2.0.1:8080", "10.2.0.2:8080"}));
  EXPECT_EQ(column("/v1/endpoints?service=t/bare:http", "endpoint"), Texts{});
}

TEST_F(ResourcesTest, AffinitySaysWhoIsRememberedForWhat) {
  tables.remember(0, "203.0.113.7", 1, true, flow::Milliseconds{2500});
  tables.remember(1, "203.0.113.7", 0, false);
  tables.remember(0, "10.1.0.2", 0, true, flow::Milliseconds{200'000});
  tables.affinity.push_back({.scope = 77, .client = ip("fd01::2"), .endpoint_id = 99});
  EXPECT_EQ(items("/v1/affinity").dump(),
            R"([{"service":"t/web:http","client":"203.0.113.7","endpoint":"10.2.0.2:8080","confirmed":true,"age":2.5,)"
            R"("expires_in":97.5},)"
            R"({"service":"t/dns:dns","client":"203.0.113.7","endpoint":"10.2.0.3:53","confirmed":false,"age":0.0,)"
            R"("expires_in":null},)"
            R"({"service":"t/web:http","client":"10.1.0.2","endpoint":"10.2.0.1:8080","confirmed":true,"age":200.0,)"
            R"("expires_in":0.0},)"
            R"({"service":null,"client":"fd01::2","endpoint":null,"confirmed":false,"age":0.0,"expires_in":null,)"
            R"("endpoint_id":99,"scope":77}])");
  EXPECT_EQ(column("/v1/affinity?service=t/web:http", "client"), (Texts{"203.0.113.7", "10.1.0.2"}));
  EXPECT_EQ(column("/v1/affinity?client=203.0.113.0/24", "service"), (Texts{"t/web:http", "t/dns:dns"}));
  EXPECT_EQ(column("/v1/affinity?client=fd00::/8", "client"), Texts{"fd01::2"});
  EXPECT_EQ(column("/v1/affinity?endpoint=10.2.0.1:8080", "client"), Texts{"10.1.0.2"});
  EXPECT_EQ(column("/v1/affinity?service=t/web:http&client=203.0.113.7", "endpoint"), Texts{"10.2.0.2:8080"});
  EXPECT_EQ(column("/v1/affinity?service=t/bare:http", "client"), Texts{}) << "it has no affinity";
}

/// t/web:http and t/web:https share their clients; 10.2.0.2 serves both, 10.2.0.1 and 10.2.0.4 one each.
std::vector<service::Service> two_that_share() {
  std::vector<service::Service> services = three_services();
  services.resize(2);
  services[1] = services[0];
  services[1].name = "t/web:https";
  services[1].port = 443;
  services[1].node_port = 30443;
  services[1].endpoints = {service::remote_endpoint("10.2.0.2:8443"), service::remote_endpoint("10.2.0.4:8443")};
  for (service::Service& one : services) one.affinity_group = "service t/web";
  return services;
}

TEST_F(ResourcesTest, WhereAScopeIsSharedAnEntryHasTheEndpointsOwnService) {
  FakeTables shared(two_that_share());
  Resources api(shared);
  shared.remember(0, "10.1.0.1", 0);
  shared.remember(0, "10.1.0.2", 1);
  shared.remember(1, "10.1.0.4", 1);
  const auto ask = [&](const std::string& query) {
    std::vector<std::string> lines;
    const Response answer = api.answer(Method::get, "/v1/affinity" + query);
    for (const ordered_json& item : answer.body["items"]) {
      lines.push_back(item["service"].get<std::string>() + " " + item["endpoint"].get<std::string>());
    }
    return lines;
  };
  EXPECT_EQ(ask(""), (Texts{"t/web:http 10.2.0.1:8080", "t/web:http 10.2.0.2:8080", "t/web:https 10.2.0.4:8443"}));
  EXPECT_EQ(ask("?service=t/web:https"),
            (Texts{"t/web:http 10.2.0.1:8080", "t/web:https 10.2.0.2:8443", "t/web:https 10.2.0.4:8443"}))
      << "its own endpoint, where it has one at that address";
  EXPECT_EQ(ask("?endpoint=10.2.0.2:8443"), Texts{"t/web:https 10.2.0.2:8443"});
  EXPECT_EQ(ask("?endpoint=10.2.0.2:8080"), Texts{"t/web:http 10.2.0.2:8080"});
  EXPECT_EQ(ask("?service=t/web:http&endpoint=10.2.0.2:8443"), Texts{}) << "it has no such endpoint";
}

TEST_F(ResourcesTest, AClientIsFoundUnderTheNetworkThatItIsKnownBy) {
  auto services = three_services();
  services[0].affinity_prefix = 24;
  FakeTables masked(services);
  Resources api(masked);
  masked.remember(0, "203.0.113.7", 0);
  masked.remember(1, "203.0.113.7", 0);
  struct Case {
    const char* client;
    Texts services;
  };
  const Texts both{"t/web:http", "t/dns:dns"};
  for (const Case& one : {Case{"203.0.113.7", both}, Case{"203.0.113.0/28", both}, Case{"203.0.0.0/16", both},
                          Case{"203.0.113.9", {"t/web:http"}}, Case{"203.0.113.128/25", {"t/web:http"}},
                          Case{"203.0.114.7", {}}, Case{"203.0.112.0/24", {}}, Case{"::ffff:0:0/96", {}}}) {
    Texts found;
    const auto answer = api.answer(Method::get, std::string("/v1/affinity?client=") + one.client);
    for (const ordered_json& item : answer.body["items"]) found.push_back(item["service"].get<std::string>());
    EXPECT_EQ(found, one.services) << one.client;
  }
}

TEST_F(ResourcesTest, FlowsSayWhoSpeaksToWhom) {
  tables.connect("203.0.113.7:40000", 0);
  tables.connect("10.1.0.2:40000", 1, "SYN_SENT");
  tables.flows[1].egress = at("10.128.0.5:2000");
  tables.flows[1].client_near.port = 3000;
  EXPECT_EQ(
      items("/v1/flows").dump(),
      R"([{"protocol":"tcp","state":"ESTABLISHED","client":"203.0.113.7:40000","service_address":"10.96.0.10:80",)"
      R"("endpoint":"10.2.0.1:8080","service":"t/web:http","confirmed":false,"direct":false,"expires_in":1.5},)"
      R"({"protocol":"tcp","state":"SYN_SENT","client":"10.1.0.2:40000","service_address":"10.96.0.10:80",)"
      R"("endpoint":"10.2.0.2:8080","service":"t/web:http","client_near":"10.1.0.2:3000",)"
      R"("egress":"10.128.0.5:2000","confirmed":false,"direct":false,"expires_in":1.5}])");
  struct Case {
    const char* query;
    Texts clients;
  };
  const Texts both{"203.0.113.7:40000", "10.1.0.2:40000"};
  const Case cases[] = {{"service=t/web:http", both},
                        {"service=t/dns:dns", {}},
                        {"client=10.0.0.0/8", {both[1]}},
                        {"state=established", {both[0]}},
                        {"state=CLOSE", {}},
                        {"protocol=tcp", both},
                        {"protocol=udp", {}},
                        {"endpoint=10.2.0.2:8080", {both[1]}},
                        {"endpoint=10.2.0.2:80", {}},
                        {"client=10.0.0.0/8&state=SYN_SENT&protocol=tcp", {both[1]}}};
  for (const Case& one : cases) {
    EXPECT_EQ(column(std::string("/v1/flows?") + one.query, "client"), one.clients) << one.query;
  }
}

TEST_F(ResourcesTest, QueuesAndStatsAreAsTheyCome) {
  EXPECT_EQ(items("/v1/queues").dump(), R"([{"queue":0,"packets":7}])");
  EXPECT_EQ(get("/v1/stats").body.dump(), R"({"packets":7,"flows":0})");
}

/// Page by page to the end: every item once, in order. How many requests it took.
std::size_t read_all(Resources& resources, const std::string& target, ordered_json& all) {
  std::size_t requests = 0;
  for (std::string cursor; requests < 1000;) {
    const Response page = resources.answer(Method::get, target + (cursor.empty() ? "" : "&cursor=" + cursor));
    ++requests;
    for (const ordered_json& item : page.body["items"]) all.push_back(item);
    if (page.body["next"].is_null()) break;
    cursor = page.body["next"].get<std::string>();
  }
  return requests;
}

TEST_F(ResourcesTest, PagesTogetherAreTheList) {
  for (int i = 0; i < 25; ++i) tables.connect("10.1.0.2:" + std::to_string(1000 + i), 0);
  struct Case {
    const char* target;
    std::size_t items, requests;  // at ten a page the last of 25 is the third
  };
  const Case cases[] = {{"/v1/flows?limit=10", 25, 3},   {"/v1/flows?limit=25", 25, 1},
                        {"/v1/flows?limit=1", 25, 25},   {"/v1/services?limit=2", 3, 2},
                        {"/v1/services?limit=3", 3, 1},  {"/v1/endpoints?limit=1", 3, 3},
                        {"/v1/endpoints?limit=2", 3, 2}, {"/v1/affinity?limit=1", 0, 1}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.target);
    ordered_json all = ordered_json::array();
    EXPECT_EQ(read_all(resources, one.target, all), one.requests);
    const std::string target = one.target;
    EXPECT_EQ(all, items(target.substr(0, target.find('?'))));
    EXPECT_EQ(all.size(), one.items);
  }
}

// A million entries, of which one is wanted: each request looks at a bounded number, in bounded pieces.
TEST_F(ResourcesTest, OneRequestLooksAtABoundedNumber) {
  constexpr std::size_t kEntries = 1'000'000;
  tables.connect("10.1.0.2:1", 0);
  tables.flows.resize(kEntries, tables.flows[0]);
  tables.flows.back().client = at("203.0.113.7:1");
  ordered_json all = ordered_json::array();
  const std::size_t requests = read_all(resources, "/v1/flows?client=203.0.113.7", all);
  EXPECT_EQ(all.size(), 1u);
  EXPECT_EQ(tables.looked, kEntries);
  EXPECT_EQ(requests, (kEntries + Resources::kLook - 1) / Resources::kLook);
  EXPECT_LE(tables.largest, Resources::kLimit);
  const Response page = get("/v1/flows?limit=2000");
  EXPECT_EQ(page.body["items"].size(), Resources::kMostLimit);
}

TEST_F(ResourcesTest, ACursorThatNeverWasOneIsTheEnd) {
  tables.connect("10.1.0.2:1", 0);
  for (const char* list : {"services", "endpoints", "flows", "affinity"}) {
    const Response page = get(std::string("/v1/") + list + "?cursor=18446744073709551615");
    EXPECT_EQ(page.body.dump(), R"({"items":[],"next":null})") << list;
  }
}

TEST_F(ResourcesTest, ErasesWhatIsNamedAndNothingElse) {
  struct Case {
    const char* query;
    std::size_t erased;
    Texts left;  // "service client"
  };
  const Case cases[] = {
      {"client=10.1.0.2&service=t/web:http", 1, {"t/web:http 10.1.0.3", "t/dns:dns 10.1.0.2"}},
      {"client=10.1.0.2", 2, {"t/web:http 10.1.0.3"}},
      {"client=10.1.0.9", 0, {"t/web:http 10.1.0.2", "t/web:http 10.1.0.3", "t/dns:dns 10.1.0.2"}},
      {"service=t/web:http&all=true", 2, {"t/dns:dns 10.1.0.2"}},
      {"service=t/bare:http&all=true", 0, {"t/web:http 10.1.0.2", "t/web:http 10.1.0.3", "t/dns:dns 10.1.0.2"}},
      {"all=true", 3, {}}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.query);
    tables.affinity.clear();
    tables.remember(0, "10.1.0.2", 0);
    tables.remember(0, "10.1.0.3", 1);
    tables.remember(1, "10.1.0.2", 0);
    const Response response = resources.answer(Method::erase, std::string("/v1/affinity?") + one.query);
    EXPECT_EQ(response.body, (ordered_json{{"erased", one.erased}}));
    Texts left;
    for (const ordered_json& item : items("/v1/affinity")) {
      left.push_back(item["service"].get<std::string>() + " " + item["client"].get<std::string>());
    }
    EXPECT_EQ(left, one.left);
  }
}

TEST_F(ResourcesTest, RefusesWithTheReasonAndARemedy) {
  tables.remember(0, "10.1.0.2", 0);
  struct Case {
    Method method;
    const char* target;
    unsigned status;
    const char* error;
    const char* remedy;
  };
  const Case cases[] = {
      {Method::get, "/", 404, "no /", "/v1/services, /v1/endpoints, /v1/affinity, /v1/flows"},
      {Method::get, "/v1/flow", 404, "no /v1/flow", "/v1/flows"},
      {Method::get, "/v1/services/x", 404, "no /v1/services/x", "/v1/services"},
      {Method::get, "/v1/flows?service=t/none:x", 404, "no service 't/none:x'", "GET /v1/services"},
      {Method::erase, "/v1/affinity?service=t/none:x&all=true", 404, "no service 't/none:x'", "GET /v1/services"},
      {Method::get, "/v1/flows?client=x", 400, "'client' is 'x'", "a CIDR"},
      {Method::get, "/v1/flows?clients=10.0.0.1", 400, "'clients'", "client, cursor, endpoint, limit"},
      {Method::get, "/v1/flows?limit=2001", 400, "'limit'", "1 to 2000"},
      {Method::get, "/v1/flows?cursor=x", 400, "'cursor'", "a number"},
      {Method::get, "/v1/queues?limit=1", 400, "'limit'", "leave it out"},
      {Method::get, "/v1/stats?x=1", 400, "'x'", "leave it out"},
      {Method::erase, "/v1/affinity", 400, "not said which", "all=true"},
      {Method::erase, "/v1/affinity?service=t/web:http", 400, "not said which", "all=true"},
      {Method::erase, "/v1/affinity?client=10.1.0.2&all=true", 400, "not said which", "all=true"},
      {Method::erase, "/v1/affinity?client=10.0.0.0/8", 400, "'client'", "an IP address"},
      {Method::erase, "/v1/flows", 405, "/v1/flows cannot", "use GET"},
      {Method::other, "/v1/affinity", 405, "/v1/affinity cannot", "GET, POST or DELETE"}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.target);
    const Response response = resources.answer(one.method, one.target);
    EXPECT_EQ(response.status, one.status) << response.body;
    EXPECT_NE(response.body["error"].get<std::string>().find(one.error), std::string::npos) << response.body;
    EXPECT_NE(response.body["remedy"].get<std::string>().find(one.remedy), std::string::npos) << response.body;
  }
  EXPECT_EQ(tables.affinity.size(), 1u) << "nothing was forgotten";
}

}  // namespace
}  // namespace limpet::control
