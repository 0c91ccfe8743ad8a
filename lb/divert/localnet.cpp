#include "lb/divert/localnet.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

namespace limpet::divert {

namespace {

using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

constexpr const char* kFile = "/proc/sys/net/ipv4/conf/all/route_localnet";
constexpr const char* kName = "net.ipv4.conf.all.route_localnet";

bool is_set() {
  std::ifstream file(kFile);
  int value = 0;
  return file >> value && value != 0;
}

Status set(bool on) {
  errno = 0;
  std::ofstream file(kFile);
  file << (on ? "1" : "0") << std::flush;
  if (file) return store::ok();
  const ErrorKind kind = errno == EACCES || errno == EPERM ? ErrorKind::permission : ErrorKind::runtime;
  return Error{kind, std::string(kName) + ": cannot be set: " + std::strerror(errno)};
}

/// Remove the guards of all but `keep`.
Status unguard(const std::vector<std::unique_ptr<Ruleset>>& rulesets, const Ruleset* keep) {
  for (const auto& ruleset : rulesets) {
    if (ruleset.get() == keep) continue;
    const Result<bool> guards = ruleset->guards();
    if (!guards) return guards.error();
    if (!*guards) continue;
    if (const Status removed = ruleset->unguard(); !removed) return removed;
  }
  return store::ok();
}

Result<bool> is_guarded(const std::vector<std::unique_ptr<Ruleset>>& rulesets) {
  for (const auto& ruleset : rulesets) {
    const Result<bool> guards = ruleset->guards();
    if (!guards || *guards) return guards;
  }
  return false;
}

}  // namespace

Result<Warnings> admit_localnet(const std::vector<std::unique_ptr<Ruleset>>& rulesets, Ruleset& chosen) {
  const Result<bool> guarded = is_guarded(rulesets);
  if (!guarded) return guarded.error();
  if (!*guarded && is_set()) return Warnings{};
  if (const Status done = chosen.guard(); !done) return done.error();
  if (const Status done = unguard(rulesets, &chosen); !done) return done.error();
  if (is_set()) return Warnings{};
  const Status done = set(true);
  if (done) return Warnings{};
  if (const Status removed = unguard(rulesets, nullptr); !removed) return removed.error();
  return Warnings{done.error().message + ": nodePorts do not answer at 127.0.0.1"};
}

Status refuse_localnet(const std::vector<std::unique_ptr<Ruleset>>& rulesets) {
  const Result<bool> guarded = is_guarded(rulesets);
  if (!guarded) return guarded.error();
  if (!*guarded) return store::ok();
  if (is_set()) {
    if (const Status done = set(false); !done) return done;
  }
  return unguard(rulesets, nullptr);
}

}  // namespace limpet::divert
