// line_error.h: what is wrong with one line of a text file, and what to do about it.
//
//   affinity.txt:12: '10.2.1.999' is no IP address; write one as in 203.0.113.7 or fd00::1
//
// Lines count from 1; line 0 stands for the file as a whole.
#pragma once

#include <cstddef>
#include <string>

namespace limpet::store {

struct LineError {
  std::string file;
  std::size_t line = 0;
  std::string message;
};

/// "file:line: message", the form that editors and CI jump to.
inline std::string to_string(const LineError& error) {
  return error.file + (error.line == 0 ? "" : ":" + std::to_string(error.line)) + ": " + error.message;
}

}  // namespace limpet::store
