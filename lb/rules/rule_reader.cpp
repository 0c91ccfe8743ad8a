#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "lb/rules/match_reader.h"
#include "lb/rules/protocol_names.h"
#include "lb/rules/rule_options.h"
#include "lb/rules/rule_text.h"
#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

using net::Protocol;

bool has_ports(const Rule& rule) {
  constexpr std::array kProtocols{Protocol::tcp, Protocol::udp, Protocol::udplite, Protocol::sctp};
  return rule.protocol && !rule.protocol->inverted &&
         std::any_of(kProtocols.begin(), kProtocols.end(),
                     [&](Protocol p) { return static_cast<std::uint8_t>(p) == rule.protocol->value; });
}

class Reader {
 public:
  Reader(std::vector<std::string> words, const RulePlace& place) : options_(std::move(words)), place_(place) {}

  store::Result<Rule> read() {
    while (options_.next()) {
      if (!(read_header() || read_load() || read_by_match() || read_by_target() || read_implied())) {
        options_.fail("is no option that limpet can honour here");
      }
    }
    finish();
    if (options_.failed()) return store::Error{store::ErrorKind::configuration, options_.error()};
    return std::move(rule_);
  }

 private:
  template <typename T>
  void once(std::optional<Condition<T>>& condition, T value) {
    if (condition) options_.fail("is given twice; one rule takes one");
    condition = {std::move(value), options_.inverted()};
  }

  bool read_header() {
    const std::string& name = options_.name();
    if (name == "-s" || name == "--source" || name == "--src") return read_address(rule_.source), true;
    if (name == "-d" || name == "--destination" || name == "--dst") return read_address(rule_.destination), true;
    if (name == "-i" || name == "--in-interface") return read_interface(rule_.in_interface), true;
    if (name == "-o" || name == "--out-interface") return read_interface(rule_.out_interface), true;
    if (name == "-p" || name == "--protocol" || name == "--proto") return read_protocol(), true;
    if (name == "-c" || name == "--set-counters") return read_counters(), true;
    return false;
  }
  void read_address(std::optional<Condition<MaskedAddress>>& condition) {
    const std::string text = options_.value();
    const auto address = MaskedAddress::parse(text);
    if (!address || address->value().family() != place_.family) {
      return options_.fail("'" + text + "' is no address of this family (10.0.0.1, 10.0.0.0/8, fd00::/8); names are " +
                           "not looked up");
    }
    once(condition, *address);
    if (condition->value.contains_all() && !condition->inverted) condition.reset();
  }
  void read_interface(std::optional<Condition<std::string>>& condition) {
    std::string text = options_.value();
    if (!is_name(text, kLongestInterface)) options_.fail("an interface's name has 1 to 15 characters");
    once(condition, std::move(text));
    if (condition->value == "+" && !condition->inverted) condition.reset();
  }
  void read_protocol() {
    const std::string text = options_.value();
    const auto number = protocol_number(text);
    if (!number) return options_.fail("'" + text + "' is no protocol; write tcp, udp, sctp, all or a number");
    once(rule_.protocol, *number);
    if (*number != 0) return;
    if (rule_.protocol->inverted) options_.fail("! " + text + " is no packet at all");
    rule_.protocol.reset();
  }
  void read_counters() {
    const auto packets = parse_counter(options_.value());
    rule_.counters = {packets, parse_counter(options_.value())};
  }
  std::uint64_t parse_counter(const std::string& text) {
    const auto number = rules::parse_counter(text);
    if (!number) options_.fail("'" + text + "' is no counter");
    return number.value_or(0);
  }

