// rule_program.h: the iptables program of a configuration, read and judged before it runs.
//
//   rules: {file: …} ──▶ rules/program_file.h ──▶ LinkedRuleset, for rules::Program
//                                             ──▶ Diversion: which packets it needs
//                                             ──▶ remarks: what was left out, what `services` takes from it
//
// It runs behind the declared services: a destination that both have is the service's, which is a remark. Refused, with
// every faulty line, is a program that cannot be honoured, or whose packets cannot be told from others; `lenient: true`
// leaves those rules out, or undiverted. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "conntrack/store/result.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/node/node_view.h"
#include "lb/rules/diversion.h"
#include "lb/rules/program.h"
#include "lb/rules/program_file.h"
#include "lb/service/config.h"

namespace limpet::cli {

class RuleProgram {
 public:
  /// Null, if the configuration has none. Errors: configuration: every faulty line; unavailable: the kernel does not tell
  /// its tick.
  static store::Result<std::unique_ptr<RuleProgram>> open(const service::Config& config);
  /// For who only looks at it: with any tick.
  static store::Result<std::unique_ptr<RuleProgram>> inspect(const service::Config& config);

  /// Its endpoints, each as a service of its own: what Identities gives ids to.
  std::vector<service::Service> named_endpoints() const;
  /// Once. `ids`: of named_endpoints(). The Program looks into this object's memory.
  std::unique_ptr<rules::Program> make(const datapath::EndpointSlots& slots, std::vector<datapath::EndpointId> ids);

  datapath::DiversionPlan plan(const node::NodeView& node) const { return diversion_.plan(node, localhost_); }
  const rules::RuleMemory& memory() const noexcept { return memory_; }
  const std::vector<rules::ProgramEndpoint>& endpoints() const noexcept { return endpoints_; }
  /// In the order of endpoints(); empty before make().
  const std::vector<datapath::EndpointId>& ids() const noexcept { return ids_; }
  /// What the rules' comments call the service of this destination; "": none, or not said.
  std::string_view service_of(net::Protocol protocol, const net::AddressPort& at, const node::NodeView& node) const;
  bool serves_localhost() const noexcept { return localhost_ && diversion_.has_local_doors(); }

  /// How its lists fare, summed: counters by name.
  void add_stats(nlohmann::ordered_json& all) const;
  /// "dump.txt: 34 rules, 4 endpoints"
  std::string summary() const;
  /// What the text lacked, a line each: "-t nat -A …".
  std::string completion() const;
  /// "file:line: what", one each: to be warned of.
  const std::vector<std::string>& remarks() const noexcept { return remarks_; }

 private:
  RuleProgram(const service::Config& config, std::uint32_t ticks);
  static store::Result<std::unique_ptr<RuleProgram>> load(const service::Config& config, std::uint32_t ticks);
  void remark_on_overlaps(const std::vector<service::Service>& services);

  std::string file_;
  bool localhost_;
  rules::RuleMemory memory_;
  rules::LoadedProgram loaded_;  // its LinkedRuleset is the Program's after make()
  std::shared_ptr<const rules::Ruleset> rules_;
  rules::Diversion diversion_;
  std::vector<rules::ProgramEndpoint> endpoints_;
  std::vector<datapath::EndpointId> ids_;
  std::vector<std::string> remarks_;
};

}  // namespace limpet::cli
