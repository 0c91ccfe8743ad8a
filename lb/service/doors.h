// doors.h: the addresses by which clients reach a service: what a snapshot finds it by, and what two services may claim.
//
//   clusterIP, externalIPs, load balancers' VIPs    address, port, protocol
//   nodePort                                        the unspecified address of the service's family: any that accepts
//                                                   nodePorts
#pragma once

#include <cstddef>
#include <cstdint>

#include "lb/datapath/diversion_plan.h"
#include "lb/service/service.h"

namespace limpet::service {

/// By which of a service's doors a connection came.
enum class Door : std::uint8_t { cluster_ip, external_ip, load_balancer, node_port };

inline datapath::L4Address node_port_door(net::Protocol protocol, net::Family family, std::uint16_t port) noexcept {
  static constexpr std::byte kUnspecified[16]{};
  return {protocol, {net::Address::from_wire(family, kUnspecified), port}};
}
inline datapath::L4Address node_port_door(const Service& service) noexcept {
  return node_port_door(service.protocol, service.family(), service.node_port);
}

/// Calls visit(address and port, Door) for each, in the order of Door; for one that stands twice, twice.
template <typename Visit>
void for_each_door(const Service& service, const Visit& visit) {
  const auto vip = [&](const net::Address& address, Door door) {
    visit(datapath::L4Address{service.protocol, {address, service.port}}, door);
  };
  if (service.cluster_ip) vip(*service.cluster_ip, Door::cluster_ip);
  for (const net::Address& address : service.external_ips) vip(address, Door::external_ip);
  for (const net::Address& address : service.load_balancer_ips) vip(address, Door::load_balancer);
  if (service.node_port != 0) visit(node_port_door(service), Door::node_port);
}

}  // namespace limpet::service
