#include "lb/lab/program_subject.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "lb/rules/rule_text.h"

namespace limpet::lab {
namespace {

using datapath::Reason;
using rules::Rule;

/// kube-proxy writes "namespace/name:port …" beside the jump to a service port's chain.
std::optional<std::string> service_of(std::span<const rules::Hit> hits) {
  for (const rules::Hit& hit : hits) {
    const auto* const jump = std::get_if<rules::Jump>(&hit.rule->target);
    if (jump == nullptr || jump->chain == "KUBE-SERVICES" || jump->chain == "KUBE-NODEPORTS") continue;
    for (const rules::Match& match : hit.rule->matches) {
      const auto* const comment = std::get_if<rules::CommentMatch>(&match);
      if (comment == nullptr) continue;
      const std::string word = comment->text.substr(0, comment->text.find(' '));
      if (word.find('/') != std::string::npos) return word;
    }
  }
  return std::nullopt;
}

std::string reason(const datapath::Decision& decision, const Candidates::List& candidates) {
  const std::size_t count = candidates.endpoints.size();
  switch (decision.reason) {
    case Reason::affinity:
      return "the endpoint that this client is remembered for";
    case Reason::picked:
      return std::string("chosen by the rules from ") + (candidates.complete ? "" : "at least ") +
             std::to_string(count) + (count == 1 ? " endpoint" : " endpoints");
    case Reason::ruled:
      return "a rule says so";
    case Reason::midstream:
      return "the middle of a connection that is not known, from a client without affinity";
    default:
      return "no rule translates this connection";
  }
}

/// What raw and mangle have made of a packet's mark when it comes to nat.
std::uint32_t mark_at_nat(std::uint32_t mark, std::span<const rules::Hit> hits) {
  for (const rules::Hit& hit : hits) {
    if (hit.table == rules::Table::nat) break;
    const auto* const set = std::get_if<rules::SetMark>(&hit.rule->target);
    if (set != nullptr) mark = (mark & ~set->mask) ^ set->value;
  }
  return mark;
}

}  // namespace

store::Result<std::unique_ptr<ProgramSubject>> ProgramSubject::conclude(std::unique_ptr<ProgramSubject> subject,
                                                                        store::Result<rules::LoadedProgram> loaded) {
  if (!loaded) return loaded.error();
  subject->added_ = std::move(loaded->added);
  subject->skipped_ = std::move(loaded->skipped);
  subject->program_ = std::make_unique<rules::Program>(subject->slots_, std::move(loaded->linked), subject->memory_);
  if (const rules::TableRules* const nat = subject->program_->rules().find(rules::Table::nat)) {
    subject->candidates_ = std::make_unique<Candidates>(*nat, subject->program_->sets());
  }
  return subject;
}

store::Result<std::unique_ptr<ProgramSubject>> ProgramSubject::parse(std::string_view text, const std::string& file) {
  std::unique_ptr<ProgramSubject> subject(new ProgramSubject({}));
  auto loaded = rules::parse_program(text, {.file = file, .compiled = true}, subject->memory_);
  return conclude(std::move(subject), std::move(loaded));
}

store::Result<std::unique_ptr<ProgramSubject>> ProgramSubject::read(const service::RulesConfig& config) {
  affinity::RecentOptions options{.capacity = config.ip_list_tot, .least_stamps = config.ip_pkt_list_tot};
  if (config.hz != 0) options.per_second = config.hz;
  std::unique_ptr<ProgramSubject> subject(new ProgramSubject(options));
  auto loaded = rules::load_program(
      {.file = config.file, .ipsets = config.ipsets, .lenient = config.lenient, .compiled = config.compiled},
      subject->memory_);
  return conclude(std::move(subject), std::move(loaded));
}

datapath::Decision ProgramSubject::decide(const datapath::NewConnection& connection, const node::NodeView& node,
                                          flow::Instant now, pick::Rng& rng) {
  hits_.clear();
  return program_->decide(connection, node, now, rng, &hits_);
}

std::vector<std::string> ProgramSubject::remarks() const {
  std::vector<std::string> lines;
  for (const store::LineError& error : skipped_) lines.push_back(store::to_string(error) + "; left out");
  if (added_.empty()) return lines;
  lines.push_back("rules: completed by what kube-proxy always writes:");
  for (const rules::AddedRule& added : added_) {
    lines.push_back("  " + rules::print(std::vector{added}, program_->rules().family));
    lines.back().pop_back();  // the end of the line
  }
  return lines;
}

const std::string& ProgramSubject::words_of(const rules::Hit& hit) const {
  std::string& words = words_[hit.rule];
  if (words.empty()) words = rules::to_string(hit, program_->rules().family);
  return words;
}

service::Explanation ProgramSubject::describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                              const datapath::Decision& decision) const {
  static const Candidates::List kNone;
  const bool asks = decision.action == datapath::Action::dnat && candidates_ != nullptr;
  const Candidates::List& found = asks ? candidates_->of(connection, node, mark_at_nat(connection.mark, hits_)) : kNone;
  service::Explanation words;
  words.decision = decision;
  words.candidates = found.endpoints;
  words.service = service_of(hits_);
  words.reason = reason(decision, found);
  for (const rules::Hit& hit : hits_) words.why.push_back(words_of(hit));
  if (hits_.empty()) words.why.push_back("no rule matches");
  if (!found.complete) words.why.push_back("there may be more endpoints: too many ways lead through the rules");
  return words;
}

}  // namespace limpet::lab
