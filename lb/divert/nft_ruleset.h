// nft_ruleset.h: the back-end that writes rules by nft, into tables of limpet's own (nft_rules.h).
//
// It needs nf_tables' `queue` expression (CONFIG_NFT_QUEUE), which some kernels lack while they have xt_NFQUEUE.
// Features are probed by `nft -c`: the kernel checks the transaction and takes none of it. The probes' chains have no
// hook: to take a base chain away, even an imagined one, drops the packets that queues hold.
//
// Removal deletes base chains in the end, with that effect on whatever else is queued in this network namespace: hence
// it empties them first, and waits a little for the queues to be empty, too.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "lb/divert/nft_rules.h"
#include "lb/divert/ruleset.h"

namespace limpet::divert {

class NftRuleset final : public Ruleset {
 public:
  explicit NftRuleset(const Options& options) : options_(options) {}
  static bool is_installed();
  /// Ok if the kernel's nf_tables queues packets of that family.
  static store::Status check_queue(net::Family family);

  const std::string& name() const noexcept override { return name_; }
  bool is_wanted(Backend backend) const noexcept override {
    return backend == Backend::automatic || backend == Backend::nft;
  }
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
  Warnings warnings(net::Family) const override { return {}; }
  std::optional<bool> uses_sets(net::Family family) const noexcept override;
  std::string render(net::Family family, const datapath::DiversionPlan& part) const override;

 private:
  static std::size_t index(net::Family family) noexcept { return family == net::Family::v4 ? 0 : 1; }

  std::string name_ = "nft";
  Options options_;
  std::array<std::optional<NftAbilities>, 2> able_;
  /// What stands.
  struct Written {
    std::string chains;
    std::string listed;                                      // by the kernel, without elements
    std::optional<std::uint32_t> generation = std::nullopt;  // when it was so
  };
  store::Status note(net::Family family, std::string chains);

  std::array<std::optional<Written>, 2> written_;  // nullopt: not known to stand
  bool guards_ = false;
};

}  // namespace limpet::divert
