#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <set>
#include <utility>

#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

/// ACCEPT, DROP, RETURN, or a jump to a chain: no options.
class PlainReader final : public TargetReader {
 public:
  explicit PlainReader(Target target) : target_(std::move(target)) {}
  bool read(Options&) override { return false; }
  Target finish(Options&) override { return target_; }

 private:
  Target target_;
};

class RejectReader final : public TargetReader {
 public:
  explicit RejectReader(net::Family family)
      : family_(family), reject_{family == net::Family::v4 ? "icmp-port-unreachable" : "icmp6-port-unreachable"} {}
  bool read(Options& options) override {
    if (options.name() != "--reject-with") return false;
    reject_.with = options.value();
    if (!known(reject_.with)) options.fail("'" + reject_.with + "' is no kind of refusal of this family");
    return true;
  }
  Target finish(Options&) override { return reject_; }

 private:
  bool known(std::string_view with) const {
    constexpr std::array<std::string_view, 8> kV4{
        "icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-proto-unreachable",
        "icmp-net-prohibited",  "icmp-host-prohibited",  "icmp-admin-prohibited", "tcp-reset"};
    constexpr std::array<std::string_view, 7> kV6{"icmp6-no-route",
                                                  "icmp6-adm-prohibited",
                                                  "icmp6-addr-unreachable",
                                                  "icmp6-port-unreachable",
                                                  "icmp6-policy-fail",
                                                  "icmp6-reject-route",
                                                  "tcp-reset"};
    return family_ == net::Family::v4 ? std::find(kV4.begin(), kV4.end(), with) != kV4.end()
                                      : std::find(kV6.begin(), kV6.end(), with) != kV6.end();
  }

  net::Family family_;
  Reject reject_;
};

class MarkReader final : public TargetReader {
 public:
  bool read(Options& options) override {
    const std::string& name = options.name();
    constexpr std::array<std::string_view, 5> kNames{"--set-xmark", "--set-mark", "--or-mark", "--and-mark",
                                                     "--xor-mark"};
    const auto* const found = std::find(kNames.begin(), kNames.end(), name);
    if (found == kNames.end()) return false;
    if (std::exchange(given_, true)) return options.fail("comes after another mark; one MARK takes one"), true;
    const bool may_have_mask = name == "--set-xmark" || name == "--set-mark";
    const auto [value, mask] = options.mark(may_have_mask);
    if (name == "--set-xmark") mark_ = {value, mask};
    if (name == "--set-mark") mark_ = {value, value | mask};
    if (name == "--or-mark") mark_ = {value, value};
    if (name == "--and-mark") mark_ = {0, ~value};
    if (name == "--xor-mark") mark_ = {value, 0};
    return true;
  }
  Target finish(Options& options) override {
    if (!given_) options.fail("-j MARK", "needs one of --set-xmark, --set-mark, --or-mark, --and-mark, --xor-mark");
    return mark_;
  }

 private:
  bool given_ = false;
  SetMark mark_;
};

/// "10.0.0.1", "10.0.0.1-10.0.0.9"
std::optional<NatRange::Addresses> parse_addresses(std::string_view text, net::Family family) {
  const std::size_t dash = text.find('-');
  const auto first = net::Address::parse(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : net::Address::parse(text.substr(dash + 1));
  if (!first || !last || first->family() != family || last->family() != family || *last < *first) return std::nullopt;
  return NatRange::Addresses{*first, *last};
}

/// "80", "8000-8010", "8000-8010/80"
bool parse_nat_ports(std::string_view text, bool may_shift, NatRange& range) {
  const std::size_t slash = may_shift ? text.find('/') : std::string_view::npos;
  range.ports = parse_ports(text.substr(0, slash), '-');
  if (slash != std::string_view::npos) {
    const auto base = parse_number(text.substr(slash + 1));
    if (!base || *base > 65535) return false;
    range.base = static_cast<std::uint16_t>(*base);
  }
  return range.ports && range.ports->first != 0;
}

/// IPv4: addresses[:ports]. IPv6: addresses, or [addresses]:ports. Addresses may be left out.
std::optional<NatRange> parse_nat_range(std::string_view text, net::Family family, bool may_shift) {
  NatRange range;
  std::string_view addresses = text, ports;
  bool has_ports = false;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    addresses = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
    has_ports = !rest.empty();
    if (has_ports) ports = rest.substr(1);
  } else if (const std::size_t colon = text.find(':');
             colon != std::string_view::npos && (family == net::Family::v4 || text.starts_with(':'))) {
    // "::1" begins with a colon too, but then another follows.
    if (family == net::Family::v4 || !text.starts_with("::")) {
      addresses = text.substr(0, colon);
      ports = text.substr(colon + 1);
      has_ports = true;
    }
  }
  if (!addresses.empty() && !(range.addresses = parse_addresses(addresses, family))) return std::nullopt;
  if (has_ports && !parse_nat_ports(ports, may_shift, range)) return std::nullopt;
  if (!range.addresses && !range.ports) return std::nullopt;
  return range;
}

