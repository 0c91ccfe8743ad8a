#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <utility>

#include "lb/rules/match_reader.h"

namespace limpet::rules {
namespace {

using net::Protocol;

bool is_protocol(const Rule& rule, Protocol protocol) {
  return rule.protocol && !rule.protocol->inverted && rule.protocol->value == static_cast<std::uint8_t>(protocol);
}

/// The parts between the commas.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (std::size_t comma = text.find(','); comma != std::string::npos; comma = text.find(',', from)) {
    parts.push_back(text.substr(from, comma - from));
    from = comma + 1;
  }
  parts.push_back(text.substr(from));
  return parts;
}

struct Word {
  std::string_view name;
  std::uint8_t bit;
};
constexpr std::array kStates{
    Word{"INVALID", kInvalid},     Word{"NEW", kNew},   Word{"RELATED", kRelated}, Word{"ESTABLISHED", kEstablished},
    Word{"UNTRACKED", kUntracked}, Word{"SNAT", kSnat}, Word{"DNAT", kDnat}};
constexpr std::array kKinds{Word{"UNICAST", kUnicast}, Word{"LOCAL", kLocal}, Word{"BROADCAST", kBroadcast},
                            Word{"MULTICAST", kMulticast}};

std::uint8_t read_words(Options& options, const auto& words, const std::string& advice) {
  std::uint8_t bits = 0;
  for (std::string word : split_list(options.value())) {
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
    const auto* const found = std::find_if(words.begin(), words.end(), [&](const Word& w) { return w.name == word; });
    if (found == words.end()) {
      options.fail("'" + word + "' cannot be honoured; " + advice);
      return 0;
    }
    bits |= found->bit;
  }
  return bits;
}

class TransportReader final : public MatchReader {
 public:
  explicit TransportReader(Protocol protocol) { match_.protocol = protocol; }
  Match finish(Options& options, const Rule& rule) override {
    if (!is_protocol(rule, match_.protocol)) {
      options.fail("-m " + net::to_string(match_.protocol), "needs -p " + net::to_string(match_.protocol));
    }
    return match_;
  }

 private:
  bool take(Options& options) override {
    const std::string& name = options.name();
    if (name == "--sport" || name == "--source-port") return match_.source = read_range(options), true;
    if (name == "--dport" || name == "--destination-port") return match_.destination = read_range(options), true;
    return false;
  }
  static Condition<PortRange> read_range(Options& options) {
    const std::string text = options.value();
    const auto ports = parse_ports(text, ':');
    if (!ports) options.fail("'" + text + "' is no port and no range of ports (80, 8000:8080)");
    return {ports.value_or(PortRange{}), options.inverted()};
  }

  TransportMatch match_;
};

class MultiportReader final : public MatchReader {
 public:
  Match finish(Options& options, const Rule& rule) override {
    if (match_.ports.empty()) options.fail("-m multiport", "needs one of --sports, --dports, --ports");
    constexpr std::array kProtocols{Protocol::tcp, Protocol::udp, Protocol::udplite, Protocol::sctp};
    if (std::none_of(kProtocols.begin(), kProtocols.end(), [&](Protocol p) { return is_protocol(rule, p); })) {
      options.fail("-m multiport", "needs -p tcp, udp, udplite or sctp");
    }
    return match_;
  }

 private:
  static constexpr std::size_t kMost = 15;  // ports; a range counts as two (XT_MULTI_PORTS)

  bool take(Options& options) override {
    const std::string& name = options.name();
    using enum MultiportMatch::Side;
    if (name == "--sports" || name == "--source-ports") return read_list(options, source);
    if (name == "--dports" || name == "--destination-ports") return read_list(options, destination);
    if (name == "--ports") return read_list(options, either);
    return false;
  }
  bool read_list(Options& options, MultiportMatch::Side side) {
    if (!match_.ports.empty()) return options.fail("comes after another list of ports; one match takes one"), true;
    match_.side = side;
    std::size_t room = kMost;
    for (const std::string& part : split_list(options.value())) {
      const auto ports = parse_ports(part, ':');
      if (!ports) return options.fail("'" + part + "' is no port and no range of ports (80, 8000:8080)"), true;
      const std::size_t needed = part.find(':') == std::string::npos ? 1 : 2;
      if (needed > room) return options.fail("lists more than 15 ports (a range counts as two)"), true;
      room -= needed;
      match_.ports.push_back(*ports);
    }
    match_.inverted = options.inverted();
    return true;
  }

