#include "lb/rules/meaning.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "lb/rules/chains.h"
#include "lb/rules/route_finder.h"
#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

/// What hides clients behind POSTROUTING.
class MasqueradeFinder {
 public:
  MasqueradeFinder(const TableRules& nat, Coverage& coverage, std::size_t& steps)
      : nat_(nat), coverage_(coverage), steps_(steps) {
    for (std::uint32_t i = 0; i < nat.chains.size(); ++i) numbers_.emplace(nat.chains[i].name, i);
  }

  std::vector<MasqueradeRule> run() {
    const auto hook = numbers_.find("POSTROUTING");
    if (hook != numbers_.end()) follow(hook->second, {}, 0);
    return std::move(found_);
  }

 private:
  /// Is there a rule that masquerades?
  bool follow(std::uint32_t chain, Demands when, std::size_t depth) {
    const std::size_t before = found_.size();
    std::vector<RuleAt> on_the_way;
    for (std::uint32_t i = 0; i < nat_.chains[chain].rules.size() && steps_ > 0; ++i) {
      --steps_;
      const RuleAt at{chain, i};
      const Rule& rule = nat_.chains[chain].rules[i];
      const Dissected parts = dissect(rule);
      coverage_.walk(at, "masquerades nothing");
      if (!parts.events.empty()) continue;
      Demands here = when;
      here.insert(here.end(), parts.demands.begin(), parts.demands.end());
      if (std::holds_alternative<Masquerade>(rule.target) || std::holds_alternative<Snat>(rule.target)) {
        found_.push_back({at, std::move(here)});
        coverage_.take(at);
      } else if (const auto goal = goal_of(rule); goal && depth < Chains::kDeepest) {
        if (follow(*goal, std::move(here), depth + 1)) coverage_.take(at);
      } else if (std::holds_alternative<SetMark>(rule.target)) {
        on_the_way.push_back(at);
      } else if (std::holds_alternative<Return>(rule.target) || std::holds_alternative<Accept>(rule.target)) {
        if (parts.demands.empty()) break;
        if (parts.demands.size() > 1) continue;
        when.push_back(opposite(parts.demands.front()));
        on_the_way.push_back(at);
      }
    }
    if (found_.size() == before) return false;
    for (const RuleAt at : on_the_way) coverage_.take(at);
    return true;
  }
  std::optional<std::uint32_t> goal_of(const Rule& rule) const {
    const auto* const jump = std::get_if<Jump>(&rule.target);
    const auto* const go = std::get_if<Goto>(&rule.target);
    if (jump == nullptr && go == nullptr) return std::nullopt;
    const auto found = numbers_.find(jump != nullptr ? jump->chain : go->chain);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }

  const TableRules& nat_;
  Coverage& coverage_;
  std::size_t& steps_;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;
  std::vector<MasqueradeRule> found_;
};

/// The bits that alone decide, if a mark is all that is asked for.
std::uint32_t bits_of(const Demands& demands) {
  const auto* const mark = demands.size() == 1 ? std::get_if<MarkMatch>(&demands.front()) : nullptr;
  return mark != nullptr && !mark->inverted && mark->value == mark->mask ? mark->mask : 0;
}

/// Puts routes together to services.
class Services {
 public:
  void add(const FoundRoute& found) {
    RuledFrontend& frontend = frontend_of(found);
    if (frontend.at.role == Frontend::Role::address) frontend.at.role = found.frontend.role;
    const Route& route = found.route;
    const auto same = std::find_if(frontend.routes.begin(), frontend.routes.end(), [&](const Route& other) {
      return other.outcome == route.outcome && other.cascade == route.cascade && other.when == route.when &&
             other.masquerade == route.masquerade && (other.hooks == 0) == (route.hooks == 0);
    });
    if (same == frontend.routes.end()) {
      frontend.routes.push_back(route);
    } else {
      same->hooks |= route.hooks;
    }
  }
  std::vector<RuledService> take() { return std::move(services_); }

