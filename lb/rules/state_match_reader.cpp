#include <array>
#include <cstddef>
#include <utility>

#include "lb/rules/match_reader.h"

namespace limpet::rules {
namespace {

using affinity::RecentMatch;
using affinity::RecentOperation;

class RecentReader final : public MatchReader {
 public:
  explicit RecentReader(net::Family family) : family_(family) {}
  Match finish(Options& options, const Rule&) override {
    if (!operation_given_) options.fail("-m recent", "needs one of --set, --rcheck, --update, --remove");
    if (!options.failed()) {
      if (const auto checked = affinity::check(match_); !checked) options.fail("-m recent", checked.error().message);
    }
    return match_;
  }

 private:
  bool take(Options& options) override {
    const std::string& name = options.name();
    if (take_operation(options)) return true;
    if (name == "--seconds") return match_.seconds = options.number(1), true;
    if (name == "--hitcount") return match_.hitcount = options.number(), true;
    if (name == "--reap") return match_.reap = true;
    if (name == "--rttl") return match_.rttl = true;
    if (name == "--rsource") return match_.by_destination = false, true;
    if (name == "--rdest") return match_.by_destination = true;
    if (name == "--name") return match_.name = options.value().substr(0, RecentMatch::kLongestName), true;
    if (name == "--mask") return read_mask(options), true;
    return false;
  }
  bool take_operation(Options& options) {
    constexpr std::array<std::string_view, 4> kOperations{"--set", "--rcheck", "--update", "--remove"};
    for (std::size_t i = 0; i < kOperations.size(); ++i) {
      if (options.name() != kOperations[i]) continue;
      if (std::exchange(operation_given_, true)) options.fail("comes after another operation; one match takes one");
      match_.operation = static_cast<RecentOperation>(i);
      match_.inverted = options.inverted();
      return true;
    }
    return false;
  }
  /// As iptables reads addresses, a bare number is the last byte: `--mask 24` is 0.0.0.24.
  void read_mask(Options& options) {
    const std::string text = options.value();
    auto mask = net::Address::parse(text);
    if (const auto number = parse_number(text); number && family_ == net::Family::v4) {
      mask = net::Address::from_v4(*number);
    }
    if (!mask || mask->family() != family_) {
      return options.fail("'" + text + "' is no mask of this family (255.255.255.0, ffff:ffff::)");
    }
    match_.mask = affinity::RecentMask(*mask);
  }

  net::Family family_;
  RecentMatch match_;
  bool operation_given_ = false;
};

class StatisticReader final : public MatchReader {
 public:
  Match finish(Options& options, const Rule&) override {
    if (mode_.empty()) options.fail("-m statistic", "needs --mode random or --mode nth");
    if (mode_ == "random") return finish_random(options);
    return finish_nth(options);
  }

 private:
  bool take(Options& options) override {
    const std::string& name = options.name();
    if (name == "--mode") return read_mode(options), true;
    if (name == "--probability") return read_probability(options), true;
    if (name == "--every") {
      nth_.every = options.number(1);
      nth_.inverted = options.inverted();
      return true;
    }
    if (name == "--packet") return nth_.packet = options.number(), true;
    return false;
  }
  void read_mode(Options& options) {
    mode_ = options.value();
    if (mode_ != "random" && mode_ != "nth") options.fail("'" + mode_ + "' is no mode; write random or nth");
  }
  void read_probability(Options& options) {
    const std::string text = options.value();
    const auto threshold = parse_probability(text);
    if (!threshold) return options.fail("'" + text + "' is no probability from 0 to 1");
    random_.threshold = *threshold;
    random_.inverted = options.inverted();
  }
  Match finish_random(Options& options) const {
    if (given("--every") || given("--packet")) options.fail("--mode random", "takes --probability alone");
    if (!given("--probability")) options.fail("--mode random", "needs --probability");
    return random_;
  }
  Match finish_nth(Options& options) const {
    if (given("--probability")) options.fail("--mode nth", "takes no --probability");
    if (!given("--every") || !given("--packet")) options.fail("--mode nth", "needs --every and --packet");
    if (nth_.packet >= nth_.every) options.fail("--packet", "must be below --every");
    return nth_;
  }

  std::string mode_;
  RandomMatch random_;
  NthRule nth_;
};

class SetReader final : public MatchReader {
 public:
  Match finish(Options& options, const Rule&) override {
    if (!given("--match-set")) options.fail("-m set", "needs --match-set");
    return match_;
  }

 private:
  static constexpr std::size_t kLongestName = 31;
  static constexpr std::size_t kMostSides = 6;

  bool take(Options& options) override {
    if (options.name() != "--match-set") return false;
    match_.name = options.value();
    match_.inverted = options.inverted();
    if (match_.name.empty() || match_.name.size() > kLongestName) options.fail("a set's name has 1 to 31 characters");
    std::string sides = options.value();
    for (sides += ','; !sides.empty() && !options.failed(); sides.erase(0, sides.find(',') + 1)) {
      read_side(options, sides.substr(0, sides.find(',')));
    }
    if (match_.sides.size() > kMostSides) options.fail("names more than 6 sides");
    return true;
  }
  void read_side(Options& options, const std::string& side) {
    if (side != "src" && side != "dst")
      return options.fail("'" + side + "' is no side; write src, dst, or a list of them");
    match_.sides.push_back(side == "src" ? SetMatch::Side::source : SetMatch::Side::destination);
  }

  SetMatch match_;
};

}  // namespace

std::unique_ptr<MatchReader> make_state_match_reader(std::string_view name, net::Family family) {
  if (name == "recent") return std::make_unique<RecentReader>(family);
  if (name == "statistic") return std::make_unique<StatisticReader>();
  if (name == "set") return std::make_unique<SetReader>();
  return nullptr;
}

}  // namespace limpet::rules
