// hook.h: the netfilter hooks that packets are diverted at, by their kernel numbers (linux/netfilter.h).
//
// Destinations are rewritten at PREROUTING and OUTPUT (before routing), sources at POSTROUTING and INPUT (after it):
// the order of nf_nat, so that the kernel's own connection tracking, where present, sees client and endpoint in both
// directions.
#pragma once

#include <cstdint>
#include <string_view>

namespace limpet::datapath {

enum class Hook : std::uint8_t { prerouting = 0, input = 1, forward = 2, output = 3, postrouting = 4 };

constexpr bool rewrites_destination(Hook hook) noexcept {
  return hook == Hook::prerouting || hook == Hook::output;
}
constexpr bool rewrites_source(Hook hook) noexcept {
  return hook == Hook::postrouting || hook == Hook::input;
}

constexpr std::string_view to_string(Hook hook) noexcept {
  constexpr std::string_view names[] = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
  return names[static_cast<unsigned>(hook)];
}

}  // namespace limpet::datapath
