// iptables_ruleset.h: the back-end that writes rules by the tools of one variant of iptables, and sets by ipset.
//
//   install   sets ─▶ mangle POSTROUTING, INPUT ─▶ raw PREROUTING, OUTPUT ─▶ sets that are no longer used destroyed
//   update    elements that come ─▶ mangle, raw: only where their rules differ ─▶ elements that go
//
// Where there are no sets an address is a rule, and update() writes all of them again.
//
// The variants share the sets, which are known by their names alone: removing them is for who knows that neither
// variant's rules are left (destroy_sets of ipset.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lb/divert/rules.h"
#include "lb/divert/ruleset.h"
#include "lb/divert/sets.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

class IptablesRuleset final : public Ruleset {
 public:
  IptablesRuleset(Xtables xtables, const Options& options) : xtables_(std::move(xtables)), options_(options) {}

  const std::string& name() const noexcept override { return xtables_.name(); }
  bool is_wanted(Backend backend) const noexcept override;
  store::Status prepare(net::Family family) override;
  store::Status install(net::Family family, const datapath::DiversionPlan& part) override;
  store::Status update(net::Family family, const datapath::DiversionPlan& to,
                       const datapath::PlanDelta& delta) override;
  store::Result<Drift> drift(net::Family family, const datapath::DiversionPlan& part) override;
  store::Status repair(net::Family family, const datapath::DiversionPlan& part, const Drift& drift) override;
  store::Status remove(net::Family family, Stage stage) override;
  store::Result<bool> diverts(net::Family family) const override;
  store::Result<bool> guards() const override;
  store::Status guard() override;
  store::Status unguard() override;
  Warnings warnings(net::Family family) const override;
  std::optional<bool> uses_sets(net::Family family) const noexcept override;
  std::string render(net::Family family, const datapath::DiversionPlan& part) const override;

 private:
  static std::size_t index(net::Family family) noexcept { return family == net::Family::v4 ? 0 : 1; }
  static std::size_t index(Table table) noexcept { return table == Table::raw ? 0 : 1; }
  SetChoice choice(net::Family family, Abilities able) const noexcept;
  store::Status fill_sets(net::Family family, const datapath::DiversionPlan& part,
                          const std::vector<std::string>& present) const;
  store::Status write_rules(net::Family family, const datapath::DiversionPlan& part);
  store::Status install_table(Table table, net::Family family, const datapath::DiversionPlan& part);
  store::Status update_in_place(net::Family family, const datapath::DiversionPlan& to,
                                const datapath::PlanDelta& delta);
  store::Status look_at_rules(net::Family family, Drift& found);
  std::string rules(Table table, net::Family family, const datapath::DiversionPlan& part) const;

  /// What stands, by Table.
  struct Written {
    std::array<std::string, 2> rules;  // as they would be written on a clean machine
    std::array<Standing, 2> seen;
    std::optional<std::uint32_t> generation = std::nullopt;  // of nf_tables, when it was so
  };

  Xtables xtables_;
  Options options_;
  std::array<std::optional<Abilities>, 2> able_;
  std::array<std::optional<Written>, 2> written_;  // nullopt: not known to stand
  bool guards_ = false;
};

}  // namespace limpet::divert
