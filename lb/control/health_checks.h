// health_checks.h: what a node answers to those who ask how it is: load balancers at each Service's healthCheckNodePort, and
// whoever watches limpet itself at /healthz and /livez.
//
//   healthCheckNodePort   any path: {"service":{"namespace","name"},"localEndpoints":N,"serviceProxyHealthy":true}
//                         X-Load-Balancing-Endpoint-Weight: N; 200 if N > 0 and limpet is healthy, else 503
//   /healthz, /livez      {"lastUpdated","currentTime"} (RFC 3339, UTC); 200 if limpet is healthy, else 503. The same of
//                         both: limpet does not know whether the cluster is about to take this node away
//
// A Service is one here, however many ports and families it has. update() compares with what there was: who stays keeps
// the listener and its connections, and answers with the new count at once. A port that cannot be had is logged (once as
// long as the cause is the same), and tried again by the next update(); the others are not touched by it.
//
// Source: kube-proxy, pkg/proxy/healthcheck (v1.34). One thread, the io_context's; the packet path knows nothing of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "conntrack/net/address.h"
#include "lb/control/http_listener.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"
#include "lb/service/endpoint_sets.h"
#include "lb/service/service.h"

namespace limpet::control {

/// Of limpet itself.
struct Health {
  bool healthy = true;  // does the kernel hold the rules of the services that we know?
  std::chrono::system_clock::time_point updated;
};

/// A Service that is to be answered for.
struct CheckedService {
  std::uint16_t port = 0;             // healthCheckNodePort
  std::uint32_t local_endpoints = 0;  // Ready ones on this node
  friend bool operator==(const CheckedService&, const CheckedService&) = default;
};

/// By "namespace/name".
using CheckedServices = std::map<std::string, CheckedService>;
/// Of those that have a healthCheckNodePort. O(services, and endpoints of those).
CheckedServices checked_services(std::span<const service::Service> services, const service::Place& place);
/// Where health checks are answered; none: at any address.
std::vector<net::Address> checked_addresses(const service::NodeConfig& config, const node::NodeView& node);

class HealthChecks {
 public:
  using Probe = std::function<Health()>;

  HealthChecks(boost::asio::io_context& io, Probe probe) : io_(io), probe_(std::move(probe)) {}
  HealthChecks(const HealthChecks&) = delete;
  HealthChecks& operator=(const HealthChecks&) = delete;

  /// `addresses`: those that accept node ports; none: any that the node has.
  void update(const CheckedServices& services, const std::vector<net::Address>& addresses);
  void update(std::span<const service::Service> services, const service::NodeConfig& config,
              const node::NodeView& node) {
    update(checked_services(services, {config.name, config.zone}), checked_addresses(config, node));
  }
  /// Answers /healthz and /livez there.
  store::Status open_healthz(const net::AddressPort& at);

  /// Listeners that services have.
  std::size_t listening() const noexcept { return listeners_.size(); }

 private:
  /// Whose, at which port of which address.
  using Key = std::pair<std::string, net::AddressPort>;

  HttpAnswer answer_for(const std::string& service) const;
  HttpAnswer answer_healthz(std::string_view path) const;

  boost::asio::io_context& io_;
  const Probe probe_;
  CheckedServices services_;
  std::map<Key, std::unique_ptr<HttpListener>> listeners_;
  std::map<Key, std::string> failures_;  // as last logged
  std::unique_ptr<HttpListener> healthz_;
};

}  // namespace limpet::control
