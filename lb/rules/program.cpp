#include "lb/rules/program.h"

#include <algorithm>
#include <utility>

#include "lb/rules/jiffies.h"
#include "lb/rules/nat_choice.h"
#include "lb/rules/rule_options.h"
#include "lb/rules/rule_text.h"
#include "lb/rules/target_text.h"

namespace limpet::rules {
namespace {

using datapath::Action;
using datapath::AffinityOutcome;
using datapath::Decision;
using datapath::Hook;
using datapath::Reason;

/// Where REDIRECT sends a packet (nf_nat_redirect.c): to the node itself, by the interface that it came in by, if that is
/// known, else to the node's primary address.
net::Address own_address(const net::Address& destination, Hook hook, std::uint32_t in_interface,
                         const node::NodeView& node) {
  static const net::Address kLoopback4 = net::Address::from_v4(0x7f000001);
  static const net::Address kLoopback6 = *net::Address::parse("::1");
  if (hook == Hook::output) return destination.is_v4() ? kLoopback4 : kLoopback6;
  if (in_interface == 0) return node.primary(destination.family()).value_or(destination);
  for (const node::InterfaceAddress& own : node.addresses()) {
    const bool fits = own.interface == in_interface && own.address.family() == destination.family() && own.usable;
    if (fits && !own.secondary && (own.address.is_v4() || own.global_scope)) return own.address;
  }
  return destination;
}

std::string_view way_out(const net::Address& destination, const node::NodeView& node) {
  if (node.is_local(destination)) return "lo";
  const node::Route* const route = node.route_to(destination);
  return route != nullptr ? node.interface_name(route->interface) : "";
}

std::string name_of(const Target& target) {
  if (const auto* const nat = std::get_if<Redirect>(&target)) {
    return "this node" + (nat->ports ? ":" + to_string(*nat->ports, '-') : "");
  }
  constexpr std::string_view kBefore = "-j DNAT --to-destination ";
  const auto* const dnat = std::get_if<Dnat>(&target);
  return dnat == nullptr ? "" : print(Dnat{dnat->to}).substr(kBefore.size());
}

}  // namespace

std::vector<ProgramEndpoint> endpoints_of(const Ruleset& rules) {
  std::vector<ProgramEndpoint> endpoints;
  const TableRules* const nat = rules.find(Table::nat);
  if (nat == nullptr) return endpoints;
  std::unordered_map<std::string, bool> seen;
  for (const Chain& chain : nat->chains) {
    for (const Rule& rule : chain.rules) {
      std::string name = name_of(rule.target);
      if (name.empty() || !seen.emplace(name, true).second) continue;
      net::AddressPort first{rules.family == net::Family::v4 ? net::Address() : *net::Address::parse("::"), 0};
      if (const auto* const dnat = std::get_if<Dnat>(&rule.target)) {
        if (dnat->to.addresses) first.address = dnat->to.addresses->first;
        if (dnat->to.ports) first.port = dnat->to.ports->first;
      } else if (const auto& ports = std::get<Redirect>(rule.target).ports) {
        first.port = ports->first;
      }
      endpoints.push_back({std::move(name), first});
    }
  }
  return endpoints;
}

Program::Program(const datapath::EndpointSlots& slots, LinkedRuleset linked, RuleMemory& memory,
                 const std::vector<datapath::EndpointId>& ids)
    : Decider(slots), linked_(std::move(linked)), memory_(memory) {
  const TableRules* const nat = linked_.rules->find(Table::nat);
  if (nat == nullptr || ids.empty()) return;
  std::unordered_map<std::string, datapath::EndpointId> by_name;
  const std::vector<ProgramEndpoint> endpoints = endpoints_of(*linked_.rules);
  for (std::size_t i = 0; i < std::min(endpoints.size(), ids.size()); ++i) by_name.emplace(endpoints[i].text, ids[i]);
  for (const Chain& chain : nat->chains) {
    for (const Rule& rule : chain.rules) {
      const auto found = by_name.find(name_of(rule.target));
      if (found != by_name.end()) ids_.emplace(&rule, found->second);
    }
  }
}

/// One connection's way through the tables.
class Program::Traversal {
 public:
  Traversal(Program& program, const datapath::NewConnection& connection, const node::NodeView& node,
            const Moment& moment, std::vector<Hit>* hits)
      : program_(program), connection_(connection), node_(node), moment_(moment), hits_(hits) {
    facts_ = first_facts(connection, node);
  }

  Decision run() {
    const bool local = connection_.hook == Hook::output;
    const std::string_view hook = local ? "OUTPUT" : "PREROUTING";
    facts_.states = kInvalid;
    const bool ended = pass(Table::raw, hook) || (facts_.states = kNew, pass(Table::mangle, hook)) || translate(hook) ||
                       (local ? pass(Table::filter, hook) : deliver());
    if (!ended) leave();
    return conclude();
  }

 private:
  void route() { facts_.out_interface = way_out(facts_.tuple.destination.address, node_); }

