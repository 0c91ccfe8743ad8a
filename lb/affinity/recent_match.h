// recent_match.h: the options of one `-m recent` match, and which of them the kernel takes.
//
//   operation   set      remember the address, always          matches always
//               rcheck   is it remembered, and recently?       never dates it anew
//               update   the same, and if so date it anew      "if so" is asked after the inversion
//               remove   forget it                             matches if it was remembered
//   seconds     a stamp counts while its age <= seconds · HZ ticks; 0: whatever its age
//   hitcount    so many stamps must count; 0 and 1: one
//   reap        forget the longest unused entry too, if it is older than `seconds`
//   rttl        the packet's TTL must be the remembered one
//   mask        16 bytes, of which IPv4 uses the first four. Not given: all ones. `--mask 255.255.255.0` leaves the
//               other twelve zero (iptables 1.8.9), so IPv6 clients of such a list are told apart by 32 bits alone
//
// The first rule that names a list fixes its mask. Whether one operation was given, and only one, is for who parses the
// text. Source: net/netfilter/xt_recent.c, recent_mt_check (Linux 6.12); extensions/libxt_recent.c.
// Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"

namespace limpet::affinity {

enum class RecentOperation : std::uint8_t { set, rcheck, update, remove };

class RecentMask {
 public:
  /// All ones: every address is itself.
  constexpr RecentMask() noexcept = default;
  /// What `--mask` puts there; the bytes beyond an IPv4 mask are zero.
  explicit RecentMask(const net::Address& mask) noexcept : words_(mask.words()) {}

  net::Address apply(const net::Address& address) const noexcept;
  friend bool operator==(const RecentMask&, const RecentMask&) noexcept = default;

 private:
  std::array<std::uint64_t, 2> words_{~std::uint64_t{0}, ~std::uint64_t{0}};
};

struct RecentMatch {
  static constexpr std::uint32_t kMostStamps = 1U << 16;  // a ring's; XT_RECENT_MAX_NSTAMPS since Linux 6.11
  static constexpr std::size_t kLongestName = 199;        // XT_RECENT_NAME_LEN less the NUL; iptables cuts longer ones

  RecentOperation operation = RecentOperation::rcheck;
  bool inverted = false;
  bool by_destination = false;  // --rdest; else --rsource
  bool rttl = false;
  bool reap = false;
  std::uint32_t seconds = 0;
  std::uint32_t hitcount = 0;
  RecentMask mask;
  std::string name = "DEFAULT";
  friend bool operator==(const RecentMatch&, const RecentMatch&) = default;
};

/// Errors: configuration, where the kernel answers EINVAL. The text says which option, and what to write instead.
store::Status check(const RecentMatch& match);

}  // namespace limpet::affinity
