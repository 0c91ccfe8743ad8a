// program_subject.h: an iptables program as what an offline command asks.
//
//   text ─▶ parse ─▶ complete (a partial dump of kube-proxy's) ─▶ link ─▶ rules::Program, with lists of its own
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
#include "lb/rules/completion.h"
#include "lb/rules/program.h"

namespace limpet::lab {

class ProgramSubject final : public Subject {
 public:
  /// Errors: configuration: every faulty line, "file:line: what", one below the other.
  static store::Result<std::unique_ptr<ProgramSubject>> parse(std::string_view text, const std::string& file);
  /// Errors: runtime: the file cannot be read; those of parse().
  static store::Result<std::unique_ptr<ProgramSubject>> read(const std::string& path);

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override;
  service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                const datapath::Decision& decision) const override;
  bool is_local(const net::Address& source, const node::NodeView& node) const override { return node.is_local(source); }
  void tell_time(flow::Instant) override {}
  /// What the text lacked.
  std::vector<std::string> remarks() const override;

  /// The same.
  const std::vector<rules::AddedRule>& added() const noexcept { return added_; }
  rules::RuleMemory& memory() noexcept { return memory_; }

 private:
  ProgramSubject() : memory_({}, rules::NthOnReload::reset), slots_(1) {}
  const std::string& words_of(const rules::Hit& hit) const;

  rules::RuleMemory memory_;
  datapath::EndpointSlots slots_;
  std::vector<rules::AddedRule> added_;
  std::unique_ptr<rules::Program> program_;
  std::unique_ptr<Candidates> candidates_;  // null: there is no table nat
  std::vector<rules::Hit> hits_;            // of the last decision
  mutable std::unordered_map<const rules::Rule*, std::string> words_;
};

}  // namespace limpet::lab
