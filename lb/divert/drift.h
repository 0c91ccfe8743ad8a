// drift.h: what of limpet's somebody else has taken out of the kernel, or changed there.
//
// Asked now and then (Diverter::drift()), so it must be cheap while all is well:
//
//   nf_tables (iptables-nft, nft)   its generation, which every change of any rule counts up: the same, the rules are.
//                                   One message
//   iptables' rules                 `iptables-save` of raw and mangle, against what it showed when they were written
//   ipset                           `ipset list -t`: each set's number of elements
//   nft's sets                      the first, the last and the one in the middle of each list: are they there?
//
// So an element that somebody replaced by another is not seen, nor what is missing from the midst of an nft set; what
// happens by itself, or by a flush, a restore, a reload, another program's start, is. A rule that somebody puts before
// limpet's jump is drift, too: where it accepts, packets would pass by. Two programs that both insist on the first place
// take it from each other once a check.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace limpet::divert {

struct Drift {
  bool rules = false;             // of chains, or the jumps to them
  bool sets = false;              // sets or elements
  std::vector<std::string> what;  // one line each: "IPv4 raw table: LIMPET-OUTPUT is missing"
  explicit operator bool() const noexcept { return rules || sets; }
};

/// How often this network namespace's nf_tables have changed. nullopt: the kernel does not say.
std::optional<std::uint32_t> nft_generation();

}  // namespace limpet::divert
