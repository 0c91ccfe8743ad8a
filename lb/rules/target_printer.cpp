#include <array>
#include <cstdio>

#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

std::string hex(std::uint32_t value) {
  std::array<char, 11> text{};
  std::snprintf(text.data(), text.size(), "0x%x", value);
  return text.data();
}

std::string flag(bool given, const char* text) {
  return given ? text : "";
}

std::string print(const NatRange& range) {
  std::string text;
  if (range.addresses) {
    text = range.addresses->first.to_string();
    if (range.addresses->last != range.addresses->first) text += "-" + range.addresses->last.to_string();
  }
  if (!range.ports) return text;
  if (range.addresses && !range.addresses->first.is_v4()) text = "[" + text + "]";
  text += ":" + to_string(*range.ports, '-');
  if (range.base) text += "/" + std::to_string(*range.base);
  return text;
}

std::string to_ports(const std::optional<PortRange>& ports) {
  return ports ? " --to-ports " + to_string(*ports, '-') : "";
}

struct Printer {
  std::string operator()(NoTarget) const { return ""; }
  std::string operator()(const Jump& jump) const { return "-j " + jump.chain; }
  std::string operator()(const Goto& jump) const { return "-g " + jump.chain; }
  std::string operator()(Return) const { return "-j RETURN"; }
  std::string operator()(Accept) const { return "-j ACCEPT"; }
  std::string operator()(Drop) const { return "-j DROP"; }
  std::string operator()(const Reject& reject) const { return "-j REJECT --reject-with " + reject.with; }
  std::string operator()(const SetMark& mark) const {
    return "-j MARK --set-xmark " + hex(mark.value) + "/" + hex(mark.mask);
  }
  std::string operator()(const Dnat& nat) const {
    return "-j DNAT --to-destination " + print(nat.to) + flag(nat.random, " --random") +
           flag(nat.persistent, " --persistent");
  }
  std::string operator()(const Redirect& nat) const {
    return "-j REDIRECT" + to_ports(nat.ports) + flag(nat.random, " --random");
  }
  std::string operator()(const Snat& nat) const {
    return "-j SNAT --to-source " + print(nat.to) + flag(nat.random, " --random") +
           flag(nat.random_fully, " --random-fully") + flag(nat.persistent, " --persistent");
  }
  std::string operator()(const Masquerade& nat) const {
    return "-j MASQUERADE" + to_ports(nat.ports) + flag(nat.random, " --random") +
           flag(nat.random_fully, " --random-fully");
  }
};

}  // namespace

std::string print(const Target& target) {
  return std::visit(Printer{}, target);
}

}  // namespace limpet::rules
