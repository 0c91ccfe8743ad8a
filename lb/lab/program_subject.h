// program_subject.h: an iptables program as what an offline command asks.
//
//   file ─▶ rules/program_file.h ─▶ rules::Program, with lists of its own
//
// Ticks are 250 a second unless the configuration says how many: what is printed is the same on every machine.
//
// In words: the candidates are all that nat's rules could translate this connection to (candidates.h); the service is
// what kube-proxy's comment beside the jump to its chain says; why is each rule that matched, as iptables-save prints it.
// One thread.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lb/datapath/endpoint_slots.h"
#include "lb/lab/candidates.h"
#include "lb/lab/subject.h"
#include "lb/rules/program.h"
#include "lb/rules/program_file.h"
#include "lb/service/config.h"

namespace limpet::lab {

class ProgramSubject final : public Subject {
 public:
  /// Errors: those of rules/program_file.h.
  static store::Result<std::unique_ptr<ProgramSubject>> parse(std::string_view text, const std::string& file);
  static store::Result<std::unique_ptr<ProgramSubject>> read(const service::RulesConfig& config);

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override;
  service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                const datapath::Decision& decision) const override;
  bool is_local(const net::Address& source, const node::NodeView& node) const override { return node.is_local(source); }
  void tell_time(flow::Instant) override {}
  /// What was left out, and what the text lacked.
  std::vector<std::string> remarks() const override;

  /// The latter.
  const std::vector<rules::AddedRule>& added() const noexcept { return added_; }
  rules::RuleMemory& memory() noexcept { return memory_; }

 private:
  explicit ProgramSubject(const affinity::RecentOptions& options)
      : memory_(options, rules::NthOnReload::reset), slots_(1) {}
  static store::Result<std::unique_ptr<ProgramSubject>> conclude(std::unique_ptr<ProgramSubject> subject,
                                                                 store::Result<rules::LoadedProgram> loaded);
  const std::string& words_of(const rules::Hit& hit) const;

  rules::RuleMemory memory_;
  datapath::EndpointSlots slots_;
  std::vector<rules::AddedRule> added_;
  std::vector<store::LineError> skipped_;
  std::unique_ptr<rules::Program> program_;
  std::unique_ptr<Candidates> candidates_;  // null: there is no table nat
  std::vector<rules::Hit> hits_;            // of the last decision
  mutable std::unordered_map<const rules::Rule*, std::string> words_;
};

}  // namespace limpet::lab
