// rule_words.h: the words of one line of a rule, and back.
//
//   -A X -m comment --comment "he said \"no\"" -j Y     words are parted by spaces
//                              └ between quotation marks a space is a character; \ takes the next one as it is
//
// As iptables-restore splits lines. save_word() is its inverse, in the form of iptables-save. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::rules {

/// nullopt: a quotation mark is not closed.
std::optional<std::vector<std::string>> split_words(std::string_view line);

/// As it is if it consists of letters, digits, '_' and '-', else between quotation marks.
std::string save_word(std::string_view word);

}  // namespace limpet::rules
