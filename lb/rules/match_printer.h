// match_printer.h: a match as text, as iptables-save prints it: "-m recent --rcheck --seconds 60 --name X --mask …".
//
// iptables-save prints two things in a form that nobody can read back: the name of a `recent` list without quotation
// marks, and --seconds above 2^31 - 1 as a negative number. Pure; any thread.
#pragma once

#include <string>

#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// In what the two forms differ, see above.
enum class Spelling : std::uint8_t {
  readable,  // what ruleset_text.h and iptables-restore read back as the same
  as_saved,  // what iptables-save 1.8.9 prints, to the letter
};

std::string print(const Match& match, net::Family family, Spelling spelling = Spelling::readable);

}  // namespace limpet::rules
