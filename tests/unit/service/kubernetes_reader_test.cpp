#include "lb/service/kubernetes_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/service/catalog.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Texts = std::vector<std::string>;

const std::string kService = R"(
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd96::a"]
  externalIPs: [" 198.51.100.7 ", 010.000.0.09]
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}
  - {name: dns, port: 53, protocol: UDP}
  sessionAffinity: ClientIP
)";

const std::string kSlice = R"(
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-abc, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: http, port: 8080, protocol: TCP}
endpoints:
- addresses: [10.0.0.2, 10.0.0.3]
  nodeName: here
- addresses: [10.0.0.1]
  conditions: {ready: false, serving: true, terminating: true}
  hints: {forZones: [{name: zone-a}], forNodes: [{name: here}]}
)";

KubernetesObjects read(const std::string& text, const std::string& node = "here") {
  ReadObjects found = read_kubernetes(text, "f");
  for (const Diagnostic& diagnostic : found.diagnostics) ADD_FAILURE() << to_string(diagnostic);
  KubernetesObjects objects(node);
  for (KubernetesObject& object : found.objects) {
    std::visit([&](auto& each) { objects.apply(std::move(each)); }, object);
  }
  return objects;
}

Texts complaints(const std::string& text) {
  Texts result;
  for (const Diagnostic& diagnostic : read_kubernetes(text, "f").diagnostics) result.push_back(to_string(diagnostic));
  return result;
}

Texts endpoints(const Service& service) {
  Texts result;
  for (const Endpoint& endpoint : service.endpoints) result.push_back(endpoint.at.to_string());
  return result;
}

TEST(KubernetesReader, MakesAServiceOfEachPortAndFamily) {
  const std::vector<Service> services = read(kService + "---" + kSlice).services();
  Texts found;
  for (const Service& service : services) {
    found.push_back(service.name + " " + service.cluster_ip->to_string() + " " + std::to_string(service.port) + "/" +
                    net::to_string(service.protocol) + " " + std::to_string(service.node_port));
  }
  EXPECT_EQ(found, (Texts{"shop/web:http 10.96.0.10 80/tcp 30080", "shop/web:dns 10.96.0.10 53/udp 0",
                          "shop/web:http fd96::a 80/tcp 30080", "shop/web:dns fd96::a 53/udp 0"}));
  EXPECT_EQ(services[0].affinity_timeout, flow::Seconds(10800)) << "the default";
  EXPECT_EQ(endpoints(services[0]), (Texts{"10.0.0.1:8080", "10.0.0.2:8080"})) << "by port name; one address of each";
  EXPECT_THAT(services[1].endpoints, IsEmpty());
  EXPECT_THAT(services[2].endpoints, IsEmpty()) << "the slice is of the other family";
}

TEST(KubernetesReader, ReadsAddressesAsLenientlyAsTheServerDid) {
  const std::vector<Service> services = read(kService).services();
  EXPECT_THAT(services[0].external_ips, ElementsAre(ip("198.51.100.7"), ip("10.0.0.9")));
  EXPECT_THAT(services[2].external_ips, IsEmpty());
}

TEST(KubernetesReader, KnowsWhatIsMissingInConditions) {
  const std::vector<Service> services = read(kService + "---" + kSlice).services();
  const Endpoint& going = services[0].endpoints[0];
  EXPECT_EQ(std::tuple(going.ready, going.serving, going.terminating), std::tuple(false, true, true));
  EXPECT_EQ(going.zone_hints, Texts{"zone-a"});
  EXPECT_EQ(going.node_hints, Texts{"here"});
  const Endpoint& plain = services[0].endpoints[1];
  EXPECT_EQ(std::tuple(plain.ready, plain.serving, plain.terminating), std::tuple(true, true, false));
  EXPECT_EQ(plain.node_name, "here");
}

// kube-proxy takes a missing `serving` for true, whatever `ready` says.
TEST(KubernetesReader, TakesAnEndpointForServingUnlessItIsTold) {
  std::string slice = kSlice;
  slice.replace(slice.find(" serving: true,"), 15, "");
  const Endpoint going = read(kService + "---" + slice).services()[0].endpoints[0];
  EXPECT_EQ(std::tuple(going.ready, going.serving, going.terminating), std::tuple(false, true, true));
}

TEST(KubernetesReader, ReadsJsonOneAfterAnotherAndLists) {
  const std::string service = R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"a","name":"b"},)"
                              R"("spec":{"clusterIP":"10.0.0.1","ports":[{"port":1}],"sessionAffinity":null}})";
  EXPECT_EQ(read(service).services()[0].name, "a/b");
  EXPECT_EQ(read(service + service).objects().size(), 1u) << "the later in place of the earlier";
  EXPECT_EQ(read(R"({"apiVersion":"v1","kind":"List","items":[)" + service + "]}").objects().size(), 1u);
  EXPECT_EQ(read("[" + service + "]\n{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}").objects().size(), 1u);
}

