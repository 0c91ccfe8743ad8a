// words.h: one line of a golden file, cut into words.
//
//   udp client:40000 > vip:53 "two words" [tcp a > b]     # the rest is a comment
//   ^^^ ^^^^^^^^^^^^ ^ ^^^^^^ ^^^^^^^^^^^ ^ ^^^ ^ ^ ^ ^
//
// Brackets are words of their own, but for those around an IPv6 address ("[fd00::1]:53"). A text keeps its opening
// quote, so that it is never taken for a word.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::golden {

/// Something in a golden file that makes no sense.
struct SyntaxError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Words {
 public:
  explicit Words(std::string_view line);

  bool done() const noexcept { return at_ == words_.size(); }
  /// "" at the end.
  const std::string& peek() const noexcept;
  /// Throws SyntaxError at the end.
  std::string next();
  /// Does any word from here on begin so?
  bool contains(std::string_view beginning) const noexcept;
  /// If the next word is this, go past it.
  bool skip(std::string_view word) noexcept;
  /// The next word must be this.
  void expect(std::string_view word);
  /// Decimal, or hexadecimal after 0x.
  std::uint32_t number();
  /// Throws SyntaxError if anything is left.
  void end() const;

 private:
  std::vector<std::string> words_;
  std::size_t at_ = 0;
};

/// Throws SyntaxError.
std::uint32_t to_number(const std::string& word);

}  // namespace limpet::golden
