// chain_names.h: the names that kube-proxy gives to the chains and `recent` lists of a service port.
//
//   KUBE-SVC-XPGD46QRK7WJZT7O      the service port, all endpoints      hash of (service, protocol)
//   KUBE-SVL-…  KUBE-EXT-…         local endpoints; from outside        the same hash
//   KUBE-FW-…                      through loadBalancerSourceRanges     the same hash
//   KUBE-SEP-SXIVWICOYRO3J4NJ      one endpoint; its `recent` list too  hash of (service, protocol, endpoint)
//
//   hash = the first 16 letters of base32(SHA-256(service protocol endpoint)), the parts one after the other
//
// service is "namespace/name:port" ("namespace/name" where the port has no name), protocol in lower case, endpoint
// "ip:port" or "[ip]:port". Nothing else goes into a name: it is the same on every node and after every restart, so
// what a `recent` list belongs to can be told from its name, given the services.
//
// Source: pkg/proxy/iptables/proxier.go, portProtoHash and servicePortEndpointChainName. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "conntrack/net/address.h"

namespace limpet::rules {

/// What the names of an endpoint's chain and list begin with.
inline constexpr std::string_view kEndpointChainPrefix = "KUBE-SEP-";

/// "KUBE-SVC-…"
std::string cluster_chain(std::string_view service, net::Protocol protocol);
/// "KUBE-SVL-…"
std::string local_chain(std::string_view service, net::Protocol protocol);
/// "KUBE-EXT-…"
std::string external_chain(std::string_view service, net::Protocol protocol);
/// "KUBE-FW-…"
std::string firewall_chain(std::string_view service, net::Protocol protocol);
/// "KUBE-SEP-…"
std::string endpoint_chain(std::string_view service, net::Protocol protocol, const net::AddressPort& endpoint);

}  // namespace limpet::rules