  std::optional<Walk> walk(Table table, std::string_view chain) {
    const Chains* const chains = program_.linked_.find(table);
    if (chains == nullptr) return std::nullopt;
    const auto walk = chains->walk(chain, facts_, moment_, hits_);
    if (walk) {
      asked_ = asked_ || walk->asked;
      expired_ = expired_ || walk->expired;
    }
    return walk;
  }

  /// Through a chain that may end it all. True: it did.
  bool pass(Table table, std::string_view chain) {
    const auto walk = this->walk(table, chain);
    if (!walk || (walk->end != End::drop && walk->end != End::reject)) return false;
    decision_ = {};
    decision_.by_rules = true;
    decision_.action = walk->end == End::drop ? Action::drop : Action::reject;
    decision_.reason = Reason::ruled;
    return true;
  }

  /// nat: false, for nothing ends here.
  bool translate(std::string_view chain) {
    const auto walk = this->walk(Table::nat, chain);
    if (!walk || (walk->end != End::dnat && walk->end != End::redirect)) return false;
    decision_.action = Action::dnat;
    decision_.by_rules = true;
    decision_.endpoint = destination(walk->by->target);
    known_ = walk->known;
    if (const auto found = program_.ids_.find(walk->by); found != program_.ids_.end()) {
      decision_.endpoint_id = found->second;
    }
    facts_.tuple.destination = decision_.endpoint;
    facts_.states = kNew | kDnat;
    return false;
  }
  net::AddressPort destination(const Target& target) const {
    if (const auto* const nat = std::get_if<Dnat>(&target)) return choose_destination(*nat, facts_.tuple, moment_.rng);
    const auto& nat = std::get<Redirect>(target);
    net::AddressPort to = facts_.tuple.destination;
    to.address = own_address(to.address, connection_.hook, connection_.in_interface, node_);
    if (nat.ports) to.port = choose_port(*nat.ports, to.port, nat.random, moment_.rng);
    return to;
  }

  /// After PREROUTING. True: it ended.
  bool deliver() {
    here_ = node_.is_local(facts_.tuple.destination.address);
    if (!here_) route();
    const std::string_view chain = here_ ? "INPUT" : "FORWARD";
    return pass(Table::mangle, chain) || pass(Table::filter, chain);
  }

  /// POSTROUTING, which a packet to this node does not see.
  void leave() {
    if (here_) return;
    facts_.in_interface = {};
    // Where it leaves by is looked up again; the rest of OUTPUT still saw where it would have left by.
    if (connection_.hook == Hook::output) route();
    if (pass(Table::mangle, "POSTROUTING")) return;
    const auto walk = this->walk(Table::nat, "POSTROUTING");
    decision_.masquerade =
        decision_.action == Action::dnat && walk && (walk->end == End::masquerade || walk->end == End::snat);
  }

  Decision conclude() {
    if (decision_.action != Action::dnat) return decision_;
    decision_.affinity = !asked_    ? AffinityOutcome::none
                         : known_   ? AffinityOutcome::hit
                         : expired_ ? AffinityOutcome::expired
                                    : AffinityOutcome::miss;
    decision_.reason = known_ ? Reason::affinity : Reason::picked;
    if (!connection_.known_clients_only || known_) return decision_;
    Decision unknown;
    unknown.action = Action::drop;
    unknown.by_rules = true;
    unknown.reason = Reason::midstream;
    unknown.affinity = decision_.affinity;
    return unknown;
  }

  Program& program_;
  const datapath::NewConnection& connection_;
  const node::NodeView& node_;
  const Moment& moment_;
  std::vector<Hit>* const hits_;
  Facts facts_;
  Decision decision_;
  bool here_ = false;
  bool asked_ = false, expired_ = false, known_ = false;
};

Decision Program::decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                         pick::Rng& rng, std::vector<Hit>* hits) {
  if (connection.tuple.source.address.family() != linked_.rules->family) return {};
  const Moment moment{jiffies_at(now, memory_.lists.options().per_second), rng, connection.known_clients_only};
  return Traversal(*this, connection, node, moment, hits).run();
}

Facts first_facts(const datapath::NewConnection& connection, const node::NodeView& node) {
  Facts facts;
  facts.tuple = connection.tuple;
  facts.mark = connection.mark;
  facts.ttl = connection.ttl;
  facts.node = &node;
  if (connection.hook == Hook::output) {
    facts.out_interface = way_out(connection.tuple.destination.address, node);
  } else {
    facts.in_interface = node.interface_name(connection.in_interface);
  }
  return facts;
}

std::uint64_t Program::nth_turns() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& chains : linked_.tables) sum += chains ? chains->nth_turns() : 0;
  return sum;
}

std::string to_string(const Hit& hit, net::Family family) {
  const std::string words = print(*hit.rule, family);
  return std::string(to_string(hit.table)) + " " + *hit.chain + ":" + std::to_string(hit.number) +
         (words.empty() ? "" : " ") + words;
}

}  // namespace limpet::rules
