#include "lb/rules/completion.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "lb/rules/rule_text.h"

namespace limpet::rules {
namespace {

constexpr std::uint32_t kMasqueradeBit = 0x4000;
constexpr std::uint32_t kDropBit = 0x8000;

/// The chain that a rule goes to; "" if it goes to none.
std::string_view goal_of(const Rule& rule) {
  if (const auto* const jump = std::get_if<Jump>(&rule.target)) return jump->chain;
  if (const auto* const go = std::get_if<Goto>(&rule.target)) return go->chain;
  return {};
}

Rule jump_to(const std::string& chain, const std::string& comment) {
  Rule rule;
  if (!comment.empty()) rule.matches.emplace_back(CommentMatch{comment});
  rule.target = Jump{chain};
  return rule;
}

class Completer {
 public:
  explicit Completer(Ruleset& rules) : rules_(rules) {}

  std::vector<AddedRule> run() {
    if (!is_kube_proxys()) return {};
    services();
    masquerading();
    dropping();
    return std::move(added_);
  }

 private:
  bool is_kube_proxys() const {
    const TableRules* const nat = rules_.find(Table::nat);
    return nat != nullptr && std::any_of(nat->chains.begin(), nat->chains.end(),
                                         [](const Chain& chain) { return chain.name.starts_with("KUBE-"); });
  }
  bool any_rule(Table table, const auto& test) const {
    const TableRules* const found = rules_.find(table);
    return found != nullptr && std::any_of(found->chains.begin(), found->chains.end(), [&](const Chain& chain) {
             return std::any_of(chain.rules.begin(), chain.rules.end(),
                                [&](const Rule& rule) { return test(chain, rule); });
           });
  }
  bool is_reached(Table table, std::string_view chain) const {
    return any_rule(table, [&](const Chain&, const Rule& rule) { return goal_of(rule) == chain; });
  }
  bool has_rules(Table table, std::string_view name) const {
    const TableRules* const found = rules_.find(table);
    const Chain* const chain = found == nullptr ? nullptr : found->find(name);
    return chain != nullptr && !chain->rules.empty();
  }
  void add(Table table, const std::string& chain, Rule rule) {
    rules_.table(table).chain(chain).rules.push_back(rule);
    added_.push_back({table, chain, std::move(rule)});
  }

  void services() {
    if (has_rules(Table::nat, "KUBE-NODEPORTS") && !is_reached(Table::nat, "KUBE-NODEPORTS")) {
      Rule rule =
          jump_to("KUBE-NODEPORTS", "kubernetes service nodeports; NOTE: this must be the last rule in this chain");
      rule.matches.emplace_back(AddrtypeMatch{{}, Condition<std::uint8_t>{kLocal, false}});
      add(Table::nat, "KUBE-SERVICES", std::move(rule));
    }
    if (!has_rules(Table::nat, "KUBE-SERVICES") || is_reached(Table::nat, "KUBE-SERVICES")) return;
    for (const char* const chain : {"PREROUTING", "OUTPUT"}) {
      add(Table::nat, chain, jump_to("KUBE-SERVICES", "kubernetes service portals"));
    }
  }

  /// The bit that the dump itself sets or looks at.
  std::uint32_t masquerade_bit() const {
    std::uint32_t bit = kMasqueradeBit;
    any_rule(Table::nat, [&](const Chain& chain, const Rule& rule) {
      const auto* const mark = std::get_if<SetMark>(&rule.target);
      if (chain.name == "KUBE-MARK-MASQ" && mark != nullptr) bit = mark->value;
      if (chain.name != "KUBE-POSTROUTING") return false;
      for (const Match& match : rule.matches) {
        if (const auto* const look = std::get_if<MarkMatch>(&match)) bit = look->mask;
      }
      return false;
    });
    return bit;
  }

  void masquerading() {
    if (!is_reached(Table::nat, "KUBE-MARK-MASQ") && !has_rules(Table::nat, "KUBE-POSTROUTING")) return;
    const std::uint32_t bit = masquerade_bit();
    if (!has_rules(Table::nat, "KUBE-MARK-MASQ")) {
      Rule rule;
      rule.target = SetMark{bit, bit};
      add(Table::nat, "KUBE-MARK-MASQ", std::move(rule));
    }
    if (!has_rules(Table::nat, "KUBE-POSTROUTING")) {
      Rule rule;
      rule.matches.emplace_back(CommentMatch{"kubernetes service traffic requiring SNAT"});
      rule.matches.emplace_back(MarkMatch{bit, bit, false});
      rule.target = Masquerade{};
      add(Table::nat, "KUBE-POSTROUTING", std::move(rule));
    }
    if (is_reached(Table::nat, "KUBE-POSTROUTING")) return;
    add(Table::nat, "POSTROUTING", jump_to("KUBE-POSTROUTING", "kubernetes postrouting rules"));
  }

  void dropping() {
    if (!is_reached(Table::nat, "KUBE-MARK-DROP")) return;
    if (!has_rules(Table::nat, "KUBE-MARK-DROP")) {
      Rule rule;
      rule.target = SetMark{kDropBit, kDropBit};
      add(Table::nat, "KUBE-MARK-DROP", std::move(rule));
    }
    if (has_rules(Table::filter, "KUBE-FIREWALL")) return;
    Rule rule;
    rule.matches.emplace_back(CommentMatch{"kubernetes firewall for dropping marked packets"});
    rule.matches.emplace_back(MarkMatch{kDropBit, kDropBit, false});
    rule.target = Drop{};
    add(Table::filter, "KUBE-FIREWALL", std::move(rule));
    for (const char* const chain : {"INPUT", "OUTPUT"}) add(Table::filter, chain, jump_to("KUBE-FIREWALL", ""));
  }

  Ruleset& rules_;
  std::vector<AddedRule> added_;
};

}  // namespace

std::vector<AddedRule> complete(Ruleset& rules) {
  return Completer(rules).run();
}

std::string print(const std::vector<AddedRule>& added, net::Family family) {
  std::string text;
  for (const AddedRule& rule : added) {
    text += "-t " + std::string(to_string(rule.table)) + " -A " + rule.chain + " " + print(rule.rule, family) + "\n";
  }
  return text;
}

}  // namespace limpet::rules
