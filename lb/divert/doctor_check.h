// doctor_check.h: what `limpet doctor` finds out, one Check a fact.
//
//   found      the kernel (and the tool that asks it) has it        missing    it has not; `detail` gives its own words
//   unknown    it could not be found out; `detail` says why
//   ok         a setting of this machine that limpet can live with   attention  one that it cannot, or only in part
//
// `consequence` says what limpet does without it, `remedy` what to do; both are for checks that are not good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::divert {

enum class CheckStatus : std::uint8_t { found, missing, unknown, ok, attention };
/// "found", …
std::string_view to_string(CheckStatus status) noexcept;

struct Check {
  std::string group;
  std::string name;
  CheckStatus status = CheckStatus::unknown;
  std::string detail{};
  std::string consequence{};
  std::string remedy{};
  bool good() const noexcept { return status == CheckStatus::found || status == CheckStatus::ok; }
};
using Checks = std::vector<Check>;

/// What a probe saw.
struct Observation {
  CheckStatus status = CheckStatus::unknown;
  std::string detail{};
};

}  // namespace limpet::divert
