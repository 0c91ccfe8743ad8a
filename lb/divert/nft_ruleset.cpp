#include "lb/divert/nft_ruleset.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "lb/divert/command.h"
#include "lb/divert/nft_command.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::PlanDelta;
using net::Family;
using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

constexpr const char* kGuardTable = "ip limpet-localnet";
constexpr auto kDrainLimit = std::chrono::milliseconds(250);
constexpr auto kDrainPause = std::chrono::milliseconds(5);

/// Would the kernel take such a rule?
Status check(Family family, const std::string& rule) {
  const std::string table = std::string(family == Family::v4 ? "ip" : "ip6") + " limpet-probe";
  return nft("table " + table + " {\n\tchain probe {\n\t\t" + rule + "\n\t}\n}\n", NftMode::check);
}

/// The table's chains and rules without its sets' elements, and without counters; "" if there is no such table, no nf_tables, or no nft.
Result<std::string> list(const std::string& table) {
  const auto outcome = run({"nft", "-s", "-t", "list", "table " + table});
  if (!outcome) {
    if (outcome.error().kind == ErrorKind::unavailable) return std::string();
    return outcome.error();
  }
  if (outcome->ok()) return outcome->out;
  const Error error = failure("nft", *outcome);
  if (error.kind != ErrorKind::unavailable) return error;
  return std::string();
}

/// Empty the chains that the stage concerns, those that are there. The second concerns all: it may be the only one.
std::string flushes(const std::string& table, const std::string& present, Stage stage) {
  std::vector<std::string> chains{"prerouting", "output"};
  if (stage == Stage::replies) chains.insert(chains.end(), {"postrouting", "input"});
  std::string text;
  for (const std::string& chain : chains) {
    if (present.find("chain " + chain + " {") != present.npos) text += "flush chain " + table + " " + chain + "\n";
  }
  return text;
}

/// Does any queue of this network namespace hold packets? (/proc: queue, owner, held, …)
bool holds_packets() {
  std::ifstream queues("/proc/net/netfilter/nfnetlink_queue");
  for (std::string line; std::getline(queues, line);) {
    unsigned queue = 0, owner = 0, held = 0;
    if (std::sscanf(line.c_str(), "%u %u %u", &queue, &owner, &held) == 3 && held != 0) return true;
  }
  return false;
}

}  // namespace

bool NftRuleset::is_installed() {
  const auto outcome = run({"nft", "--version"});
  return outcome && outcome->ok();
}

Status NftRuleset::check_queue(Family family) {
  // Without `queue` first: what fails then is not for want of it.
  if (const Status plain = check(family, "accept"); !plain) return plain;
  const Status queue = check(family, "queue num 0 bypass");
  if (queue) return store::ok();
  return Error{queue.error().kind, "nft: this kernel's nf_tables has no queue expression (CONFIG_NFT_QUEUE)"};
}

Status NftRuleset::prepare(Family family) {
  auto& able = able_[index(family)];
  if (able) return store::ok();
  if (Status queue = check_queue(family); !queue) {
    if (options_.backend != Backend::nft) return queue;
    return Error{queue.error().kind, queue.error().message + "; use divert.backend: auto or iptables"};
  }
  able = {.tproxy = static_cast<bool>(check(family, nft_defragmenting_rule(family))),
          .notrack = static_cast<bool>(check(family, "notrack"))};
  return store::ok();
}

Status NftRuleset::install(Family family, const DiversionPlan& part) {
  const NftAbilities able = *able_[index(family)];
  written_[index(family)].reset();
  const Status done = nft(render_nft_install(family, part, options_, able));
  return done ? note(family, render_nft_chains(family, part, options_, able)) : done;
}

/// That these chains stand now.
Status NftRuleset::note(Family family, std::string chains) {
  auto listed = list(nft_table(family));
  if (!listed) return listed.error();
  written_[index(family)] = Written{std::move(chains), std::move(*listed)};
  return store::ok();
}

Status NftRuleset::update(Family family, const DiversionPlan& to, const PlanDelta& delta) {
  const auto& written = written_[index(family)];
  if (!written) return install(family, to);
  std::string chains = render_nft_chains(family, to, options_, *able_[index(family)]);
  std::string text = render_nft_changes(family, to, delta);
  const bool same = chains == written->chains;
  if (!same) text += render_nft_renewal(family, chains);
  if (!text.empty() && !nft(text)) return install(family, to);
  return same ? store::ok() : note(family, std::move(chains));
}

Result<Drift> NftRuleset::drift(Family family, const DiversionPlan& part) {
  Drift found;
  auto& written = written_[index(family)];
  const auto generation = nft_generation();
  if (!written || (generation && generation == written->generation)) return found;
  const std::string table = nft_table(family);
  const auto listed = list(table);
  if (!listed) return listed.error();
  found.rules = *listed != written->listed;
  if (found.rules) found.what.push_back("table " + table + (listed->empty() ? " is missing" : " has other rules"));
  for (const std::string& sample : render_nft_samples(family, part)) {
    const auto outcome = run({"nft", "get", "element", sample});
    if (!outcome) return outcome.error();
    if (outcome->ok()) continue;
    found.sets = true;
    found.what.push_back("elements are missing: " + sample);
  }
  if (guards_ && family == Family::v4) {
    const auto guarded = guards();
    if (!guarded) return guarded.error();
    if (!*guarded) found.rules = true, found.what.push_back(std::string("table ") + kGuardTable + " is missing");
  }
  if (!found) written->generation = generation;
  return found;
}

Status NftRuleset::repair(Family family, const DiversionPlan& part, const Drift&) {
  if (const Status done = install(family, part); !done) return done;
  return guards_ && family == Family::v4 ? guard() : store::ok();
}

Status NftRuleset::remove(Family family, Stage stage) {
  written_[index(family)].reset();
  const std::string table = nft_table(family);
  const auto present = list(table);
  if (!present) return present.error();
  if (present->empty()) return store::ok();
  if (const Status flushed = nft(flushes(table, *present, stage)); !flushed || stage == Stage::requests) {
    return flushed;
  }
  const auto deadline = std::chrono::steady_clock::now() + kDrainLimit;
  while (holds_packets() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kDrainPause);
  return nft("delete table " + table + "\n");
}

Result<bool> NftRuleset::diverts(Family family) const {
  const auto present = list(nft_table(family));
  if (!present) return present.error();
  return present->find("@services") != std::string::npos || present->find("@endpoints") != std::string::npos;
}

Result<bool> NftRuleset::guards() const {
  const auto present = list(kGuardTable);
  if (!present) return present.error();
  return !present->empty();
}

Status NftRuleset::guard() {
  guards_ = true;
  return nft(render_nft_guard());
}

Status NftRuleset::unguard() {
  guards_ = false;
  return nft(std::string("delete table ") + kGuardTable + "\n");
}

std::optional<bool> NftRuleset::uses_sets(Family family) const noexcept {
  return able_[index(family)] ? std::optional(true) : std::nullopt;
}

std::string NftRuleset::render(Family family, const DiversionPlan& part) const {
  return "# nft -f -\n" + render_nft_install(family, part, options_, {.tproxy = true, .notrack = true});
}

}  // namespace limpet::divert
