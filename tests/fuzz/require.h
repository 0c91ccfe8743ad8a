// require.h: an assertion of the fuzz targets. It stays on in every build; a failure aborts, which libFuzzer and the
// replay both report as a crash of that input.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace limpet::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "required: %s\n", what);
  std::abort();
}

}  // namespace limpet::fuzz
