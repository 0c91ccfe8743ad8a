#include "lb/divert/nft_command.h"

#include <string>
#include <vector>

#include "lb/divert/command.h"

namespace limpet::divert {

namespace {

/// "/dev/stdin:4:20-24: Error: Could not …\n  the line\n  ^^^^^\n…" → "Could not …"
std::string first_complaint(const std::string& text) {
  constexpr std::string_view kError = "Error: ";
  const std::size_t found = text.find(kError);
  if (found == std::string::npos) return text.substr(0, text.find('\n'));
  const std::size_t begin = found + kError.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

store::Status nft(std::string_view transaction, NftMode mode) {
  std::vector<std::string> arguments{"nft", "-f", "-"};
  if (mode == NftMode::check) arguments.insert(arguments.begin() + 1, "-c");
  auto outcome = run(arguments, transaction);
  if (!outcome) return outcome.error();
  if (outcome->ok()) return store::ok();
  outcome->err = first_complaint(outcome->err);
  return failure("nft", *outcome);
}

}  // namespace limpet::divert
