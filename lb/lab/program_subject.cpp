#include "lb/lab/program_subject.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "lb/rules/rule_text.h"
#include "lb/rules/ruleset_text.h"
#include "lb/rules/target_text.h"

namespace limpet::lab {
namespace {

using datapath::Reason;
using rules::Rule;

store::Error all_of(const std::vector<store::LineError>& errors) {
  std::string message;
  for (const store::LineError& error : errors) message += (message.empty() ? "" : "\n") + to_string(error);
  return {store::ErrorKind::configuration, message};
}

/// Where a DNAT or REDIRECT sends the connection, in words; "" for other targets.
std::string destination(const rules::Target& target, const net::AddressPort& original) {
  if (const auto* const redirect = std::get_if<rules::Redirect>(&target)) {
    return "this node:" + (redirect->ports ? rules::to_string(*redirect->ports, '-') : std::to_string(original.port));
  }
  const auto* const dnat = std::get_if<rules::Dnat>(&target);
  if (dnat == nullptr) return "";
  const auto& addresses = dnat->to.addresses;
  const auto& ports = dnat->to.ports;
  if ((addresses && addresses->first != addresses->last) || (ports && ports->first != ports->last)) {
    constexpr std::string_view kBefore = "-j DNAT --to-destination ";
    return rules::print(rules::Dnat{.to = dnat->to}).substr(kBefore.size());
  }
  return net::AddressPort{addresses ? addresses->first : original.address, ports ? ports->first : original.port}
      .to_string();
}

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

std::string reason(const datapath::Decision& decision, std::size_t candidates) {
  switch (decision.reason) {
    case Reason::affinity:
      return "the endpoint that this client is remembered for";
    case Reason::picked:
      return "chosen by the rules from " + std::to_string(candidates) + (candidates == 1 ? " endpoint" : " endpoints");
    case Reason::ruled:
      return "a rule says so";
    case Reason::midstream:
      return "the middle of a connection that is not known, from a client without affinity";
    default:
      return "no rule translates this connection";
  }
}

}  // namespace

store::Result<std::unique_ptr<ProgramSubject>> ProgramSubject::parse(std::string_view text, const std::string& file) {
  rules::ReadRuleset read = rules::parse_ruleset(text, {.file = file});
  if (!read.errors.empty()) return all_of(read.errors);
  std::unique_ptr<ProgramSubject> subject(new ProgramSubject);
  subject->added_ = rules::complete(read.rules);
  rules::LinkedRuleset linked = rules::link(std::move(read.rules), subject->memory_, {.file = file});
  if (!linked.errors.empty()) return all_of(linked.errors);
  subject->program_ = std::make_unique<rules::Program>(subject->slots_, std::move(linked), subject->memory_);
  if (const rules::TableRules* const nat = subject->program_->rules().find(rules::Table::nat)) {
    subject->nat_ = std::make_unique<rules::Reach>(*nat, nullptr);
  }
  return subject;
}

store::Result<std::unique_ptr<ProgramSubject>> ProgramSubject::read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || file.bad()) {
    return store::Error{store::ErrorKind::runtime, path + " cannot be read; name what iptables-save printed"};
  }
  return parse(text, path);
}

datapath::Decision ProgramSubject::decide(const datapath::NewConnection& connection, const node::NodeView& node,
                                          flow::Instant now, pick::Rng& rng) {
  hits_.clear();
  return program_->decide(connection, node, now, rng, &hits_);
}

std::vector<std::string> ProgramSubject::candidates(const datapath::NewConnection& connection,
                                                    const node::NodeView& node) const {
  std::vector<std::string> found;
  if (nat_ == nullptr) return found;
  const bool local = connection.hook == datapath::Hook::output;
  rules::Facts facts;
  facts.tuple = connection.tuple;
  facts.mark = connection.mark;
  facts.ttl = connection.ttl;
  facts.node = &node;
  if (!local) facts.in_interface = node.interface_name(connection.in_interface);
  for (const Rule* const rule : nat_->from(local ? "OUTPUT" : "PREROUTING", facts).rules) {
    std::string to = destination(rule->target, connection.tuple.destination);
    if (!to.empty()) found.push_back(std::move(to));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

service::Explanation ProgramSubject::describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                              const datapath::Decision& decision) const {
  service::Explanation words;
  words.decision = decision;
  if (decision.action == datapath::Action::dnat) words.candidates = candidates(connection, node);
  words.service = service_of(hits_);
  words.reason = reason(decision, words.candidates.size());
  const net::Family family = program_->rules().family;
  for (const rules::Hit& hit : hits_) words.why.push_back(rules::to_string(hit, family));
  if (hits_.empty()) words.why.push_back("no rule matches");
  return words;
}

}  // namespace limpet::lab
