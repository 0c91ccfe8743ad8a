// fakes.h: a limpet of plain lists, for the API to show; crossings for observers to see.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lb/control/tables.h"
#include "lb/datapath/observer.h"
#include "lb/datapath/pipeline.h"
#include "tests/support/packet_builder.h"
#include "tests/unit/service/fixture.h"

namespace limpet::control {

using service::at;
using service::ip;

/// t/web:http (two endpoints, affinity 100 s), t/dns:dns (UDP, one endpoint, draining, affinity that never ends),
/// t/bare:http (IPv6, none, no affinity).
inline std::vector<service::Service> three_services() {
  std::vector<service::Service> services(3);
  services[0].name = "t/web:http";
  services[0].cluster_ip = ip("10.96.0.10");
  services[0].port = 80;
  services[0].node_port = 30080;
  services[0].affinity_timeout = flow::Seconds{100};
  services[0].endpoints = {service::local_endpoint("10.2.0.1:8080"), service::remote_endpoint("10.2.0.2:8080")};
  services[1].name = "t/dns:dns";
  services[1].protocol = net::Protocol::udp;
  services[1].cluster_ip = ip("10.96.0.20");
  services[1].port = 53;
  services[1].affinity_timeout = flow::Seconds{0};
  services[1].endpoints = {service::remote_endpoint("10.2.0.3:53", 0)};
  services[2].name = "t/bare:http";
  services[2].cluster_ip = ip("fd96::30");
  services[2].port = 80;
  return services;
}

class FakeTables final : public Tables {
 public:
  explicit FakeTables(const std::vector<service::Service>& services = three_services()) : identities_(slots_) {
    auto ids = identities_.assign(services);
    if (!ids) throw std::invalid_argument(ids.error().message);
    snapshot_ = std::make_shared<const service::Snapshot>(service::seed_node(), services, std::move(*ids));
  }

  std::shared_ptr<const service::Snapshot> snapshot() const override { return snapshot_; }
  EndpointFigures figures(flow::EndpointId endpoint) const override {
    return {.ready = slots_.is(endpoint, datapath::EndpointSlots::ready),
            .serving = slots_.is(endpoint, datapath::EndpointSlots::serving),
            .opened = 10 + endpoint.id,
            .active = endpoint.id};
  }
  std::string service_of(const datapath::NewConnection& connection) const override {
    return "service of " + connection.tuple.destination.to_string();
  }
  nlohmann::ordered_json stats() const override { return {{"packets", 7}, {"flows", flows.size()}}; }
  nlohmann::ordered_json queues() const override { return {{{"queue", 0}, {"packets", 7}}}; }
  const affinity::RecentLists* recent_lists() const override { return recent; }

  std::optional<Cursor> visit_flows(Cursor from, std::size_t budget,
                                    const std::function<void(const FlowEntry&)>& visit) const override {
    return visit_list(flows, from, budget, visit);
  }
  std::optional<Cursor> visit_affinity(Cursor from, std::size_t budget,
                                       const std::function<void(const AffinityEntry&)>& visit) const override {
    return visit_list(affinity, from, budget, visit);
  }
  Put put_affinity(const AffinityEntry& entry) override {
    for (const AffinityEntry& one : affinity) {
      if (one.scope == entry.scope && one.client == entry.client) return Put::kept;
    }
    if (affinity.size() == capacity) return Put::no_room;
    affinity.push_back(entry);
    return Put::taken;
  }
  std::size_t erase_affinity(std::uint32_t scope, const net::Address& client) override {
    return std::erase_if(affinity, [&](const auto& e) { return e.scope == scope && e.client == client; });
  }
  std::size_t erase_affinity_scope(std::uint32_t scope) override {
    return std::erase_if(affinity, [&](const auto& e) { return e.scope == scope; });
  }
  std::size_t erase_all_affinity() override { return std::exchange(affinity, {}).size(); }

