// exported.h: a configuration's services as limpet's rule programs run them: `limpet rules export`, then `rules:`.
//
//   Config ──▶ export_rules ──▶ text ──▶ parse, link ──▶ Program     rule by rule, or compiled
//
// Reloaded, a program keeps what its lists remember, as the kernel's do. The node is the configuration's: its addresses
// on eth0, which is the default route, and loopback.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/kube/iptables_rules.h"
#include "lb/rules/program.h"
#include "lb/rules/ruleset_text.h"
#include "lb/service/config.h"
#include "tests/unit/service/fixture.h"

namespace limpet::kube::test {

inline constexpr std::uint32_t kEth0 = 2, kLoopback = 1;

inline node::NodeView node_of(const service::NodeConfig& config) {
  using service::ip;
  std::vector<node::InterfaceAddress> addresses{
      {.interface = kLoopback, .address = ip("127.0.0.1"), .prefix_length = 8},
      {.interface = kLoopback, .address = ip("::1"), .prefix_length = 128}};
  const auto own = [&](const net::Address& address) {
    addresses.push_back({.interface = kEth0, .address = address, .prefix_length = address.bits()});
  };
  if (config.node_ip) own(*config.node_ip);
  for (const net::Address& address : config.addresses) own(address);
  return node::NodeView(std::move(addresses),
                        {{.destination = service::cidr("0.0.0.0/0"), .interface = kEth0, .gateway = {}},
                         {.destination = service::cidr("::/0"), .interface = kEth0, .gateway = {}}},
                        {{kLoopback, "lo"}, {kEth0, "eth0"}});
}

/// From the node itself at OUTPUT, from elsewhere by eth0.
inline datapath::NewConnection arriving(const net::Tuple& tuple, const node::NodeView& view) {
  const bool own = view.is_local(tuple.source.address);
  return {.tuple = tuple,
          .hook = own ? datapath::Hook::output : datapath::Hook::prerouting,
          .in_interface = own ? 0 : kEth0,
          .ttl = 64};
}

class ExportedProgram {
 public:
  ExportedProgram(const service::Config& config, net::Family family, bool compiled)
      : family_(family), compiled_(compiled), view_(node_of(config.node)) {
    load(config);
  }
  /// The new rules are opened before the old ones are let go.
  void load(const service::Config& config) {
    text_ = export_rules(config, view_, family_).text;
    rules::ReadRuleset read = rules::parse_ruleset(text_, {.file = "exported", .family = family_});
    for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
    auto linked = rules::link(std::move(read.rules), memory_, {.file = "exported", .compiled = compiled_});
    for (const auto& error : linked.errors) ADD_FAILURE() << store::to_string(error);
    program_ = std::make_unique<rules::Program>(slots_, std::move(linked), memory_);
  }

  /// What a process of the node sends to the node's own address comes in again, by lo.
  datapath::Decision decide(const datapath::NewConnection& connection, flow::Instant now) {
    const datapath::Decision decision = program_->decide(connection, view_, now, rng_);
    const bool loops = decision.action == datapath::Action::none && connection.hook == datapath::Hook::output &&
                       view_.is_local(connection.tuple.destination.address);
    if (!loops) return decision;
    datapath::NewConnection again = connection;
    again.hook = datapath::Hook::prerouting;
    again.in_interface = kLoopback;
    return program_->decide(again, view_, now, rng_);
  }

  const rules::Program& program() const { return *program_; }
  const rules::RuleMemory& memory() const { return memory_; }
  const node::NodeView& view() const { return view_; }
  const std::string& text() const { return text_; }

 private:
  net::Family family_;
  bool compiled_;
  node::NodeView view_;
  rules::RuleMemory memory_{affinity::RecentOptions{.per_second = 250}, rules::NthOnReload::reset};
  datapath::EndpointSlots slots_{16};
  std::string text_;
  std::unique_ptr<rules::Program> program_;
  pick::Rng rng_{1};
};

}  // namespace limpet::kube::test
