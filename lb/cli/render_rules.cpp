#include "lb/cli/render_rules.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lb/datapath/decider.h"
#include "lb/rules/program.h"
#include "lb/rules/protocol_names.h"
#include "lb/rules/rule_text.h"
#include "lb/rules/target_text.h"

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;
using rules::Cascade;
using rules::Demands;
using rules::Route;
using rules::Table;

template <typename T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

datapath::Action action_of(Route::Outcome outcome) {
  switch (outcome) {
    case Route::Outcome::balance:
      return datapath::Action::dnat;
    case Route::Outcome::drop:
      return datapath::Action::drop;
    case Route::Outcome::reject:
      return datapath::Action::reject;
    case Route::Outcome::leave:
      break;
  }
  return datapath::Action::none;
}

std::string draw_of(const rules::Pick& pick) {
  if (const auto* const random = std::get_if<rules::RandomMatch>(&pick.draw)) {
    return (random->inverted ? "not probability " : "probability ") + rules::probability_text(random->threshold);
  }
  if (const auto* const nth = std::get_if<rules::NthRule>(&pick.draw)) {
    return (nth->inverted ? "not every " : "every ") + std::to_string(nth->every) + " packet " +
           std::to_string(nth->packet);
  }
  return "the rest";
}

std::string endpoint_of(const rules::Leaf& leaf) {
  if (const auto* const dnat = std::get_if<rules::Dnat>(&leaf.to)) {
    constexpr std::string_view kBefore = "-j DNAT --to-destination ";
    return print(rules::Dnat{dnat->to}).substr(kBefore.size());
  }
  const auto& ports = std::get<rules::Redirect>(leaf.to).ports;
  return !ports ? "this node"
                : "this node:" + std::to_string(ports->first) +
                      (ports->first == ports->last ? "" : "-" + std::to_string(ports->last));
}

class Renderer {
 public:
  Renderer(const LoadedRules& loaded, const rules::Meaning& meaning)
      : loaded_(loaded), meaning_(meaning), nat_(loaded.rules.find(Table::nat)) {
    for (const Cascade& cascade : meaning.balance.cascades) ++cascades_[cascade.chain];
  }

  ordered_json run() const {
    ordered_json json;
    json["services"] = ordered_json::array();
    for (const auto& service : meaning_.services) json["services"].push_back(service_json(service));
    json["masquerade"] = ordered_json::array();
    for (const auto& rule : meaning_.masquerades) {
      json["masquerade"].push_back(
          {{"chain", chain(rule.at.chain).name}, {"rule", rule.at.rule + 1}, {"when", text(rule.when)}});
    }
    json["completed"] = ordered_json::array();
    for (const rules::AddedRule& added : loaded_.added) {
      std::string line = rules::print(std::vector{added}, loaded_.rules.family);
      line.pop_back();
      json["completed"].push_back(std::move(line));
    }
    add_apart(json);
    add_compiled(json);
    json["skipped"] = ordered_json::array();
    for (const store::LineError& error : loaded_.skipped) {
      json["skipped"].push_back({{"line", error.line}, {"why", error.message}});
    }
    return json;
  }

 private:
  const rules::Chain& chain(std::uint32_t number) const { return nat_->chains[number]; }
  std::string text(const Demands& demands) const { return print(demands, loaded_.rules.family); }

  ordered_json service_json(const rules::RuledService& service) const {
    ordered_json json;
    json["name"] = service.name.empty() ? ordered_json(nullptr) : ordered_json(service.name);
    json["protocol"] = service.protocol ? ordered_json(rules::protocol_name(*service.protocol)) : ordered_json(nullptr);
    json["frontends"] = ordered_json::array();
    std::vector<std::uint32_t> views;
    for (const rules::RuledFrontend& frontend : service.frontends) {
      json["frontends"].push_back(frontend_json(frontend));
      for (const Route& route : frontend.routes) {
        if (route.cascade && std::find(views.begin(), views.end(), *route.cascade) == views.end()) {
          views.push_back(*route.cascade);
        }
      }
    }
    json["views"] = ordered_json::array();
    for (const std::uint32_t view : views) json["views"].push_back(view_json(meaning_.balance.cascades[view]));
    return json;
  }

