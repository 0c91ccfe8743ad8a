// progress_line.h: how far a long command has come, on one line that is written over and goes when it is done.
//
//   replay  43 %  430080
//
// For terminals only: who makes one gives no stream otherwise. Ten times a second at most.
#pragma once

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

namespace limpet::cli {

class ProgressLine {
 public:
  /// `out`: null shows nothing.
  ProgressLine(std::ostream* out, std::string what) : out_(out), what_(std::move(what)) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() {
    if (shown_) *out_ << "\r\x1b[K" << std::flush;
  }

  /// `source.progress()` is asked only when a line is due.
  template <typename Source>
  void show(std::uint64_t count, const Source& source) {
    constexpr std::uint64_t kLook = 256;
    if (out_ == nullptr || count % kLook != 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    shown_ = true;
    *out_ << '\r' << what_ << "  " << static_cast<int>(source.progress() * 100) << " %  " << count << "\x1b[K"
          << std::flush;
  }

 private:
  std::ostream* out_;
  std::string what_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool shown_ = false;
};

}  // namespace limpet::cli