TEST(KubernetesReader, TakesEndpointsWhereThereIsNoSlice) {
  const std::string old = R"(
---
apiVersion: v1
kind: Endpoints
metadata: {namespace: shop, name: web}
subsets:
- addresses: [{ip: 10.0.0.8, nodeName: here}]
  notReadyAddresses: [{ip: 10.0.0.9}]
  ports: [{name: http, port: 8080}]
)";
  const std::vector<Service> services = read(kService + old).services();
  EXPECT_EQ(endpoints(services[0]), (Texts{"10.0.0.8:8080", "10.0.0.9:8080"}));
  EXPECT_FALSE(services[0].endpoints[1].ready);
  EXPECT_EQ(endpoints(read(kService + old + "---" + kSlice).services()[0]), (Texts{"10.0.0.1:8080", "10.0.0.2:8080"}));
}

TEST(KubernetesReader, TakesTheNodeFromTheTopologyOfOldSlices) {
  const std::string slice = R"(
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {namespace: shop, name: web-abc, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.2], topology: {kubernetes.io/hostname: here}}]
)";
  EXPECT_EQ(read(kService + slice).services()[0].endpoints[0].node_name, "here");
}

TEST(KubernetesReader, CountsAnEndpointOfTwoSlicesOnceAndAsThisNodes) {
  std::string other = kSlice;
  other.replace(other.find("web-abc"), 7, "web-xyz");
  other.replace(other.find("nodeName: here"), 14, "nodeName: there");
  const auto objects = read(kService + "---" + kSlice + "---" + other);
  EXPECT_EQ(endpoints(objects.services()[0]), (Texts{"10.0.0.1:8080", "10.0.0.2:8080"}));
  EXPECT_EQ(objects.services()[0].endpoints[1].node_name, "here");
}

TEST(KubernetesReader, IgnoresWhatIsNoProxysBusiness) {
  const auto with = [](const std::string& metadata, const std::string& spec) {
    return read("apiVersion: v1\nkind: Service\nmetadata: {namespace: a, name: b" + metadata + "}\nspec: {" + spec +
                ", ports: [{port: 1}]}\n")
        .services();
  };
  EXPECT_EQ(with("", "clusterIP: 10.0.0.1").size(), 1u);
  EXPECT_THAT(with("", "clusterIP: None"), IsEmpty());
  EXPECT_THAT(with("", "clusterIP: ''"), IsEmpty());
  EXPECT_THAT(with("", "clusterIP: 10.0.0.1, type: ExternalName"), IsEmpty());
  EXPECT_THAT(with(", labels: {service.kubernetes.io/headless: ''}", "clusterIP: 10.0.0.1"), IsEmpty());
  EXPECT_THAT(with(", labels: {service.kubernetes.io/service-proxy-name: x}", "clusterIP: 10.0.0.1"), IsEmpty());
}

TEST(KubernetesReader, LeavesOutTheObjectThatMakesNoSenseAndNoOther) {
  std::string bad = kService;
  bad.replace(bad.find("port: 80,"), 9, "port: 99999,");
  const ReadObjects found = read_kubernetes(bad + "---" + kSlice, "f");
  EXPECT_EQ(found.objects.size(), 1u);
  EXPECT_EQ(complaints(bad + "---" + kSlice),
            Texts{"f:11:1: warning: Service shop/web is left out: spec.ports.0.port is 99999; it must be 1 to 65535"});
}

TEST(KubernetesReader, NamesTheLineOfAnItemInAList) {
  const std::string list =
      "{\"kind\": \"List\", \"items\": [\n"
      "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"namespace\": \"a\", \"name\": \"b\"},\n"
      "\"spec\": {\"clusterIP\": \"10.0.0.1\",\n\"externalIPs\": [\"nonsense\"]}}]}";
  EXPECT_EQ(complaints(list), Texts{"f:4:1: warning: Service a/b is left out: spec.externalIPs.0 is 'nonsense'; it "
                                    "must be an IP address"});
}

TEST(KubernetesReader, NamesTheObjectsLineWhereTheFieldIsMissing) {
  const std::string two =
      "{\"apiVersion\": \"v1\", \"kind\": \"Service\"}\n\n{\"apiVersion\": \"v1\",\n\"kind\": \"Service\"}";
  EXPECT_EQ(complaints(two), (Texts{"f:1:1: warning: Service default/ is left out: metadata.name is missing",
                                    "f:3:1: warning: Service default/ is left out: metadata.name is missing"}));
}

