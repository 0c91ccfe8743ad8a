// fixture.h: the seed's node and service as values, and a whole balancer around any services.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "lb/service/balancer.h"

namespace limpet::service {

inline const std::string kThisNode = "gke-asuka-default-pool-3d65e6a8-kbb1";
inline const std::string kOtherNode = "gke-asuka-default-pool-731ddb85-sw18";

inline net::Address ip(std::string_view text) {
  const auto address = net::Address::parse(text);
  if (!address) throw std::invalid_argument("not an address: " + std::string(text));
  return *address;
}
inline net::AddressPort at(std::string_view text) {
  const auto address = net::AddressPort::parse(text);
  if (!address) throw std::invalid_argument("not an address and port: " + std::string(text));
  return *address;
}
inline net::Prefix cidr(std::string_view text) {
  const auto prefix = net::Prefix::parse(text);
  if (!prefix) throw std::invalid_argument("not a CIDR: " + std::string(text));
  return *prefix;
}
inline Endpoint local_endpoint(std::string_view text, std::uint32_t weight = 1) {
  return {at(text), kThisNode, weight};
}
inline Endpoint remote_endpoint(std::string_view text, std::uint32_t weight = 1) {
  return {at(text), kOtherNode, weight};
}

/// default/php-apache-svc:http: two endpoints on this node, two elsewhere.
inline Service seed_service() {
  Service service;
  service.name = "default/php-apache-svc:http";
  service.cluster_ip = ip("10.31.240.99");
  service.port = 80;
  service.node_port = 31332;
  service.endpoints = {local_endpoint("10.28.8.5:80"), local_endpoint("10.28.8.6:80"), remote_endpoint("10.28.6.5:80"),
                       remote_endpoint("10.28.7.6:80")};
  return service;
}

inline NodeConfig seed_node() {
  NodeConfig node;
  node.name = kThisNode;
  node.node_ip = ip("10.128.0.5");
  node.pod_cidrs = {cidr("10.28.0.0/14")};
  node.detect_local = {LocalDetector::Mode::cluster_cidr, node.pod_cidrs, ""};
  return node;
}

/// Addresses 10.128.0.5 on eth0 (2), 10.28.8.1 on cbr0 (3), 2001:db8::5 on eth0; loopback on lo (1).
inline node::NodeView seed_view() {
  std::vector<node::InterfaceAddress> addresses = {
      {.interface = 1, .address = ip("127.0.0.1"), .prefix_length = 8},
      {.interface = 1, .address = ip("::1"), .prefix_length = 128},
      {.interface = 2, .address = ip("10.128.0.5"), .prefix_length = 20},
      {.interface = 2, .address = ip("2001:db8::5"), .prefix_length = 64},
      {.interface = 3, .address = ip("10.28.8.1"), .prefix_length = 24},
  };
  return node::NodeView(std::move(addresses), {}, {{1, "lo"}, {2, "eth0"}, {3, "cbr0"}, {4, "veth1a2b"}});
}

inline datapath::NewConnection connection(std::string_view from, std::string_view to,
                                          net::Protocol protocol = net::Protocol::tcp) {
  datapath::NewConnection result;
  result.tuple = {protocol, {ip(from), 40000}, at(to)};
  return result;
}

/// Services with everything that a decision needs. The clock and the random numbers are the caller's.
class World {
 public:
  World(const NodeConfig& node, const std::vector<Service>& services) : identities_(slots_) {
    auto ids = identities_.assign(services, nobody, Place{node.name, node.zone});
    if (!ids) throw std::invalid_argument(ids.error().message);
    auto snapshot = std::make_shared<const Snapshot>(node, services, std::move(*ids));
    balancer_ = std::make_unique<Balancer>(slots_, std::move(snapshot), table_);
  }
  /// As a reload does it: the same names, tables and clock.
  void reload(const NodeConfig& node, const std::vector<Service>& services) {
    auto ids = identities_.assign(services, nobody, Place{node.name, node.zone});
    auto snapshot = std::make_shared<const Snapshot>(node, services, std::move(*ids));
    balancer_ = std::make_unique<Balancer>(slots_, std::move(snapshot), table_);
  }

  affinity::AffinityTable& table() { return table_; }
  const Snapshot& snapshot() const { return balancer_->snapshot(); }
  Balancer& balancer() { return *balancer_; }
  datapath::EndpointSlots& slots() { return slots_; }
  Match match(const datapath::NewConnection& connection) const { return snapshot().match(connection, view); }
  datapath::Decision decide(const datapath::NewConnection& connection, flow::Milliseconds now = {}) {
    return balancer_->decide(connection, view, flow::Instant{now}, rng);
  }

  node::NodeView view = seed_view();
  pick::Rng rng{42};

 private:
  static bool nobody(std::uint32_t /*slot*/) { return false; }

  datapath::EndpointSlots slots_{64};
  Identities identities_;
  affinity::AffinityTable table_{{.capacity_v4 = 1024, .capacity_v6 = 1024}};
  std::unique_ptr<Balancer> balancer_;
};

}  // namespace limpet::service
