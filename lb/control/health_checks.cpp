#include "lb/control/health_checks.h"

#include <algorithm>
#include <ctime>
#include <iterator>
#include <set>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "lb/service/local_counts.h"
#include "lb/service/node_rules.h"

namespace limpet::control {

using nlohmann::ordered_json;
using Time = std::chrono::system_clock::time_point;

namespace {

constexpr unsigned kOk = 200;
constexpr unsigned kNotFound = 404;
constexpr unsigned kUnavailable = 503;

/// As 2026-11-28T01:02:03Z.
std::string rfc3339(Time time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[sizeof "2026-11-28T01:02:03Z" + 16];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

HttpAnswer make_answer(bool good, const ordered_json& body) {
  return {.status = good ? kOk : kUnavailable,
          .body = body.dump() + "\n",
          .headers = {{"X-Content-Type-Options", "nosniff"}}};
}

}  // namespace

CheckedServices checked_services(std::span<const service::Service> services, const service::Place& place) {
  std::vector<service::Service> of_interest;
  std::copy_if(services.begin(), services.end(), std::back_inserter(of_interest),
               [](const service::Service& service) { return service.health_check_node_port != 0; });
  const service::LocalCounts counts = count_local(of_interest, place);
  CheckedServices checked;
  for (const service::Service& service : of_interest) {
    const std::string name = service.name.substr(0, service.name.find(':'));
    const auto ready = counts.ready.find(name);
    checked[name] = {service.health_check_node_port, ready == counts.ready.end() ? 0 : ready->second};
  }
  return checked;
}

std::vector<net::Address> checked_addresses(const service::NodeConfig& config, const node::NodeView& node) {
  if (config.node_port_addresses.empty() && !config.node_port_primary_only) return {};
  std::vector<net::Address> addresses = service::NodeRules(config).node_port_addresses(node);
  // Link-local ones cannot be bound without an interface's name, and are no load balancer's way to a node.
  const net::Prefix link_local(net::Address::parse("fe80::").value(), 10);
  std::erase_if(addresses,
                [&](const net::Address& address) { return link_local.contains(address) || !node.is_local(address); });
  return addresses;
}

void HealthChecks::update(const CheckedServices& services, const std::vector<net::Address>& addresses) {
  services_ = services;
  std::set<Key> wanted;
  for (const auto& [name, service] : services) {
    if (addresses.empty()) wanted.emplace(name, net::AddressPort{net::Address::parse("::").value(), service.port});
    for (const net::Address& address : addresses) wanted.emplace(name, net::AddressPort{address, service.port});
  }
  // First those that go: another service may want their port.
  std::erase_if(listeners_, [&](const auto& each) { return !wanted.contains(each.first); });
  std::erase_if(failures_, [&](const auto& each) { return !wanted.contains(each.first); });
  for (const Key& key : wanted) {
    if (listeners_.contains(key)) continue;
    auto listener =
        HttpListener::open(io_, key.second, [this, name = key.first](std::string_view) { return answer_for(name); });
    if (listener) {
      listeners_.emplace(key, std::move(*listener));
      failures_.erase(key);
    } else if (std::string& told = failures_[key]; told != listener.error().message) {
      told = listener.error().message;
      spdlog::warn("healthCheckNodePort {} of {} is not answered: {}", key.second.port, key.first, told);
    }
  }
}

store::Status HealthChecks::open_healthz(const net::AddressPort& at) {
  auto listener = HttpListener::open(io_, at, [this](std::string_view path) { return answer_healthz(path); });
  if (!listener) return listener.error();
  healthz_ = std::move(*listener);
  return store::ok();
}

HttpAnswer HealthChecks::answer_for(const std::string& service) const {
  const auto found = services_.find(service);
  const std::uint32_t count = found == services_.end() ? 0 : found->second.local_endpoints;
  const bool healthy = probe_().healthy;
  const std::size_t slash = service.find('/');
  HttpAnswer answer =
      make_answer(healthy && count > 0,
                  {{"service", {{"namespace", service.substr(0, slash)}, {"name", service.substr(slash + 1)}}},
                   {"localEndpoints", count},
                   {"serviceProxyHealthy", healthy}});
  answer.headers.emplace_back("X-Load-Balancing-Endpoint-Weight", std::to_string(count));
  return answer;
}

HttpAnswer HealthChecks::answer_healthz(std::string_view path) const {
  if (path != "/healthz" && path != "/livez") {
    return {.status = kNotFound, .body = ordered_json{{"error", "ask for /healthz or /livez"}}.dump() + "\n"};
  }
  const Health health = probe_();
  return make_answer(health.healthy, {{"lastUpdated", rfc3339(health.updated)},
                                      {"currentTime", rfc3339(std::chrono::system_clock::now())}});
}

}  // namespace limpet::control
