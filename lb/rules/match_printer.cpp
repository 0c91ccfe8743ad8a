#include "lb/rules/match_printer.h"

#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

#include "lb/rules/rule_options.h"
#include "lb/rules/rule_words.h"

namespace limpet::rules {
namespace {

using affinity::RecentMatch;

std::string option(std::string_view name, bool inverted, const std::string& value) {
  return (inverted ? " ! " : " ") + std::string(name) + " " + value;
}

std::string hex(std::uint32_t value) {
  std::array<char, 11> text{};
  std::snprintf(text.data(), text.size(), "0x%x", value);
  return text.data();
}

/// The names of the bits that are set, in this order, with commas.
template <std::size_t N>
std::string words_of(std::uint8_t bits, const std::array<std::pair<std::uint8_t, std::string_view>, N>& names) {
  std::string text;
  for (const auto& [bit, name] : names) {
    if ((bits & bit) != 0) text += (text.empty() ? "" : ",") + std::string(name);
  }
  return text;
}

std::string kinds(std::uint8_t bits) {
  using Pair = std::pair<std::uint8_t, std::string_view>;
  return words_of(bits, std::array{Pair{kUnicast, "UNICAST"}, Pair{kLocal, "LOCAL"}, Pair{kBroadcast, "BROADCAST"},
                                   Pair{kMulticast, "MULTICAST"}});
}

std::string states(std::uint8_t bits) {
  using Pair = std::pair<std::uint8_t, std::string_view>;
  return words_of(bits, std::array{Pair{kInvalid, "INVALID"}, Pair{kNew, "NEW"}, Pair{kRelated, "RELATED"},
                                   Pair{kEstablished, "ESTABLISHED"}, Pair{kUntracked, "UNTRACKED"},
                                   Pair{kSnat, "SNAT"}, Pair{kDnat, "DNAT"}});
}

class Printer {
 public:
  Printer(net::Family family, Spelling spelling) : family_(family), spelling_(spelling) {}

  std::string operator()(const TransportMatch& match) const {
    std::string text = "-m " + net::to_string(match.protocol);
    if (match.source) text += ports("--sport", *match.source);
    if (match.destination) text += ports("--dport", *match.destination);
    return text;
  }
  std::string operator()(const MultiportMatch& match) const {
    constexpr std::array<std::string_view, 3> kNames{"--sports", "--dports", "--ports"};
    std::string list;
    for (const PortRange& range : match.ports) list += (list.empty() ? "" : ",") + to_string(range, ':');
    return "-m multiport" + option(kNames[static_cast<std::size_t>(match.side)], match.inverted, list);
  }
  std::string operator()(const CommentMatch& match) const { return "-m comment --comment " + save_word(match.text); }
  std::string operator()(const MarkMatch& match) const {
    const std::string mask = match.mask == 0xffffffff ? "" : "/" + hex(match.mask);
    return "-m mark" + option("--mark", match.inverted, hex(match.value) + mask);
  }
  std::string operator()(const AddrtypeMatch& match) const {
    std::string text = "-m addrtype";
    if (match.source) text += option("--src-type", match.source->inverted, kinds(match.source->value));
    if (match.destination) text += option("--dst-type", match.destination->inverted, kinds(match.destination->value));
    return text;
  }
  std::string operator()(const ConntrackMatch& match) const {
    return match.old_name ? "-m state" + option("--state", match.inverted, states(match.states))
                          : "-m conntrack" + option("--ctstate", match.inverted, states(match.states));
  }
  std::string operator()(const RecentMatch& match) const {
    constexpr std::array<std::string_view, 4> kOperations{"--set", "--rcheck", "--update", "--remove"};
    std::string text = "-m recent" + std::string(match.inverted ? " ! " : " ") +
                       std::string(kOperations[static_cast<std::size_t>(match.operation)]);
    if (match.seconds != 0) text += " --seconds " + seconds(match.seconds);
    if (match.reap) text += " --reap";
    if (match.hitcount != 0) text += " --hitcount " + std::to_string(match.hitcount);
    if (match.rttl) text += " --rttl";
    text += " --name " + (spelling_ == Spelling::as_saved ? match.name : save_word(match.name));
    const net::Address mask = match.mask.apply(mask_of_length(family_, family_ == net::Family::v4 ? 32 : 128));
    return text + " --mask " + mask.to_string() + (match.by_destination ? " --rdest" : " --rsource");
  }
  std::string operator()(const RandomMatch& match) const {
    return "-m statistic --mode random" + option("--probability", match.inverted, probability_text(match.threshold));
  }
  std::string operator()(const NthRule& match) const {
    return "-m statistic --mode nth" + option("--every", match.inverted, std::to_string(match.every)) + " --packet " +
           std::to_string(match.packet);
  }
  std::string operator()(const SetMatch& match) const {
    std::string sides;
    for (const SetMatch::Side side : match.sides) {
      sides += std::string(sides.empty() ? "" : ",") + (side == SetMatch::Side::source ? "src" : "dst");
    }
    return "-m set" + option("--match-set", match.inverted, save_word(match.name) + " " + sides);
  }

 private:
  static std::string ports(std::string_view name, const Condition<PortRange>& condition) {
    return option(name, condition.inverted, to_string(condition.value, ':'));
  }
  std::string seconds(std::uint32_t value) const {
    return spelling_ == Spelling::as_saved ? std::to_string(static_cast<std::int32_t>(value)) : std::to_string(value);
  }

  net::Family family_;
  Spelling spelling_;
};

}  // namespace

std::string print(const Match& match, net::Family family, Spelling spelling) {
  return std::visit(Printer(family, spelling), match);
}

}  // namespace limpet::rules
