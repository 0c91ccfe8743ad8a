// exit_code.h: what the program's exit codes mean, for every subcommand. 77 (skipped) belongs to the tests.
#pragma once

#include "conntrack/store/result.h"

namespace limpet::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitRuntime = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitConfiguration = 3;
inline constexpr int kExitUnavailable = 4;  // a daemon or a kernel resource: trying again may help
inline constexpr int kExitPermission = 5;

constexpr int exit_code(store::ErrorKind kind) noexcept {
  switch (kind) {
    case store::ErrorKind::configuration:
      return kExitConfiguration;
    case store::ErrorKind::unavailable:
      return kExitUnavailable;
    case store::ErrorKind::permission:
      return kExitPermission;
    case store::ErrorKind::runtime:
      break;
  }
  return kExitRuntime;
}

}  // namespace limpet::cli
