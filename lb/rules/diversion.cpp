#include "lb/rules/diversion.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include "lb/rules/demands.h"
#include "lb/rules/known_destination.h"
#include "lb/rules/meaning.h"
#include "lb/rules/protocol_names.h"

namespace limpet::rules {
namespace {

/// Of chains, each with what is known there.
constexpr std::size_t kMostVisits = 1'000'000;

bool is_translatable(std::uint8_t protocol) {
  using enum net::Protocol;
  return std::ranges::any_of(std::array{tcp, udp, sctp, udplite},
                             [&](net::Protocol one) { return static_cast<std::uint8_t>(one) == protocol; });
}

net::Address unspecified(net::Family family) {
  return mask_of_length(family, 0);
}

/// The bytes as they count, the lowest last.
net::Address with_bytes(const net::Address& like, const auto& change) {
  std::array<std::byte, 16> bytes{};
  std::ranges::copy(like.bytes(), bytes.begin());
  for (std::size_t i = like.size(); i-- > 0;) bytes[i] = std::byte(change(i, std::to_integer<unsigned>(bytes[i])));
  return net::Address::from_wire(like.family(), bytes.data());
}

net::Address advanced(const net::Address& address, std::uint64_t by) {
  std::uint64_t carry = by;
  return with_bytes(address, [&](std::size_t, unsigned byte) {
    const std::uint64_t sum = byte + (carry & 0xff);
    carry = (carry >> 8) + (sum >> 8);
    return sum & 0xff;
  });
}

/// The highest address whose bits under `mask` are those of `value`.
net::Address last_of(const net::Address& value, const net::Address& mask) {
  const auto bits = mask.bytes();
  return with_bytes(value,
                    [&](std::size_t i, unsigned byte) { return byte | (~std::to_integer<unsigned>(bits[i]) & 0xff); });
}

/// How many addresses; no more than `most` + 1 are counted.
std::uint64_t count(const net::Address& first, const net::Address& last, std::uint64_t most) {
  std::uint64_t difference = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const auto high = std::to_integer<std::uint64_t>(last.bytes()[i]),
               low = std::to_integer<std::uint64_t>(first.bytes()[i]);
    difference = difference * 256 + high - low;  // never below 0 after the first byte that differs
    if (difference > most) return most + 1;
  }
  return difference + 1;
}

std::uint64_t count(const PortRange& ports) {
  return std::uint64_t{ports.last} - ports.first + 1;
}

/// What to write into a rule, or before it, so that its destinations can be counted; "" if they can be.
std::string lacking(const KnownDestination& known) {
  std::string words;
  if (known.protocol && (known.network || known.local)) return words;
  const auto add = [&](const char* word) { words += (words.empty() ? "" : ", ") + std::string(word); };
  if (!known.protocol) add("-p");
  if (!known.network && !known.local) add("-d ADDRESS (or -m addrtype --dst-type LOCAL)");
  if (known.ports == std::vector{KnownDestination::kAllPorts}) add("--dport");
  return words;
}

bool ends_chain(const Target& target) {
  return !std::holds_alternative<NoTarget>(target) && !std::holds_alternative<SetMark>(target) &&
         !std::holds_alternative<Jump>(target);
}

/// "namespace/name:port" of its comments, "" if they have none.
std::string_view service_in(const Rule& rule) {
  for (const Match& match : rule.matches) {
    const auto* const comment = std::get_if<CommentMatch>(&match);
    const std::string_view name = comment == nullptr ? std::string_view() : service_name(comment->text);
    if (!name.empty()) return name;
  }
  return {};
}

}  // namespace

bool Places::holds(net::Protocol of, const net::AddressPort& at) const noexcept {
  return of == protocol && at.address.family() == first.family() && first <= at.address && at.address <= last &&
         ports.contains(at.port);
}

/// Follows the rules of one table from one hook.
class Diversion::Finder {
 public:
  Finder(Diversion& result, const TableRules& table, const std::string& file)
      : result_(result), table_(table), file_(file) {
    for (const Chain& chain : table.chains) chains_.emplace(chain.name, &chain);
    for (const Chain& chain : table.chains) {
      for (const Rule& rule : chain.rules) dissected_.emplace(&rule, dissect(rule));
    }
  }

  void follow(std::string_view hook) {
    at_output_ = hook == "OUTPUT";
    seen_.clear();
    go(hook, {}, 0, {});
    while (!open_.empty()) {
      const Visit visit = std::move(open_.back());
      open_.pop_back();
      look(visit);
    }
  }

 private:
  struct Visit {
    const Chain* chain;
    KnownDestination known;
    std::size_t from;          // the line that led here
    std::string_view service;  // that a comment on the way named first
  };

  void go(std::string_view name, const KnownDestination& known, std::size_t from, std::string_view service) {
    const auto found = chains_.find(name);
    if (found == chains_.end() || !seen_.emplace(found->second, known).second) return;
    if (seen_.size() <= kMostVisits) return open_.push_back({found->second, known, from, service});
    if (seen_.size() > kMostVisits + 1) return;
    result_.errors_.push_back({file_, 0,
                               "more than " + std::to_string(kMostVisits) +
                                   " ways lead through these chains: too many to tell what they translate"});
  }

