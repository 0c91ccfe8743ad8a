// diagnostic.h: one remark about a configuration file: where, how bad, what is wrong and what to do.
//
//   limpet.yaml:12:7: error: unknown key 'nodeport' in services; did you mean 'nodePort'?
//
// Lines and columns count from 1; line 0 stands for the file as a whole. Sorted, they follow the file.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace limpet::service {

enum class Severity : std::uint8_t { error, warning };

struct Diagnostic {
  std::string file;
  int line = 0;
  int column = 0;
  Severity severity = Severity::error;
  std::string message;
  friend auto operator<=>(const Diagnostic&, const Diagnostic&) = default;
};

/// "file:line:column: error: message", the form that editors and CI jump to.
std::string to_string(const Diagnostic& diagnostic);

inline bool has_errors(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& diagnostic) { return diagnostic.severity == Severity::error; });
}

}  // namespace limpet::service