  MultiportMatch match_;
};

class CommentReader final : public MatchReader {
 public:
  Match finish(Options& options, const Rule&) override {
    if (!given("--comment")) options.fail("-m comment", "needs --comment");
    return match_;
  }

 private:
  static constexpr std::size_t kLongest = 255;
  bool take(Options& options) override {
    if (options.name() != "--comment") return false;
    match_.text = options.value();
    if (match_.text.size() > kLongest) options.fail("is longer than 255 characters");
    return true;
  }

  CommentMatch match_;
};

class MarkReader final : public MatchReader {
 public:
  Match finish(Options& options, const Rule&) override {
    if (!given("--mark")) options.fail("-m mark", "needs --mark");
    return match_;
  }

 private:
  bool take(Options& options) override {
    if (options.name() != "--mark") return false;
    const auto [mark, mask] = options.mark();
    match_ = {mark, mask, options.inverted()};
    return true;
  }

  MarkMatch match_;
};

class AddrtypeReader final : public MatchReader {
 public:
  explicit AddrtypeReader(net::Family family) : family_(family) {}
  Match finish(Options& options, const Rule&) override {
    if (!match_.source && !match_.destination) options.fail("-m addrtype", "needs --src-type or --dst-type");
    return match_;
  }

 private:
  bool take(Options& options) override {
    const bool source = options.name() == "--src-type";
    if (!source && options.name() != "--dst-type") return false;
    const std::uint8_t kinds =
        read_words(options, kKinds, "limpet tells UNICAST, LOCAL, BROADCAST and MULTICAST apart");
    if ((kinds & kBroadcast) != 0 && family_ == net::Family::v6) options.fail("IPv6 has no BROADCAST");
    (source ? match_.source : match_.destination) = {kinds, options.inverted()};
    return true;
  }

  net::Family family_;
  AddrtypeMatch match_;
};

class ConntrackReader final : public MatchReader {
 public:
  explicit ConntrackReader(bool old_name) { match_.old_name = old_name; }
  Match finish(Options& options, const Rule&) override {
    if (!given(option())) options.fail(match_.old_name ? "-m state" : "-m conntrack", "needs " + option());
    return match_;
  }

 private:
  std::string option() const { return match_.old_name ? "--state" : "--ctstate"; }
  bool take(Options& options) override {
    if (options.name() != option()) return false;
    match_.states =
        read_words(options, kStates, "states are INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT, DNAT");
    if (match_.old_name && (match_.states & (kSnat | kDnat)) != 0)
      options.fail("does not know SNAT and DNAT; use -m conntrack");
    match_.inverted = options.inverted();
    return true;
  }

  ConntrackMatch match_;
};

}  // namespace

std::unique_ptr<MatchReader> make_packet_match_reader(std::string_view name, net::Family family) {
  if (name == "tcp") return std::make_unique<TransportReader>(Protocol::tcp);
  if (name == "udp") return std::make_unique<TransportReader>(Protocol::udp);
  if (name == "sctp") return std::make_unique<TransportReader>(Protocol::sctp);
  if (name == "multiport") return std::make_unique<MultiportReader>();
  if (name == "comment") return std::make_unique<CommentReader>();
  if (name == "mark") return std::make_unique<MarkReader>();
  if (name == "addrtype") return std::make_unique<AddrtypeReader>(family);
  if (name == "conntrack") return std::make_unique<ConntrackReader>(false);
  if (name == "state") return std::make_unique<ConntrackReader>(true);
  return nullptr;
}

}  // namespace limpet::rules