  ordered_json frontend_json(const rules::RuledFrontend& frontend) const {
    ordered_json json;
    json["kind"] = rules::to_string(frontend.at.role);
    json["address"] = frontend.at.address ? ordered_json(frontend.at.address->to_string()) : ordered_json(nullptr);
    json["local"] = frontend.at.local;
    json["port"] = or_null(frontend.at.port);
    json["routes"] = ordered_json::array();
    for (const Route& route : frontend.routes) {
      ordered_json one;
      one["action"] = datapath::to_string(action_of(route.outcome));
      one["hooks"] = ordered_json::array();
      if ((route.hooks & rules::kAtPrerouting) != 0) one["hooks"].push_back("PREROUTING");
      if ((route.hooks & rules::kAtOutput) != 0) one["hooks"].push_back("OUTPUT");
      one["when"] = text(route.when);
      one["view"] =
          route.cascade ? ordered_json(label(meaning_.balance.cascades[*route.cascade])) : ordered_json(nullptr);
      one["masquerade"] = ordered_json::array();
      for (const Demands& when : route.masquerade) one["masquerade"].push_back(text(when));
      one["line"] = route.line;
      json["routes"].push_back(std::move(one));
    }
    return json;
  }

  std::string label(const Cascade& cascade) const {
    const std::string& name = chain(cascade.chain).name;
    if (cascades_.at(cascade.chain) == 1 && !is_built_in(Table::nat, name)) return name;
    const std::string first = name + ":" + std::to_string(cascade.first + 1);
    return cascade.end - cascade.first == 1 ? first : first + "-" + std::to_string(cascade.end);
  }

  ordered_json view_json(const Cascade& cascade) const {
    ordered_json json;
    json["name"] = label(cascade);
    json["even"] = cascade.even;
    json["rest"] = cascade.rest;
    json["affinity"] = nullptr;
    if (const auto affinity = affinity_of(meaning_.balance, cascade)) {
      const net::Address ones =
          rules::mask_of_length(loaded_.rules.family, loaded_.rules.family == net::Family::v4 ? 32 : 128);
      json["affinity"] = {{"seconds", affinity->seconds},
                          {"by", affinity->by_destination ? "destination" : "source"},
                          {"mask", affinity->mask.apply(ones).to_string()},
                          {"complete", affinity->complete && affinity->alike}};
    }
    json["endpoints"] = ordered_json::array();
    std::map<std::string, ordered_json> lists;  // that are asked for each endpoint
    for (const rules::Ask& ask : cascade.asks) {
      lists[endpoint_of(meaning_.balance.leaves[ask.leaf])].push_back(ask.list.recent.name);
    }
    for (const rules::Pick& pick : cascade.picks) {
      const rules::Leaf& leaf = meaning_.balance.leaves[pick.leaf];
      const auto asked = lists.find(endpoint_of(leaf));
      json["endpoints"].push_back(
          endpoint_json(pick, leaf, asked == lists.end() ? ordered_json::array() : asked->second));
    }
    return json;
  }

  ordered_json endpoint_json(const rules::Pick& pick, const rules::Leaf& leaf, ordered_json lists) const {
    ordered_json json;
    json["endpoint"] = endpoint_of(leaf);
    json["share"] = pick.share;
    json["draw"] = draw_of(pick);
    json["lists"] = std::move(lists);
    json["masquerade"] = ordered_json::array();
    for (const rules::MarkStep& mark : leaf.marks) {
      if ((mark.mark.value & mark.mark.mask & meaning_.masquerade_bits) != 0)
        json["masquerade"].push_back(text(mark.when));
    }
    json["line"] = chain(pick.at.chain).rules[pick.at.rule].line;
    return json;
  }

  void add_apart(ordered_json& json) const {
    json["apart"] = ordered_json::array();
    for (const rules::ApartRule& rule : meaning_.apart) {
      const rules::Chain& in = loaded_.rules.find(rule.table)->chains[rule.at.chain];
      const rules::Hit place{rule.table, &in.name, rule.at.rule + 1, &in.rules[rule.at.rule]};
      json["apart"].push_back(
          {{"line", rule.line}, {"rule", to_string(place, loaded_.rules.family)}, {"why", rule.why}});
    }
  }
  void add_compiled(ordered_json& json) const {
    json["rules"] = loaded_.compiled.size();
    json["compiled"] = json["literal"] = ordered_json::array();
    for (const CompiledRule& one : loaded_.compiled) {
      ordered_json rule = {{"line", one.line}, {"rule", one.rule}};
      const bool literal = one.treatment.how == rules::Treatment::How::literal;
      if (literal) {
        rule["why"] = one.treatment.why;
      } else {
        rule["how"] = rules::to_string(one.treatment.how);
        rule["run"] = one.treatment.run;
      }
      json[literal ? "literal" : "compiled"].push_back(std::move(rule));
    }
  }

  const LoadedRules& loaded_;
  const rules::Meaning& meaning_;
  const rules::TableRules* nat_;
  std::map<std::uint32_t, std::size_t> cascades_;  // in each chain
};

}  // namespace

ordered_json to_json(const LoadedRules& loaded, const rules::Meaning& meaning) {
  return Renderer(loaded, meaning).run();
}

}  // namespace limpet::cli