  std::uint32_t scope(std::size_t service) const { return snapshot_->ports()[service]->affinity_scope(); }
  std::uint32_t endpoint(std::size_t service, std::uint32_t index) const {
    return snapshot_->ports()[service]->id(index).id;
  }
  /// As the service's own connections would be remembered.
  void remember(std::size_t service, const std::string& client, std::uint32_t index, bool confirmed = true,
                flow::Milliseconds age = {}) {
    const service::ServicePort& port = *snapshot_->ports()[service];
    affinity.push_back({scope(service), port.known_as(ip(client)), port.affinity_id(index), confirmed, age});
  }
  /// A TCP flow of t/web:http.
  void connect(const std::string& client, std::uint32_t index, std::string_view state = "ESTABLISHED") {
    FlowEntry entry;
    entry.protocol = net::Protocol::tcp;
    entry.state = state;
    entry.client = entry.client_near = at(client);
    entry.service = at("10.96.0.10:80");
    entry.endpoint = snapshot_->ports()[0]->address(index);
    entry.endpoint_id = endpoint(0, index);
    entry.left = flow::Milliseconds{1500};
    flows.push_back(entry);
  }

  const affinity::RecentLists* recent = nullptr;
  std::vector<FlowEntry> flows;
  std::vector<AffinityEntry> affinity;
  std::size_t capacity = 1'000'000;  // of affinity
  mutable std::size_t looked = 0;    // at entries
  mutable std::size_t largest = 0;   // piece

 private:
  template <typename Entry>
  std::optional<Cursor> visit_list(const std::vector<Entry>& list, Cursor from, std::size_t budget,
                                   const std::function<void(const Entry&)>& visit) const {
    largest = std::max(largest, budget);
    for (; from < list.size() && budget > 0; ++from, --budget, ++looked) visit(list[from]);
    return from < list.size() ? std::optional(from) : std::nullopt;
  }

  datapath::EndpointSlots slots_{16};
  service::Identities identities_;
  std::shared_ptr<const service::Snapshot> snapshot_;
};

/// A packet that met a flow, or none, at a hook: what an observer is told.
class Crossed {
 public:
  explicit Crossed(test::Bytes packet) : before_(std::move(packet)), bytes_(before_) {}
  /// As it leaves.
  Crossed& leaves_as(test::Bytes bytes) {
    bytes_ = std::move(bytes);
    verdict_.rewritten = true;
    outcome_ = datapath::Counter::rewritten;
    return *this;
  }
  Crossed& at_hook(datapath::Hook hook) { return packet_.hook = hook, *this; }
  Crossed& of_client(const std::string& client) { return client_ = ip(client), *this; }
  Crossed& hits(flow::KeyRole role) { return hit_ = role, *this; }
  Crossed& decided(const datapath::Decision& decision) { return decision_ = decision, *this; }

  void tell(datapath::Observer& observer) {
    packet_.bytes = bytes_;  // here, for an object that has been copied
    net::PacketView before, after;
    const bool readable = net::parse(before_, before) == net::ParseError::none;
    net::parse(bytes_, after);
    datapath::CrossingReport report{.now = {}, .hook = packet_.hook, .verdict = verdict_, .packet = packet_};
    if (readable) report.before = before.tuple, report.after = after.tuple;
    report.hit = hit_;
    report.client = client_;
    report.decision = decision_;
    report.outcome = outcome_;
    report.head = std::span<const std::byte>(before_).first(std::min(before_.size(), datapath::kHead));
    observer.on(report);
  }

 private:
  test::Bytes before_, bytes_;
  datapath::Packet packet_;
  datapath::Verdict verdict_;
  datapath::Counter outcome_ = datapath::Counter::accepted_miss;
  std::optional<flow::KeyRole> hit_;
  std::optional<net::Address> client_;
  std::optional<datapath::Decision> decision_;
};

inline test::Bytes tcp_packet(const std::string& from, std::uint16_t source, const std::string& to,
                              std::uint16_t destination, const std::string& flags = "S") {
  test::PacketBuilder builder;
  from.find(':') == std::string::npos ? builder.v4(from, to) : builder.v6(from, to);
  return builder.tcp(source, destination).flags(flags).build();
}

}  // namespace limpet::control