  /// -m, -j, -g
  bool read_load() {
    const std::string& option = options_.name();
    if (option == "-m" || option == "--match") return load_match(options_.value()), true;
    if (option == "-j" || option == "--jump") return read_target(), true;
    if (option != "-g" && option != "--goto") return false;
    set_target("", Goto{read_name()});
    return true;
  }
  void load_match(const std::string& name) {
    auto reader = make_match_reader(name, place_.family);
    if (!reader) return options_.fail("-m " + name, "is a match that limpet cannot honour");
    matches_.emplace_back(name, std::move(reader));
  }
  void read_target() {
    const std::string name = read_name();
    if (!options_.failed()) set_target(name, {});
  }
  std::string read_name() {
    std::string name = options_.value();
    if (!is_name(name, kLongestChain)) options_.fail("'" + name + "' is no name of a target or a chain");
    return name;
  }
  void set_target(const std::string& name, const std::optional<Goto>& jump) {
    if (target_ || goto_) return options_.fail("comes after another target; one rule takes one");
    goto_ = jump;
    if (!jump) target_ = make_target_reader(name, place_.family);
  }
  bool read_by_match() {
    return std::any_of(matches_.rbegin(), matches_.rend(), [&](auto& match) { return match.second->read(options_); });
  }
  bool read_by_target() { return target_ && target_->read(options_); }
  /// "-p tcp --dport 80" loads tcp by itself.
  bool read_implied() {
    if (!rule_.protocol || rule_.protocol->inverted) return false;
    const std::string name = protocol_name(rule_.protocol->value);
    const bool loaded =
        std::any_of(matches_.begin(), matches_.end(), [&](const auto& match) { return match.first == name; });
    if (loaded || (name != "tcp" && name != "udp" && name != "sctp")) return false;
    load_match(name);
    return matches_.back().second->read(options_);
  }

  void finish() {
    for (const auto& [name, reader] : matches_) rule_.matches.push_back(reader->finish(options_, rule_));
    if (goto_) rule_.target = *goto_;
    if (target_) rule_.target = target_->finish(options_);
    check_interfaces();
    std::visit([this](const auto& target) { check_target(target); }, rule_.target);
  }
  void check_interfaces() {
    const std::string& chain = place_.chain;
    if (rule_.out_interface && (chain == "PREROUTING" || chain == "INPUT")) {
      options_.fail("-o", "has no meaning in " + chain + ": the packet has not been routed yet, or goes nowhere");
    }
    if (rule_.in_interface && (chain == "OUTPUT" || chain == "POSTROUTING")) {
      options_.fail("-i", "cannot be used in " + chain);
    }
  }

  void only_in(Table table, bool built_in_fits, const std::string& target, const std::string& chains) {
    if (place_.table != table) {
      options_.fail("-j " + target, "belongs into the table " + std::string(to_string(table)) + " only");
    }
    if (is_built_in(place_.table, place_.chain) && !built_in_fits) {
      options_.fail("-j " + target, "belongs into " + chains + " only");
    }
  }
  bool at_destination_hook() const { return place_.chain == "PREROUTING" || place_.chain == "OUTPUT"; }
  bool at_source_hook() const { return place_.chain == "POSTROUTING" || place_.chain == "INPUT"; }
  void needs_ports(bool named, const std::string& target) {
    if (named && !has_ports(rule_)) options_.fail("-j " + target, "names ports: needs -p tcp, udp, udplite or sctp");
  }

  void check_target(const auto&) {}
  void check_target(const Drop&) {
    if (place_.table == Table::nat) options_.fail("-j DROP", "is refused in the table nat; filter in the table filter");
  }
  void check_target(const Reject& reject) {
    only_in(Table::filter, true, "REJECT", "filter");
    const bool tcp = rule_.protocol && !rule_.protocol->inverted &&
                     rule_.protocol->value == static_cast<std::uint8_t>(Protocol::tcp);
    if (reject.with == "tcp-reset" && !tcp) options_.fail("--reject-with", "tcp-reset needs -p tcp");
  }
  void check_target(const Dnat& nat) {
    only_in(Table::nat, at_destination_hook(), "DNAT", "PREROUTING and OUTPUT");
    needs_ports(nat.to.ports.has_value(), "DNAT");
  }
  void check_target(const Redirect& nat) {
    only_in(Table::nat, at_destination_hook(), "REDIRECT", "PREROUTING and OUTPUT");
    needs_ports(nat.ports.has_value(), "REDIRECT");
  }
  void check_target(const Snat& nat) {
    only_in(Table::nat, at_source_hook(), "SNAT", "POSTROUTING and INPUT");
    needs_ports(nat.to.ports.has_value(), "SNAT");
  }
  void check_target(const Masquerade& nat) {
    only_in(Table::nat, place_.chain == "POSTROUTING", "MASQUERADE", "POSTROUTING");
    needs_ports(nat.ports.has_value(), "MASQUERADE");
  }

  Options options_;
  const RulePlace& place_;
  Rule rule_;
  std::vector<std::pair<std::string, std::unique_ptr<MatchReader>>> matches_;
  std::unique_ptr<TargetReader> target_;
  std::optional<Goto> goto_;
};

}  // namespace

store::Result<Rule> read_rule(std::vector<std::string> words, const RulePlace& place) {
  return Reader(std::move(words), place).read();
}

}  // namespace limpet::rules
