// seed_option.h: `--seed N`, for the subcommands whose random choices are the same every time.
#pragma once

#include <cstdint>

#include <CLI/App.hpp>

namespace limpet::cli {

/// `seed` holds the default.
void add_seed(CLI::App& subcommand, std::uint64_t& seed);

}  // namespace limpet::cli
