#include "lb/cli/seed_option.h"

#include <charconv>
#include <string>
#include <system_error>

namespace limpet::cli {
namespace {

/// For CLI11, which lets -1 and 2^64 pass as if they were others. Empty: good.
std::string seed_number(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = error == std::errc() && end == text.data() + text.size();
  return good ? "" : "'" + text + "' is not a number from 0 to 18446744073709551615";
}

}  // namespace

void add_seed(CLI::App& subcommand, std::uint64_t& seed) {
  subcommand.add_option("--seed", seed, "Seed of the random choices")->check(seed_number)->capture_default_str();
}

}  // namespace limpet::cli
