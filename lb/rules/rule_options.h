// rule_options.h: the words of one rule, read option by option.
//
//   -m recent ! --rcheck --seconds 60       next() stands on an option: name "--rcheck", inverted
//             └ before the option; before its value too ("-s ! 10.0.0.1", as iptables up to 1.4.2 printed it)
//
// The first thing that does not fit is kept as the error and ends the reading: what is read after it is meaningless
// and harmless. One rule, one object; not for several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// A number as iptables takes it: decimal, hexadecimal after 0x, octal after 0; at most 2^32 - 1. nullopt: it is none.
std::optional<std::uint32_t> parse_number(std::string_view text) noexcept;
/// A decimal number of 64 bits. nullopt: it is none.
std::optional<std::uint64_t> parse_counter(std::string_view text) noexcept;
/// "80" or "80:90"; a missing end is 0 or 65535. nullopt: it is none, or the wrong way round.
std::optional<PortRange> parse_ports(std::string_view text, char separator) noexcept;
/// The same, as iptables-save prints it.
std::string to_string(const PortRange& ports, char separator);

/// Can a chain or an interface be called that? Visible characters without quotation marks and \, not led by '-' or '!'.
bool is_name(std::string_view text, std::size_t longest) noexcept;
inline constexpr std::size_t kLongestChain = 28;  // XT_EXTENSION_MAXNAMELEN less the NUL
inline constexpr std::size_t kLongestInterface = 15;

class Options {
 public:
  explicit Options(std::vector<std::string> words) : words_(std::move(words)) {}

  /// To the next option. False: there is none, or something did not fit.
  bool next();
  /// "--seconds"
  const std::string& name() const noexcept { return name_; }
  /// Takes "!" for the option. To be asked after value(), before which "!" may stand as well.
  bool inverted() noexcept;
  /// The word after the option; "" and an error if there is none.
  std::string value();
  /// The value as a number in [low, high].
  std::uint32_t number(std::uint32_t low = 0, std::uint32_t high = 0xffffffff);
  /// The value as a mark and the bits of it that count: "0x4000/0x4000"; all bits where no mask is given, or none may be.
  std::pair<std::uint32_t, std::uint32_t> mark(bool may_have_mask = true);

  /// `why` follows the option's name; it ends with what to do.
  void fail(const std::string& why) { fail(name_, why); }
  void fail(const std::string& option, const std::string& why);
  bool failed() const noexcept { return error_.has_value(); }
  /// "--seconds: why"
  const std::string& error() const noexcept { return *error_; }

 private:
  std::vector<std::string> words_;
  std::size_t at_ = 0;
  std::string name_;
  bool inverted_ = false;
  std::optional<std::string> error_;
};

}  // namespace limpet::rules
