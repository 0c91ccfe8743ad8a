// nat_choice.h: which address and port of a range a new connection is sent to, as nf_nat chooses.
//
//   address   hash of the client's and the service's address (persistent: of the client's alone), scaled to the range:
//             the same pair meets the same address again, on every node and after every boot
//   port      kept if it is in the range, else (--random: always) drawn from it; with a base, shifted by it
//
// Not followed: nf_nat draws another port where the translated tuple is taken by another connection. Source:
// find_best_ips_proto and nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c (Linux 6.12); jhash2 is Bob
// Jenkins' lookup3 (2006). Pure; any thread.
#pragma once

#include "conntrack/net/address.h"
#include "lb/pick/rng.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

net::Address choose_address(const NatRange::Addresses& range, const net::Tuple& connection, bool persistent) noexcept;

/// Where DNAT sends the connection. What the range leaves open stays as it is.
net::AddressPort choose_destination(const Dnat& nat, const net::Tuple& connection, pick::Rng& rng) noexcept;
/// The same for ports alone.
std::uint16_t choose_port(const PortRange& range, std::uint16_t port, bool random, pick::Rng& rng) noexcept;

}  // namespace limpet::rules
