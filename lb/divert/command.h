// command.h: run another program: text in, text and exit status out. No shell.
//
//   stdin, stdout, stderr   memory files (memfd): nothing to poll, no pipe to fill up, no SIGPIPE
//   wait                    on a pidfd, until the time limit; then SIGKILL
//
// The child inherits those three descriptors and no other, whoever opened them and however; an empty signal mask; and a
// process group of its own, so that a Ctrl-C at the daemon's terminal does not kill a half-done clean-up.
// Programs are looked for in PATH, then in /usr/sbin and /sbin, which an ordinary user's PATH lacks.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/store/result.h"

namespace limpet::divert {

struct Outcome {
  int status = 0;  // exit status; 128 + N if signal N ended it
  std::string out;
  std::string err;
  bool ok() const noexcept { return status == 0; }
};

/// `arguments`: the program's name first. Errors: unavailable, if the program is not there;
/// runtime, if it did not end in time.
store::Result<Outcome> run(const std::vector<std::string>& arguments, std::string_view input = {},
                           std::chrono::milliseconds limit = std::chrono::seconds(30));

/// The error that a failed Outcome amounts to: "what: the program's own words; advice". The kind is read from those
/// words: permission if it was not allowed; unavailable if the kernel lacks a feature or a lock is taken; else runtime.
store::Error failure(std::string_view what, const Outcome& outcome);

}  // namespace limpet::divert