  void look(const Visit& visit) {
    KnownDestination here = visit.known;
    for (const Rule& rule : visit.chain->rules) {
      const Dissected& asked = dissected_.at(&rule);
      KnownDestination that = here;
      if (!std::ranges::all_of(asked.demands, [&](const Demand& demand) { return that.narrow(demand); })) continue;
      obey(rule, asked, that, visit);
      if (asked.events.empty() && ends_chain(rule.target) && !leave_over(asked.demands, here)) return;
    }
  }

  /// Who does not fulfil these demands. False: there is nobody.
  static bool leave_over(const Demands& demands, KnownDestination& here) {
    const Demand* undecided = nullptr;
    for (const Demand& demand : demands) {
      KnownDestination others = here;
      if (!others.narrow(opposite(demand))) continue;
      if (undecided != nullptr) return true;  // to fail either is enough
      undecided = &demand;
    }
    return undecided != nullptr && here.narrow(opposite(*undecided));
  }

  void obey(const Rule& rule, const Dissected& asked, const KnownDestination& known, const Visit& visit) {
    const std::string_view service = visit.service.empty() ? service_in(rule) : visit.service;
    if (const auto* const jump = std::get_if<Jump>(&rule.target)) return go(jump->chain, known, rule.line, service);
    if (const auto* const gone = std::get_if<Goto>(&rule.target)) return go(gone->chain, known, rule.line, service);
    if (std::holds_alternative<Dnat>(rule.target) || std::holds_alternative<Redirect>(rule.target)) {
      return translate(rule, known, visit.from, service);
    }
    const bool refuses = std::holds_alternative<Drop>(rule.target) || std::holds_alternative<Reject>(rule.target);
    if (refuses && asked.events.empty() && std::ranges::all_of(asked.demands, asks_of_destination_alone)) refuse(known);
  }

  void fault(const Rule& rule, std::size_t from, const std::string& message) {
    if (!faults_.insert(&rule).second) return;
    const std::string way = from == 0 ? "" : " (by line " + std::to_string(from) + ")";
    result_.errors_.push_back({file_, rule.line, message + way});
  }

  void translate(const Rule& rule, const KnownDestination& known, std::size_t from, std::string_view service) {
    const std::string word = std::holds_alternative<Dnat>(rule.target) ? "-j DNAT" : "-j REDIRECT";
    if (known.protocol && !is_translatable(*known.protocol)) {
      return fault(rule, from,
                   word + ": limpet translates tcp, udp, sctp and udplite, not " + protocol_name(*known.protocol));
    }
    if (const std::string words = lacking(known); !words.empty()) {
      return fault(rule, from,
                   word +
                       " of whatever comes here cannot be diverted, for packets are diverted by protocol, address and "
                       "port; add " +
                       words + " to it, or to the rules that lead here");
    }
    std::vector<Places> doors, goals;
    for (const PortRange& ports : known.ports) {
      doors.push_back(places(known, ports));
      goals.push_back(goal(doors.back(), rule.target));
    }
    if (total(doors) > kMost || total(goals) > kMost) {
      return fault(rule, from,
                   word + " of more than " + std::to_string(kMost) +
                       " destinations, or to more: each is diverted by itself; name fewer addresses and ports");
    }
    for (const Places& door : doors) result_.doors_.push_back({door, rule.line, std::string(service)});
    result_.goals_.insert(result_.goals_.end(), goals.begin(), goals.end());
    if (at_output_ && std::holds_alternative<Redirect>(rule.target)) add_loopback(goals);
  }

  /// REDIRECT sends the node's own connections there.
  void add_loopback(std::vector<Places> goals) {
    for (Places& goal : goals) {
      goal.local = false;
      goal.first = goal.last = goal.first.is_v4() ? net::Address::from_v4(0x7f000001) : *net::Address::parse("::1");
    }
    result_.goals_.insert(result_.goals_.end(), goals.begin(), goals.end());
  }

  Places places(const KnownDestination& known, const PortRange& ports) const {
    const net::Address none = unspecified(result_.family_);
    const auto& [value, mask] = known.network.value_or(std::pair(none, none));
    return {static_cast<net::Protocol>(*known.protocol), value, last_of(value, mask), known.local, ports};
  }

  Places goal(const Places& door, const Target& target) const {
    Places goal = door;
    if (const auto* const dnat = std::get_if<Dnat>(&target)) {
      goal.ports = dnat->to.ports.value_or(goal.ports);
      if (!dnat->to.addresses) return goal;
      goal.local = false;
      goal.first = dnat->to.addresses->first;
      goal.last = dnat->to.addresses->last;
      return goal;
    }
    KnownDestination anything;
    anything.protocol = static_cast<std::uint8_t>(door.protocol);
    goal = places(anything, std::get<Redirect>(target).ports.value_or(door.ports));
    goal.local = true;
    return goal;
  }

