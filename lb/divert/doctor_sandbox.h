// doctor_sandbox.h: run a function where nothing of the machine's network can be touched.
//
//   caller ──fork──▶ keeper ──unshare: network, processes (and users, unless we may without)──fork──▶ inmate: the work
//      ▲                                                                                                 │
//      └─────────────────────────────────── its text, through a pipe ───────────────────────────────────┘
//
// The inmate is process 1 of its own: when it ends, or the limit passes, or the caller dies, everything that it started
// dies with it, and so do its rules, sets and sockets. lo is up there; nothing else is there. XTABLES_LOCKFILE leads to
// /dev/null: the machine's own lock is neither taken nor needed, and an ordinary user could not write it.
//
// Not kept apart is what kernels do not keep apart: asking for a feature may load its module.
// The caller must have one thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "conntrack/store/result.h"

namespace limpet::divert {

/// What `work` returned. Errors: permission or unavailable, if no such namespace can be had;
/// runtime, if the work did not end in time or died.
store::Result<std::string> run_in_sandbox(const std::function<std::string()>& work, std::chrono::milliseconds limit);

}  // namespace limpet::divert