/// DNAT and SNAT: what they have in common.
template <typename Nat>
class NatReader final : public TargetReader {
 public:
  explicit NatReader(net::Family family) : family_(family) {}
  bool read(Options& options) override {
    const std::string& name = options.name();
    if (name == kTo) return read_range(options), true;
    if (name == "--random") return nat_.random = true;
    if (name == "--persistent") return nat_.persistent = true;
    if constexpr (!kDestination) {
      if (name == "--random-fully") return nat_.random_fully = true;
    }
    return false;
  }
  Target finish(Options& options) override {
    if (!given_) options.fail(kDestination ? "-j DNAT" : "-j SNAT", "needs " + std::string(kTo));
    return nat_;
  }

 private:
  static constexpr bool kDestination = std::is_same_v<Nat, Dnat>;
  static constexpr std::string_view kTo = kDestination ? "--to-destination" : "--to-source";

  void read_range(Options& options) {
    if (std::exchange(given_, true)) {
      return options.fail("is given twice; since Linux 2.6.11 one range is all that the kernel takes");
    }
    const std::string text = options.value();
    const auto range = parse_nat_range(text, family_, kDestination);
    if (!range) {
      return options.fail("'" + text + "' is no address, range or port of this family (" +
                          (family_ == net::Family::v4 ? "10.0.0.1:80, 10.0.0.1-10.0.0.9" : "[fd00::1]:80") + ")");
    }
    nat_.to = *range;
  }

  net::Family family_;
  bool given_ = false;
  Nat nat_;
};

/// REDIRECT and MASQUERADE: ports alone.
template <typename Nat>
class PortsReader final : public TargetReader {
 public:
  bool read(Options& options) override {
    const std::string& name = options.name();
    if (name == "--to-ports") return read_ports(options), true;
    if (name == "--random") return nat_.random = true;
    if constexpr (std::is_same_v<Nat, Masquerade>) {
      if (name == "--random-fully") return nat_.random_fully = true;
    }
    return false;
  }
  Target finish(Options&) override { return nat_; }

 private:
  void read_ports(Options& options) {
    const std::string text = options.value();
    NatRange range;
    if (nat_.ports) return options.fail("is given twice");
    if (!parse_nat_ports(text, false, range)) return options.fail("'" + text + "' is no port and no range (8000-8010)");
    nat_.ports = range.ports;
  }

  Nat nat_;
};

}  // namespace

std::unique_ptr<TargetReader> make_target_reader(const std::string& name, net::Family family) {
  if (name == "ACCEPT") return std::make_unique<PlainReader>(Accept{});
  if (name == "DROP") return std::make_unique<PlainReader>(Drop{});
  if (name == "RETURN") return std::make_unique<PlainReader>(Return{});
  if (name == "REJECT") return std::make_unique<RejectReader>(family);
  if (name == "MARK") return std::make_unique<MarkReader>();
  if (name == "DNAT") return std::make_unique<NatReader<Dnat>>(family);
  if (name == "SNAT") return std::make_unique<NatReader<Snat>>(family);
  if (name == "REDIRECT") return std::make_unique<PortsReader<Redirect>>();
  if (name == "MASQUERADE") return std::make_unique<PortsReader<Masquerade>>();
  return std::make_unique<PlainReader>(Jump{name});
}

}  // namespace limpet::rules
