// completion.h: what a partial dump of kube-proxy's rules lacks, put back.
//
// A dump that was searched for one Service (`iptables-save | grep web`) has that Service's rules, not the frame that
// kube-proxy always writes around them. Where a dump has chains of kube-proxy's, and only as far as it lacks them:
//
//   nat  PREROUTING, OUTPUT -j KUBE-SERVICES           if nothing in either jumps there
//        KUBE-SERVICES, last: destination of type LOCAL -j KUBE-NODEPORTS
//        KUBE-MARK-MASQ sets a mark bit (0x4000, or the one that the dump's own rules look at)
//        POSTROUTING -j KUBE-POSTROUTING, which masquerades what has that bit
//        KUBE-MARK-DROP sets 0x8000 (kube-proxy up to 1.23), which filter KUBE-FIREWALL drops in INPUT and OUTPUT
//
// A complete dump is left as it is. Source: pkg/proxy/iptables/proxier.go. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct AddedRule {
  Table table = Table::nat;
  std::string chain;
  Rule rule;
};

/// What was added, in order. Rule::line is 0.
std::vector<AddedRule> complete(Ruleset& rules);

/// "-t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", a line each.
std::string print(const std::vector<AddedRule>& added, net::Family family);

}  // namespace limpet::rules
