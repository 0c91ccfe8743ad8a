#include "lb/cli/random_key.h"

#include <random>

namespace limpet::cli {

std::uint64_t random_word() {
  static std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

store::HashKey random_key() {
  return {random_word(), random_word()};
}

}  // namespace limpet::cli