/// To read the text again for each of them would take hours (40,000 passes over megabytes); the test's time is limited.
TEST(KubernetesReader, NamesTheLinesOfAnyNumberOfObjectsInOnePass) {
  constexpr int kObjects = 20000;
  const auto expect_lines = [](const std::string& text, int first, int apart) {
    const std::vector<Diagnostic> found = read_kubernetes(text, "f").diagnostics;
    ASSERT_EQ(found.size(), static_cast<std::size_t>(kObjects));
    for (int i = 0; i < kObjects; ++i) ASSERT_EQ(found[static_cast<std::size_t>(i)].line, first + i * apart);
  };
  const std::string head = R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"},)";
  std::string documents, list = R"({"kind": "List", "items": [)", yaml;
  for (int i = 0; i < kObjects; ++i) {
    const std::string object = "\n" + head + "\n\"spec\": {\"clusterIP\": \"10.0.0.1\",\n\"ports\": [{\"port\": 0}]}}";
    documents += object;
    list += (i == 0 ? "" : ",") + object;
    yaml += "---\n" + head + "\n  spec: {clusterIP: nonsense}}\n";
  }
  expect_lines(documents, 4, 3);
  expect_lines(list + "]}", 4, 3);
  expect_lines(yaml, 3, 3);
}

TEST(KubernetesReader, SaysWhereTheTextIsBroken) {
  EXPECT_THAT(complaints("{\"kind\":\n \"List\"]"), ElementsAre(testing::StartsWith("f:2:8: error: not JSON: ")));
  EXPECT_THAT(complaints("kind: [\n"), ElementsAre(testing::HasSubstr("error: not YAML: ")));
  EXPECT_THAT(complaints("kind: List\n,\n"), ElementsAre(testing::HasSubstr("error: not YAML: ")));
  EXPECT_THAT(complaints("a: &x {b: 1}\nc: *x\n"), ElementsAre(testing::HasSubstr("an alias; write the value itself")));
  EXPECT_THAT(complaints(""), IsEmpty());
}

TEST(KubernetesReader, TakesWordsForTextThoughTheyNameNumbers) {
  const std::string object =
      "{apiVersion: v1, kind: Service, metadata: {namespace: nan, name: inf},"
      " spec: {clusterIP: 10.0.0.1, ports: [{port: 1, name: infinity}]}}\n";
  EXPECT_EQ(read("---\n" + object).services()[0].name, "nan/inf:infinity");
}

TEST(KubernetesReader, RefusesListsWithoutEnd) {
  EXPECT_THAT(complaints(std::string(5000, '[') + std::string(5000, ']')),
              ElementsAre(testing::HasSubstr("is left out")));
}

TEST(KubernetesReader, RefusesNamesThatAreNone) {
  std::string bad = kService;
  bad.replace(bad.find("name: web"), 9, "name: 'w:b'");
  EXPECT_THAT(complaints(bad), ElementsAre(testing::HasSubstr("metadata.name is no name of an object")));
}

TEST(KubernetesObjects, TheOlderServiceKeepsWhatTwoClaim) {
  const auto service = [](const std::string& name, const std::string& created) {
    return "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: a, name: " + name + ", creationTimestamp: '" +
           created + "'}\nspec: {clusterIP: 10.0.0." + (name == "x" ? "1" : "2") +
           ", externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30000}]}\n";
  };
  const auto objects = read(service("x", "2026-02-01T00:00:00Z") + service("y", "2026-01-01T00:00:00Z"));
  std::vector<Group> groups;
  for (const auto& [key, object] : objects.objects()) {
    groups.push_back({.name = key.to_string(), .created = object->created, .services = objects.services(key)});
  }
  std::vector<std::string> losses;
  const std::vector<Service> services = settle(groups, losses);
  EXPECT_THAT(losses,
              ElementsAre("192.0.2.1:80/tcp of service a/x is left out: the older service a/y has it",
                          "nodePort 30000/tcp (IPv4) of service a/x is left out: the older service a/y has it"));
  EXPECT_THAT(services[0].external_ips, IsEmpty());
  EXPECT_EQ(services[0].node_port, 0);
  EXPECT_TRUE(services[0].cluster_ip);
  EXPECT_EQ(services[1].node_port, 30000);
}

TEST(KubernetesReader, LeavesOtherProxiesSlicesAlone) {
  for (const char* const label : {"service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"}) {
    std::string slice = kSlice;
    const std::string own = "labels: {kubernetes.io/service-name: web}";
    slice.replace(slice.find(own), own.size(),
                  "labels: {kubernetes.io/service-name: web, " + std::string(label) + ": ''}");
    EXPECT_THAT(read(kService + "---" + slice).services()[0].endpoints, IsEmpty()) << label;
  }
}

TEST(KubernetesObjects, ForgetsWhatIsRemoved) {
  auto objects = read(kService + "---" + kSlice);
  EXPECT_TRUE(objects.remove_slice({"shop", "web-abc"}));
  EXPECT_FALSE(objects.remove_slice({"shop", "web-abc"}));
  EXPECT_THAT(objects.services()[0].endpoints, IsEmpty());
  EXPECT_TRUE(objects.remove_service({"shop", "web"}));
  EXPECT_THAT(objects.services(), IsEmpty());
}

}  // namespace
}  // namespace limpet::service
