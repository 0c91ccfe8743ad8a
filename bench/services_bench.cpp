// services_bench: what many services cost: to read, to build, to change one of, and to decide for.
//
//   parse         Kubernetes objects as kubectl prints them, one List in JSON            text → objects
//   build         all of them from objects                                               objects → published snapshot
//   change        an EndpointSlice of one service of them comes with one endpoint less or more
//                                                                                        object → published snapshot
//   decide/one    a new connection to the only service                                   bar: hot ÷ one ≤ 1.3
//   decide/hot    … to one and the same of all
//   decide/all    … to each of all by turns, in random order
//
// 50,000 services with 5 endpoints each, clusterIP and nodePort for one of 20, session affinity for one of 4. Bars: build
// 1 s, change 1 ms. Bytes are what the process has grown by. Connections come from a pod; random numbers are fixed.
//
//   build/release/bench/bench_services [--benchmark_filter=…]
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <malloc.h>
#include <nlohmann/json.hpp>

#include "lb/affinity/affinity_table.h"
#include "lb/datapath/epochs.h"
#include "lb/service/balancer.h"
#include "lb/service/catalog.h"
#include "lb/service/kubernetes_reader.h"

namespace limpet::bench {
namespace {

using namespace service;
using nlohmann::json;

constexpr std::uint32_t kServices = 50'000;
constexpr std::uint32_t kEndpoints = 5;
constexpr flow::Instant kNow{flow::Milliseconds(1'000'000)};

std::string name_of(std::uint32_t n) {
  return "service-" + std::to_string(n);
}
net::Address vip_of(std::uint32_t n) {
  return net::Address::from_v4(0x0a600001 + n);
}

json service_object(std::uint32_t n) {
  json port{{"name", "http"}, {"port", 80}, {"protocol", "TCP"}, {"targetPort", 8080}};
  const bool outside = n % 20 == 0;
  if (outside) port["nodePort"] = 30000 + n / 20;
  json spec{{"clusterIP", vip_of(n).to_string()},
            {"clusterIPs", {vip_of(n).to_string()}},
            {"type", outside ? "NodePort" : "ClusterIP"},
            {"ports", {std::move(port)}},
            {"sessionAffinity", n % 4 == 0 ? "ClientIP" : "None"}};
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata", {{"name", name_of(n)}, {"namespace", "bench"}, {"creationTimestamp", "2024-01-01T00:00:00Z"}}},
          {"spec", std::move(spec)}};
}

json slice_object(std::uint32_t n) {
  json endpoints = json::array();
  for (std::uint32_t i = 0; i < kEndpoints; ++i) {
    endpoints.push_back({{"addresses", {net::Address::from_v4(0x0a800001 + n * kEndpoints + i).to_string()}},
                         {"conditions", {{"ready", true}, {"serving", true}, {"terminating", false}}},
                         {"nodeName", "node-" + std::to_string(i)},
                         {"targetRef", {{"kind", "Pod"}, {"name", name_of(n) + "-" + std::to_string(i)}}},
                         {"zone", "zone-a"}});
  }
  return {{"apiVersion", "discovery.k8s.io/v1"},
          {"kind", "EndpointSlice"},
          {"addressType", "IPv4"},
          {"metadata",
           {{"name", name_of(n) + "-x7k2p"},
            {"namespace", "bench"},
            {"labels", {{"kubernetes.io/service-name", name_of(n)}}}}},
          {"ports", {{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}},
          {"endpoints", std::move(endpoints)}};
}

const std::string& text() {
  static const std::string all = [] {
    std::string list = R"({"apiVersion":"v1","kind":"List","items":[)";
    for (std::uint32_t n = 0; n < kServices; ++n) {
      list += service_object(n).dump() + "," + slice_object(n).dump() + (n + 1 < kServices ? "," : "]}");
    }
    return list;
  }();
  return all;
}

using Objects = std::vector<std::shared_ptr<const KubernetesObject>>;

/// As the reader of files hands them on (kubernetes_files.cpp).
const Objects& objects() {
  static const Objects all = [] {
    Objects result;
    for (KubernetesObject& object : read_kubernetes(text(), "services.json").objects) {
      result.push_back(std::make_shared<const KubernetesObject>(std::move(object)));
    }
    return result;
  }();
  return all;
}

NodeConfig node_config() {
  NodeConfig node;
  node.name = "node-0";
  node.node_ip = net::Address::from_v4(0x0a000001);
  node.pod_cidrs = {net::Prefix(net::Address::from_v4(0x0a400000), 10)};
  node.detect_local = {.mode = LocalDetector::Mode::cluster_cidr, .cidrs = node.pod_cidrs, .interface = {}};
  return node;
}

/// The control thread's and the workers' side of all services.
class World {
 public:
  World(std::uint32_t services, const Objects& from) {
    std::uint32_t taken = 0;
    for (const auto& object : from) {
      if (taken++ == 2 * services) break;
      const auto apply = [&, &owner = object]<typename Each>(const Each& each) {
        objects_.apply(std::shared_ptr<const Each>(owner, &each));
      };
      std::visit(apply, *object);
    }
    std::vector<Group> groups;
    for (const auto& [key, object] : objects_.objects()) groups.push_back(group_of(key));
    const auto named = catalog_.open(std::move(groups), {}, nobody);
    if (!named) throw std::logic_error(named.error().message);
    balancer_ = std::make_unique<Balancer>(slots_, catalog_.snapshot(), affinity_);
  }

  void change(SliceObject slice) {
    auto change = catalog_.apply({group_of(objects_.apply(std::move(slice)))}, nobody);
    if (!change || change->made.size() != 1) throw std::logic_error("one service port changes");
    slots_.admit(change->states);
    epochs_.retire(balancer_->publish(change->snapshot, change->made));
    slots_.renew_nobody();
    slots_.dismiss(change->states);
    epochs_.retire(std::make_shared<const SnapshotChange>(std::move(*change)));
    epochs_.reclaim();
  }
  datapath::Decision decide(const net::Address& vip) {
    connection_.tuple.destination = {vip, 80};
    return balancer_->decide(connection_, node_, kNow, rng_);
  }

 private:
  static bool nobody(std::uint32_t) { return false; }
  Group group_of(const ObjectKey& key) const {
    return {
        .name = key.to_string(), .created = objects_.objects().at(key)->created, .services = objects_.services(key)};
  }

  datapath::EndpointSlots slots_{kServices * (kEndpoints + 1)};
  Identities identities_{slots_};
  affinity::AffinityTable affinity_{{.capacity_v4 = 1'000'000, .capacity_v6 = 16}};
  datapath::Epochs epochs_{2};
  node::NodeView node_;
  pick::Rng rng_{1};
  datapath::NewConnection connection_{.tuple = {net::Protocol::tcp, {net::Address::from_v4(0x0a400001), 40000}, {}},
                                      .hook = datapath::Hook::prerouting};
  KubernetesObjects objects_;
  Catalog catalog_{identities_, node_config(), IcmpEcho::ignore};
  std::unique_ptr<Balancer> balancer_;
};

World& all_services() {
  static World world(kServices, objects());
  return world;
}

void Parse(benchmark::State& state) {
  const std::string& from = text();
  for (auto _ : state) benchmark::DoNotOptimize(read_kubernetes(from, "services.json"));
  state.counters["MB"] = static_cast<double>(from.size()) / 1e6;
}

void Build(benchmark::State& state) {
  const Objects& from = objects();
  double bytes = 0;
  for (auto _ : state) {
    const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    auto world = std::make_unique<World>(kServices, from);
    state.PauseTiming();
    bytes = static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd - before);
    world.reset();
    state.ResumeTiming();
  }
  state.counters["bytes_a_service"] = bytes / kServices;
  state.SetLabel("bar: 1 s");
}

void Change(benchmark::State& state) {
  static std::size_t changes = 0;  // of all repetitions
  World& world = all_services();
  std::mt19937 random(1);
  std::vector<double> ms;
  for (auto _ : state) {
    state.PauseTiming();
    const std::uint32_t n = static_cast<std::uint32_t>(random() % kServices);
    SliceObject slice = std::get<SliceObject>(*objects()[2 * n + 1]);
    slice.endpoints.resize(1 + ms.size() % kEndpoints);
    slice.endpoints.front().ready = ms.size() % 2 == 0;
    slice.endpoints.front().zone_hints = {"change-" + std::to_string(++changes)};  // never the same as before
    state.ResumeTiming();
    const auto before = std::chrono::steady_clock::now();
    world.change(std::move(slice));
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
  }
  std::ranges::sort(ms);
  state.counters["median_ms"] = ms[ms.size() / 2];
  state.counters["p99_ms"] = ms[ms.size() * 99 / 100];
  state.SetLabel("bar: 1 ms");
}

void decide(benchmark::State& state, World& world, const std::vector<net::Address>& vips) {
  std::size_t at = 0;
  for (auto _ : state) {
    if (world.decide(vips[at]).action == datapath::Action::none) state.SkipWithError("a service was not found");
    if (++at == vips.size()) at = 0;
  }
}

void One(benchmark::State& state) {
  World world(1, objects());
  decide(state, world, {vip_of(0)});
}
void Hot(benchmark::State& state) {
  decide(state, all_services(), {vip_of(0)});
}
void All(benchmark::State& state) {
  std::vector<net::Address> vips;
  for (std::uint32_t n = 0; n < kServices; ++n) vips.push_back(vip_of(n));
  std::ranges::shuffle(vips, std::mt19937(1));
  decide(state, all_services(), vips);
}

BENCHMARK(Parse)->Name("parse")->Unit(benchmark::kMillisecond)->Iterations(1);
BENCHMARK(Build)->Name("build")->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(Change)->Name("change")->Unit(benchmark::kMicrosecond)->Iterations(2000);
BENCHMARK(One)->Name("decide/one");
BENCHMARK(Hot)->Name("decide/hot");
BENCHMARK(All)->Name("decide/all");

}  // namespace
}  // namespace limpet::bench

BENCHMARK_MAIN();
