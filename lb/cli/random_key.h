// random_key.h: numbers that nobody can guess: keys of hashes, seeds of generators. Control thread only.
#pragma once

#include <cstdint>

#include "conntrack/store/siphash.h"

namespace limpet::cli {

std::uint64_t random_word();
store::HashKey random_key();

}  // namespace limpet::cli