 private:
  using Key = std::tuple<std::optional<net::Address>, bool, std::optional<std::uint8_t>, std::optional<std::uint16_t>>;
  using Name = std::pair<std::string, std::optional<std::uint8_t>>;

  RuledFrontend& frontend_of(const FoundRoute& found) {
    const Frontend& at = found.frontend;
    const Key key{at.address, at.local, at.protocol, at.port};
    const auto known = frontends_.find(key);
    if (known != frontends_.end()) return services_[known->second.first].frontends[known->second.second];
    const std::size_t number = service_of(found);
    RuledService& service = services_[number];
    frontends_.emplace(key, std::pair(number, service.frontends.size()));
    return service.frontends.emplace_back(RuledFrontend{at, {}});
  }
  std::size_t service_of(const FoundRoute& found) {
    const std::size_t next = services_.size();
    std::size_t number = next;
    if (!found.service.empty()) {
      number = named_.emplace(Name{found.service, found.frontend.protocol}, next).first->second;
    } else if (found.route.cascade) {
      number = unnamed_.emplace(*found.route.cascade, next).first->second;
    }
    if (number == next) services_.push_back({found.service, found.frontend.protocol, {}});
    return number;
  }

  std::vector<RuledService> services_;
  std::map<Key, std::pair<std::size_t, std::size_t>> frontends_;
  std::map<Name, std::size_t> named_;
  std::map<std::uint32_t, std::size_t> unnamed_;  // by cascade
};

class MeaningFinder {
 public:
  explicit MeaningFinder(const Ruleset& rules) : rules_(rules) {
    for (const TableRules& table : rules.tables) coverage_.emplace(table.table, Coverage(table));
  }

  Meaning run() {
    find_marks();
    follow_nat();
    follow_filter();
    meaning_.services = services_.take();
    conclude();
    return std::move(meaning_);
  }

 private:
  void find_marks() {
    const TableRules* const nat = rules_.find(Table::nat);
    if (nat != nullptr) meaning_.masquerades = MasqueradeFinder(*nat, coverage_.at(Table::nat), steps_).run();
    for (const MasqueradeRule& rule : meaning_.masquerades) meaning_.masquerade_bits |= bits_of(rule.when);
    const TableRules* const filter = rules_.find(Table::filter);
    if (filter == nullptr) return;
    for (const Chain& chain : filter->chains) {
      for (const Rule& rule : chain.rules) {
        if (std::holds_alternative<Drop>(rule.target)) meaning_.drop_bits |= bits_of(dissect(rule).demands);
      }
    }
  }

  void follow_nat() {
    const TableRules* const nat = rules_.find(Table::nat);
    if (nat == nullptr) return;
    meaning_.balance = find_balance(rules_);
    follow(*nat, meaning_.balance, {{"PREROUTING", kAtPrerouting}, {"OUTPUT", kAtOutput}});
  }
  void follow_filter() {
    const TableRules* const filter = rules_.find(Table::filter);
    if (filter == nullptr) return;
    follow(*filter, {}, {{"INPUT", 0}, {"FORWARD", 0}, {"OUTPUT", 0}});
    if (meaning_.drop_bits != 0) take_drops(*filter);
  }
  void follow(const TableRules& table, const Balance& balance,
              const std::vector<std::pair<std::string_view, std::uint8_t>>& hooks) {
    const Marks marks(table);
    RouteFinder finder(
        {table, balance, marks, meaning_.masquerade_bits, meaning_.drop_bits, coverage_.at(table.table), steps_});
    for (const auto& [chain, hook] : hooks) finder.follow(chain, hook);
    for (const FoundRoute& found : finder.routes()) services_.add(found);
  }

