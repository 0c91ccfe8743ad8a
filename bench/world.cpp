#include "bench/world.h"

#include <stdexcept>
#include <utility>
#include <vector>

namespace limpet::bench {
namespace {

constexpr std::uint32_t kFirstClient = 0x0a400001;    // 10.64.0.1
constexpr std::uint32_t kVip = 0x0a600001;            // 10.96.0.1
constexpr std::uint32_t kFirstEndpoint = 0x0a020001;  // 10.2.0.1
constexpr std::uint16_t kPort = 80;
constexpr store::HashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

service::NodeConfig node_config() {
  service::NodeConfig config;
  const net::Prefix pods(net::Address::from_v4(kFirstClient), 10);
  config.pod_cidrs = {pods};
  config.detect_local = {.mode = service::LocalDetector::Mode::cluster_cidr, .cidrs = {pods}, .interface = {}};
  return config;
}

service::Service make_service(std::uint32_t endpoints) {
  service::Service service;
  service.name = "bench/sink:port";
  service.protocol = net::Protocol::udp;
  service.cluster_ip = net::Address::from_v4(kVip);
  service.port = kPort;
  service.affinity_timeout = flow::Seconds(10800);
  for (std::uint32_t i = 0; i < endpoints; ++i) {
    service.endpoints.push_back({.at = {net::Address::from_v4(kFirstEndpoint + i), kPort}, .node_name = {}});
  }
  return service;
}

}  // namespace

Packets::Packets(std::size_t clients)
    : frames_({.first_client = kFirstClient, .source_port = 40000, .destination = kVip, .destination_port = kPort},
              clients) {}

World::World(std::uint32_t endpoints, std::uint32_t capacity)
    : slots_(endpoints),
      affinity_({.capacity_v4 = capacity, .key = kKey}),
      flows_({.capacity = capacity, .key = kKey, .timeouts = {}}),
      load_(1, endpoints) {
  const std::vector<service::Service> services{make_service(endpoints)};
  auto ids = identities_.assign(services);
  if (!ids) throw std::logic_error(ids.error().message);
  auto snapshot = std::make_shared<const service::Snapshot>(node_config(), services, std::move(*ids));
  balancer_ = std::make_unique<service::Balancer>(slots_, std::move(snapshot), affinity_);
  pipeline_ = std::make_unique<datapath::Pipeline>(datapath::PipelineOptions{}, *balancer_, flows_, ports_, fragments_);
}

}  // namespace limpet::bench
