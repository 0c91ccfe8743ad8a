// doctor_diagnosis.h: everything that `limpet doctor` finds out about this kernel and machine, and what follows.
//
//   group        asked where
//   queue        a sandbox a probe (doctor_sandbox.h): binding a queue, its options
//   rules        the same: each back-end, each family
//   packets      the same: a packet through all four hooks, which decides whether `rewrite` works
//   options      the same: what makes rules shorter or corners rounder
//   kernel nat   the same: what only the datapaths `offload` and `route` would need
//   comparison   the same: what only the kernel's own balancing needs
//   machine      here, read only (doctor_machine.h)
//
// A probe that does not end in time is killed and counts as unknown; no probe depends on another's outcome.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "conntrack/store/result.h"
#include "lb/divert/doctor_check.h"
#include "lb/divert/options.h"

namespace limpet::divert {

struct Datapath {
  std::string_view name;
  bool works = false;
  std::string reason{};
};
using Datapaths = std::array<Datapath, 3>;  // rewrite, offload, route

struct Diagnosis {
  std::string kernel;
  Checks checks;
  Datapaths datapaths;
  /// Why nothing could be probed, if so.
  std::optional<store::Error> no_sandbox{};
};

/// `backend`: whose rules limpet is to use. Takes a second or two, never more than half a minute.
Diagnosis diagnose(Backend backend);

/// What these checks mean for the datapaths. Pure.
Datapaths conclude_datapaths(const Checks& checks);

}  // namespace limpet::divert