  static std::uint64_t total(const std::vector<Places>& all) {
    std::uint64_t sum = 0;
    for (const Places& one : all) {
      sum += (one.local ? 1 : count(one.first, one.last, kMost)) * count(one.ports);
    }
    return sum;
  }

  void refuse(const KnownDestination& known) {
    if (!known.protocol || !is_translatable(*known.protocol) || !known.network || known.local) return;
    if (length_of_mask(known.network->second) != known.network->second.bits()) return;
    for (const PortRange& ports : known.ports) {
      if (ports.first == ports.last) result_.refusals_.push_back(places(known, ports));
    }
  }

  Diversion& result_;
  const TableRules& table_;
  const std::string& file_;
  std::unordered_map<std::string_view, const Chain*> chains_;
  std::unordered_map<const Rule*, Dissected> dissected_;
  std::vector<Visit> open_;
  std::set<std::pair<const Chain*, KnownDestination>> seen_;
  std::set<const Rule*> faults_;
  bool at_output_ = false;
};

Diversion::Diversion(const Ruleset& rules, const std::string& file) : family_(rules.family) {
  for (const TableRules& table : rules.tables) {
    Finder finder(*this, table, file);
    for (const char* const hook : {"PREROUTING", "INPUT", "FORWARD", "OUTPUT"}) {
      if (is_built_in(table.table, hook)) finder.follow(hook);
    }
  }
  std::ranges::sort(errors_, {}, &store::LineError::line);
  std::ranges::stable_sort(doors_, {}, &Door::places);
  doors_.erase(std::ranges::unique(doors_, {}, &Door::places).begin(), doors_.end());
  datapath::sort_unique(goals_);
  datapath::sort_unique(refusals_);
  for (std::size_t i = 0; i < doors_.size(); ++i) {
    const Places& places = doors_[i].places;
    const bool everywhere = places.local && places.first.is_unspecified();
    const bool single = places.ports.first == places.ports.last && (everywhere || places.first == places.last);
    if (single) {
      singles_.emplace(datapath::L4Address{places.protocol, {places.first, places.ports.first}}, i);
    } else {
      others_.push_back(i);
    }
  }
}

const Diversion::Door* Diversion::door_at(net::Protocol protocol, const net::AddressPort& at, bool local) const {
  if (at.address.family() != family_) return nullptr;
  const auto single = [&](const net::Address& address) {
    const auto found = singles_.find({protocol, {address, at.port}});
    return found == singles_.end() ? nullptr : &doors_[found->second];
  };
  const auto fits = [&](const Door* door) {
    return door != nullptr && (local || !door->places.local) && door->places.holds(protocol, at);
  };
  const Door* const here = single(at.address);
  if (fits(here)) return here;
  const Door* const everywhere = single(unspecified(family_));
  if (fits(everywhere)) return everywhere;
  const auto other = std::ranges::find_if(others_, [&](std::size_t i) { return fits(&doors_[i]); });
  return other == others_.end() ? nullptr : &doors_[*other];
}

bool Diversion::has_local_doors() const noexcept {
  return std::ranges::any_of(doors_, [](const Door& door) { return door.places.local; });
}

datapath::DiversionPlan Diversion::plan(const node::NodeView& node, bool localhost) const {
  std::vector<net::Address> own;
  for (const node::InterfaceAddress& one : node.addresses()) {
    if (one.address.family() == family_ && !one.address.is_loopback()) own.push_back(one.address);
  }
  const auto each = [](const Places& places, const std::vector<net::Address>& locals, const auto& act) {
    const auto each_port = [&](const net::Address& address) {
      for (std::uint32_t port = places.ports.first; port <= places.ports.last; ++port) {
        act(datapath::L4Address{places.protocol, {address, static_cast<std::uint16_t>(port)}});
      }
    };
    if (places.local) {
      for (const net::Address& address : locals) {
        if (places.first <= address && address <= places.last) each_port(address);
      }
      return;
    }
    const std::uint64_t addresses = count(places.first, places.last, kMost);
    for (std::uint64_t i = 0; i < addresses; ++i) each_port(advanced(places.first, i));
  };
  datapath::DiversionPlan plan;
  plan.locals = own;
  for (const Places& goal : goals_) each(goal, own, [&](const auto& at) { plan.endpoints.push_back(at); });
  datapath::sort_unique(plan.endpoints);
  for (const Places& refusal : refusals_) {
    each(refusal, own, [&](const auto& at) {
      const bool taken = node.is_local(at.at.address) || std::ranges::binary_search(plan.endpoints, at);
      if (!taken) plan.services.push_back(at);
    });
  }
  if (localhost && family_ == net::Family::v4) own.push_back(net::Address::from_v4(0x7f000001));
  for (const Door& door : doors_) each(door.places, own, [&](const auto& at) { plan.services.push_back(at); });
  datapath::sort_unique(plan.services);
  datapath::sort_unique(plan.locals);
  return plan;
}

}  // namespace limpet::rules
