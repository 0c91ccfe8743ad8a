#include "tests/golden/runner/words.h"

#include <algorithm>

namespace limpet::golden {

namespace {

/// The length of the word that `rest` begins with.
std::size_t word_length(std::string_view rest) {
  constexpr auto npos = std::string_view::npos;
  if (rest.front() == '"') {
    const std::size_t quote = rest.find('"', 1);
    if (quote == npos) throw SyntaxError("a text without its closing quote");
    return quote;  // the closing quote is gone past, but is not part of the word
  }
  const std::size_t space = std::min(rest.find_first_of(" \t"), rest.size());
  const std::size_t close = rest.find(']');
  if (rest.front() == '[') {
    if (close >= space) return 1;
    return std::min({rest.find(']', close + 1), space});  // an IPv6 address, perhaps at the end of a quotation
  }
  if (rest.front() == ']') return 1;
  return std::min(close, space);
}

}  // namespace

Words::Words(std::string_view line) {
  for (;;) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.empty() || line.front() == '#') return;
    const std::size_t length = word_length(line);
    words_.emplace_back(line.substr(0, length));
    line.remove_prefix(length + (line.front() == '"' ? 1 : 0));
  }
}

const std::string& Words::peek() const noexcept {
  static const std::string none;
  return done() ? none : words_[at_];
}

std::string Words::next() {
  if (done()) throw SyntaxError("the line ends too early");
  return words_[at_++];
}

bool Words::contains(std::string_view beginning) const noexcept {
  return std::any_of(words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end(),
                     [&](const std::string& word) { return word.starts_with(beginning); });
}

bool Words::skip(std::string_view word) noexcept {
  if (peek() != word) return false;
  ++at_;
  return true;
}

void Words::expect(std::string_view word) {
  if (!skip(word)) throw SyntaxError("\"" + std::string(word) + "\" is missing before \"" + peek() + "\"");
}

std::uint32_t Words::number() {
  return to_number(next());
}

void Words::end() const {
  if (!done()) throw SyntaxError("not understood: \"" + peek() + "\"");
}

std::uint32_t to_number(const std::string& word) {
  try {
    std::size_t used = 0;
    const unsigned long value = std::stoul(word, &used, 0);
    if (used == word.size() && value <= 0xffffffff) return static_cast<std::uint32_t>(value);
  } catch (const std::logic_error&) {  // invalid_argument, out_of_range
  }
  throw SyntaxError("not a number: \"" + word + "\"");
}

}  // namespace limpet::golden