  /// The rules that drop what nat marked, and the jumps to them.
  void take_drops(const TableRules& filter) {
    Coverage& coverage = coverage_.at(Table::filter);
    for (std::uint32_t chain = 0; chain < filter.chains.size(); ++chain) {
      bool drops = false;
      for (std::uint32_t i = 0; i < filter.chains[chain].rules.size(); ++i) {
        const Rule& rule = filter.chains[chain].rules[i];
        if (!std::holds_alternative<Drop>(rule.target) || bits_of(dissect(rule).demands) == 0) continue;
        coverage.take({chain, i});
        drops = true;
      }
      if (drops) take_jumps(filter, filter.chains[chain].name);
    }
  }
  void take_jumps(const TableRules& filter, const std::string& to) {
    for (std::uint32_t chain = 0; chain < filter.chains.size(); ++chain) {
      for (std::uint32_t i = 0; i < filter.chains[chain].rules.size(); ++i) {
        const auto* const jump = std::get_if<Jump>(&filter.chains[chain].rules[i].target);
        if (jump != nullptr && jump->chain == to) coverage_.at(Table::filter).take({chain, i});
      }
    }
  }

  void conclude() {
    for (const TableRules& table : rules_.tables) {
      const Coverage& coverage = coverage_.at(table.table);
      const bool followed = table.table == Table::nat || table.table == Table::filter;
      const std::string_view why = !followed     ? "tables raw and mangle are not followed"
                                   : steps_ == 0 ? "too many ways lead through these rules"
                                                 : "";
      for (std::uint32_t chain = 0; chain < table.chains.size(); ++chain) {
        for (std::uint32_t i = 0; i < table.chains[chain].rules.size(); ++i) {
          const RuleAt at{chain, i};
          if (coverage.is_taken(at)) continue;
          meaning_.apart.push_back(
              {table.table, at, table.chains[chain].rules[i].line, std::string(why.empty() ? coverage.why(at) : why)});
        }
      }
    }
  }

  const Ruleset& rules_;
  std::map<Table, Coverage> coverage_;
  std::size_t steps_ = Meaning::kMostSteps;
  Services services_;
  Meaning meaning_;
};

bool is_name_part(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
  });
}

}  // namespace

std::string_view to_string(Frontend::Role role) noexcept {
  constexpr std::array<std::string_view, 5> kNames{"clusterIP", "externalIP", "loadBalancer", "nodePort", "address"};
  return kNames[static_cast<std::size_t>(role)];
}

bool Route::always_masquerades() const noexcept {
  return std::any_of(masquerade.begin(), masquerade.end(), [](const Demands& one) { return one.empty(); });
}

Meaning find_meaning(const Ruleset& rules) {
  return MeaningFinder(rules).run();
}

std::optional<CascadeAffinity> affinity_of(const Balance& balance, const Cascade& cascade) {
  if (cascade.asks.empty()) return std::nullopt;
  const affinity::RecentMatch& first = cascade.asks.front().list.recent;
  CascadeAffinity affinity{first.seconds, first.by_destination, first.mask};
  std::set<std::pair<std::string, std::string>> asked;  // an endpoint, and a list that is asked for it
  for (const Ask& ask : cascade.asks) {
    affinity::RecentMatch options = ask.list.recent;
    options.name = first.name;
    affinity.alike = affinity.alike && options == first;
    asked.emplace(print(balance.leaves[ask.leaf].to), ask.list.recent.name);
  }
  affinity.complete = std::all_of(cascade.picks.begin(), cascade.picks.end(), [&](const Pick& pick) {
    const Leaf& leaf = balance.leaves[pick.leaf];
    return std::any_of(leaf.remembers.begin(), leaf.remembers.end(), [&](const RecentAt& set) {
      return asked.contains({print(leaf.to), set.recent.name});
    });
  });
  return affinity;
}

std::string_view service_name(std::string_view comment) noexcept {
  const std::string_view word = comment.substr(0, comment.find(' '));
  const std::size_t slash = word.find('/');
  if (slash == std::string_view::npos || !is_name_part(word.substr(0, slash))) return {};
  const std::string_view rest = word.substr(slash + 1);
  const std::size_t colon = rest.find(':');
  if (!is_name_part(rest.substr(0, colon))) return {};
  if (colon != std::string_view::npos && !is_name_part(rest.substr(colon + 1))) return {};
  return word;
}

}  // namespace limpet::rules
