// traces.h: what of limpet's stands in an iptables table already, and its removal. Pure.
//
//   chains, jumps    the diversion's: LIMPET-…, and the rules of other chains that lead to them
//   guard            LIMPET-LOCALNET and the jumps to it: they outlive the diversion by a moment (rules.h)
//
// And whether it still stands as it was put there: a Standing is what one look at a table has seen of it, for another look
// to be compared with. Rules of a chain count and their order does; so does that the jump to it is there once, before
// all rules but the guard's.
//
// limpet's chains are known by their names alone, whichever process or version made them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::divert {

enum class Table { raw, mangle };
/// "raw" or "mangle".
std::string_view to_string(Table table) noexcept;

inline constexpr std::string_view kRepliesChain = "LIMPET-REPLIES";
inline constexpr std::string_view kIcmpChain = "LIMPET-ICMP";
inline constexpr std::string_view kFragmentsChain = "LIMPET-FRAGMENTS";
inline constexpr std::string_view kGuardChain = "LIMPET-LOCALNET";
/// Where features are tried out (xtables.h); nothing jumps to it.
inline constexpr std::string_view kProbeChain = "LIMPET-PROBE";

/// A base chain and ours behind it.
struct Hooked {
  std::string_view base;
  std::string_view chain;
};
/// The two of a table.
const std::array<Hooked, 2>& hooked(Table table) noexcept;

/// Rules are as iptables-save prints them: "-A PREROUTING …".
struct Traces {
  std::vector<std::string> chains;  // names, the guard's excepted
  std::vector<std::string> jumps;   // rules of other chains that lead to them
  bool guard = false;
  std::vector<std::string> guard_jumps;
  /// Nothing of the diversion; the guard may be there.
  bool empty() const noexcept { return chains.empty() && jumps.empty(); }
};

struct Standing {
  struct Chain {
    std::string name;
    std::size_t rules = 0;
    std::size_t print = 0;  // of their text, in their order
    friend bool operator==(const Chain&, const Chain&) = default;
  };
  enum class Jump : std::uint8_t { missing, first, behind /* other rules */, repeated };
  std::vector<Chain> chains;    // sorted by name, the guard's excepted
  std::array<Jump, 2> jumps{};  // as hooked() names them
  bool guarded = false;         // the guard is complete, and jumped to
};

/// `saved` as above.
Standing find_standing(Table table, std::string_view saved);

/// What of `then` is not so `now`, in words. `guard`: it is to be there.
std::vector<std::string> find_drift(Table table, const Standing& then, const Standing& now, bool guard);

/// Find them in the text of `iptables-save -t TABLE`. Any bytes are accepted; what is not understood is not limpet's.
Traces find_traces(std::string_view saved);

/// "-A CHAIN …" as iptables-save prints it → "-D CHAIN …", a line.
std::string delete_rule(const std::string& rule);

/// The transaction that removes the diversion's.
std::string render_removal(Table table, const Traces& present);

/// The transaction that removes the guard.
std::string render_guard_removal(const Traces& present);

}  // namespace limpet::divert
