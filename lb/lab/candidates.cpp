#include "lb/lab/candidates.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <variant>

#include "lb/rules/program.h"
#include "lb/rules/target_text.h"

namespace limpet::lab {

std::string destination_of(const rules::Target& target, const net::AddressPort& original) {
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

const Candidates::List& Candidates::of(const datapath::NewConnection& connection, const node::NodeView& node,
                                       std::uint32_t mark) {
  const bool local = connection.hook == datapath::Hook::output;
  rules::Facts facts = rules::first_facts(connection, node);
  facts.mark = mark;
  if (nodes_.size() + endpoints_ > kMost) {
    roots_.clear();
    nodes_.clear();
    lists_.clear();
    endpoints_ = 0;
  }
  const net::Tuple& tuple = connection.tuple;
  const auto [root, fresh] =
      roots_.try_emplace({local, connection.in_interface, tuple.protocol, tuple.destination, mark}, kUnknown);
  if (fresh) root->second = add_node();
  for (Number at = root->second;;) {
    const Node& question = nodes_[at];
    if (question.list != kUnknown) return lists_[question.list];
    if (question.rule == nullptr) return learn(root->second, local, facts);
    facts.mark = question.mark;
    const Number next = question.next[static_cast<std::size_t>(reach_.ask(*question.rule, facts))];
    facts.mark = mark;
    if (next == kUnknown) return learn(root->second, local, facts);
    at = next;
  }
}

Candidates::Number Candidates::add_node() {
  nodes_.emplace_back();
  return static_cast<Number>(nodes_.size() - 1);
}

const Candidates::List& Candidates::learn(Number node, bool local, const rules::Facts& facts) {
  ++followed_;
  const rules::Reach::Ends ends = reach_.from(local ? "OUTPUT" : "PREROUTING", facts);
  for (const rules::Reach::Question& question : ends.asked) {
    nodes_[node].rule = question.rule;
    nodes_[node].mark = question.mark;
    const auto answer = static_cast<std::size_t>(question.answer);
    if (nodes_[node].next[answer] == kUnknown) {
      const Number next = add_node();
      nodes_[node].next[answer] = next;
    }
    node = nodes_[node].next[answer];
  }
  List list;
  list.complete = ends.complete;
  for (const rules::Rule* const rule : ends.rules) {
    std::string to = destination_of(rule->target, facts.tuple.destination);
    if (!to.empty()) list.endpoints.push_back(std::move(to));
  }
  std::sort(list.endpoints.begin(), list.endpoints.end());
  list.endpoints.erase(std::unique(list.endpoints.begin(), list.endpoints.end()), list.endpoints.end());
  endpoints_ += list.endpoints.size();
  nodes_[node].list = static_cast<Number>(lists_.size());
  lists_.push_back(std::move(list));
  return lists_.back();
}

}  // namespace limpet::lab
