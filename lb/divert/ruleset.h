// ruleset.h: one back-end: what can carry a diversion plan in the kernel.
//
//   iptables_ruleset.h   the tools of one variant of iptables, with ipset
//   nft_ruleset.h        nftables: a table of limpet's own a family, with its sets
//
// Each works on one family at a time. Whatever stands in the kernel under limpet's names is its own, whichever process
// put it there: install() and remove() need no memory. What is remembered of the last install() serves update() and drift().
// The Diverter chooses one and has the others removed.
//
// The guard (IPv4) drops packets with addresses of 127.0.0.0/8 that come from elsewhere than lo. It stands while limpet
// has set route_localnet, and by standing records that it was limpet (localnet.h).
#pragma once

#include <optional>
#include <string>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/drift.h"
#include "lb/divert/options.h"

namespace limpet::divert {

/// In the order of removal: first no new packet is held, then, when the held ones are answered, all goes.
enum class Stage { requests, replies };

class Ruleset {
 public:
  Ruleset() = default;
  Ruleset(const Ruleset&) = delete;
  Ruleset& operator=(const Ruleset&) = delete;
  virtual ~Ruleset() = default;

  /// "iptables-nft", "iptables-legacy", "nft".
  virtual const std::string& name() const noexcept = 0;
  /// Is it one of those that were asked for?
  virtual bool is_wanted(Backend backend) const noexcept = 0;

  /// Ok if the kernel diverts that family this way. Finds out, once, what else of the kernel the rules may use.
  virtual store::Status prepare(net::Family family) = 0;
  /// Make the kernel divert this plan, whatever stood there before. Prepared families only; `part` is the family's.
  virtual store::Status install(net::Family family, const datapath::DiversionPlan& part) = 0;
  /// The same for a family that is installed, given the change that leads to `to`: at the change's price, if that
  /// suffices and the kernel agrees.
  virtual store::Status update(net::Family family, const datapath::DiversionPlan& to,
                               const datapath::PlanDelta& delta) = 0;
  /// What of the installed family, whose part this is, no longer stands as it was put there; also of the guard.
  virtual store::Result<Drift> drift(net::Family family, const datapath::DiversionPlan& part) = 0;
  /// Put that back: rules, sets, or both, and the guard with the rules.
  virtual store::Status repair(net::Family family, const datapath::DiversionPlan& part, const Drift& drift) = 0;
  /// What is not there is removed already; so it is where tool or kernel lack the back-end.
  virtual store::Status remove(net::Family family, Stage stage) = 0;
  /// Do limpet's rules divert packets now?
  virtual store::Result<bool> diverts(net::Family family) const = 0;

  virtual store::Result<bool> guards() const = 0;
  /// Put the guard in place (once more).
  virtual store::Status guard() = 0;
  virtual store::Status unguard() = 0;

  /// What the kernel lacks of what these rules would use. Of a prepared family; else none.
  virtual Warnings warnings(net::Family family) const = 0;
  /// Are addresses looked up in sets? nullopt before the family is prepared.
  virtual std::optional<bool> uses_sets(net::Family family) const noexcept = 0;
  /// What install() would feed to the tools on a clean machine where the kernel lacks nothing. Pure.
  virtual std::string render(net::Family family, const datapath::DiversionPlan& part) const = 0;
};

}  // namespace limpet::divert
