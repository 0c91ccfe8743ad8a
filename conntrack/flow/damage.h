// damage.h: does memory that another process has left hold what its type allows?
//
// A bool that is neither 0 nor 1 must not even be read: the compiler relies on it. So these look at the bytes.
#pragma once

#include <cstdint>
#include <cstring>

namespace limpet::flow {

template <typename... Bools>
bool are_bools(const Bools&... values) noexcept {
  const auto byte = [](const bool& value) noexcept {
    std::uint8_t raw;
    std::memcpy(&raw, &value, sizeof raw);
    return raw;
  };
  return ((byte(values) <= 1) && ...);
}

}  // namespace limpet::flow
