#include "lb/divert/ipset.h"

#include <chrono>
#include <thread>

#include "lb/divert/command.h"
#include "lb/divert/sets.h"

namespace limpet::divert {

namespace {

using net::Family;
using store::ErrorKind;
using store::Result;
using store::Status;

/// nf_tables lets go of a deleted rule's matches later, from a kernel worker; until then the set is "in use".
constexpr auto kReleaseLimit = std::chrono::seconds(2);
constexpr auto kReleasePause = std::chrono::milliseconds(10);

}  // namespace

Status probe_sets(const Xtables& xtables, Family family) {
  const std::string name(kProbeSet);
  const std::string kind = family == Family::v4 ? " hash:ip,port family inet" : " hash:ip,port family inet6";
  if (const Status created = restore_sets("create " + name + kind + "\n"); !created) return created;
  const Status probed = xtables.probe(family, Feature::set);
  const Status destroyed = destroy_sets(std::vector<std::string>{name});
  return probed ? destroyed : probed;
}

Result<std::vector<std::string>> present_sets(Family family) {
  const auto outcome = run({"ipset", "list", "-n"});
  if (!outcome) {
    if (outcome.error().kind == ErrorKind::unavailable) return std::vector<std::string>{};
    return outcome.error();
  }
  if (outcome->ok()) return find_sets(outcome->out, family);
  const auto error = failure("ipset", *outcome);
  if (error.kind == ErrorKind::permission) return error;
  return std::vector<std::string>{};
}

Result<std::string> list_sets() {
  auto outcome = run({"ipset", "list", "-t"});
  if (!outcome) return outcome.error();
  if (!outcome->ok()) return failure("ipset", *outcome);
  return std::move(outcome->out);
}

Status restore_sets(const std::string& text) {
  if (text.empty()) return store::ok();
  const auto outcome = run({"ipset", "-exist", "restore"}, text);
  if (!outcome) return outcome.error();
  return outcome->ok() ? store::ok() : failure("ipset", *outcome);
}

Status destroy_sets(const std::vector<std::string>& names) {
  const auto deadline = std::chrono::steady_clock::now() + kReleaseLimit;
  for (const std::string& name : names) {
    Status done = restore_sets(render_destroy({name}));
    while (!done && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kReleasePause);
      done = restore_sets(render_destroy({name}));
    }
    if (!done) return done;
  }
  return store::ok();
}

Status destroy_sets(Family family) {
  const auto present = present_sets(family);
  return present ? destroy_sets(*present) : present.error();
}

}  // namespace limpet::divert
