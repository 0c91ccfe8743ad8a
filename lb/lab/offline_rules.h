// offline_rules.h: would the rules in place bring this packet to a queue at that hook?
//
// The same table as lb/divert/rules.h, asked instead of installed:
//
//   PREROUTING, OUTPUT    to a service; PREROUTING also from an endpoint to one of the node's addresses (a reply to a
//                         masqueraded connection); to addresses and networks of services that refuse what is not ICMP;
//                         to an endpoint if direct flows are watched; ICMP errors
//   POSTROUTING           the mark bit; from an endpoint; ICMP errors
//   INPUT                 from an endpoint; ICMP errors
//   later fragments       by addresses alone, as on a node whose kernel does not put datagrams together
//
// Pure; O(log addresses).
#pragma once

#include <cstdint>
#include <vector>

#include "lb/datapath/diversion_plan.h"
#include "lb/datapath/hook.h"
#include "lb/datapath/packet_facts.h"

namespace limpet::lab {

using datapath::PacketFacts;

class OfflineRules {
 public:
  OfflineRules(datapath::DiversionPlan plan, std::uint32_t mark_mask, bool direct);

  bool divert(const PacketFacts& packet, datapath::Hook hook, std::uint32_t mark) const;
  bool is_service(net::Protocol protocol, const net::AddressPort& at) const;
  bool is_endpoint(net::Protocol protocol, const net::AddressPort& at) const;

 private:
  bool is_refused(net::Protocol protocol, const net::Address& address) const;
  bool divert_destination(const PacketFacts& packet, datapath::Hook hook) const;

  datapath::DiversionPlan plan_;
  std::vector<net::Address> service_addresses_;  // sorted, as all lists here
  std::vector<net::Address> endpoint_addresses_;
  std::uint32_t mark_mask_;
  bool direct_;
};

}  // namespace limpet::lab
