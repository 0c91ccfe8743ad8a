#include "lb/divert/rules.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "lb/divert/plan_parts.h"
#include "lb/divert/sets.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using net::Family;
using net::Protocol;

/// What waits when nobody reads the queue (header).
enum class Kind { request, reply, optional };

std::string queue_target(const Options& options, Kind kind) {
  std::string target = " -j NFQUEUE";
  if (options.queue_count > 1) {
    const unsigned last = options.first_queue + options.queue_count - 1U;
    target += " --queue-balance " + std::to_string(options.first_queue) + ":" + std::to_string(last);
  } else {
    target += " --queue-num " + std::to_string(options.first_queue);
  }
  const bool bypass = kind == Kind::optional || (kind == Kind::reply && options.on_death == OnDeath::bypass);
  return target + (bypass ? " --queue-bypass\n" : "\n");
}

enum class Side { source, destination };

std::string address_match(Side side, const net::Address& address) {
  return (side == Side::source ? " -s " : " -d ") + net::Prefix(address, address.bits()).to_string();
}

std::string icmp_match(Protocol protocol, const std::string& type) {
  return protocol == Protocol::icmp ? " -p icmp -m icmp --icmp-type " + type
                                    : " -p ipv6-icmp -m icmp6 --icmpv6-type " + type;
}

std::string port_match(Side side, const L4Address& at) {
  const std::string address = address_match(side, at.at.address);
  const std::string port = std::to_string(at.at.port);
  const bool source = side == Side::source;
  if (is_icmp(at.protocol)) {
    return address + icmp_match(at.protocol, std::to_string(at.at.port >> 8) + "/" + std::to_string(at.at.port & 0xff));
  }
  if (at.protocol == Protocol::udplite) {
    return address + " -p udplite -m multiport" + (source ? " --sports " : " --dports ") + port;
  }
  const std::string protocol = net::to_string(at.protocol);
  return address + " -p " + protocol + " -m " + protocol + (source ? " --sport " : " --dport ") + port;
}

std::string set_match(Family family, SetRole role, std::string_view directions) {
  return " -m set --match-set " + set_name(family, role) + " " + std::string(directions);
}

std::string mark_match(std::uint32_t mask) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), " -m mark --mark 0x%x/0x%x", mask, mask);
  return text.data();
}

std::string jump(std::string_view chain) {
  return " -j " + std::string(chain) + "\n";
}

bool can_match(Protocol protocol, Abilities able) noexcept {
  switch (protocol) {
    case Protocol::sctp:
      return able.sctp;
    case Protocol::udplite:
      return able.multiport;
    case Protocol::icmp:
    case Protocol::icmp6:
      return able.icmp;
    case Protocol::tcp:
    case Protocol::udp:
      break;
  }
  return true;
}

/// Writes the rules of one table, one chain after the other.
class Renderer {
 public:
  Renderer(Family family, const DiversionPlan& plan, const Options& options, Abilities able)
      : family_(family),
        plan_(plan),
        options_(options),
        able_(able),
        request_(queue_target(options, Kind::request)),
        reply_(queue_target(options, Kind::reply)),
        optional_(queue_target(options, Kind::optional)) {}

  std::string raw() {
    if (able_.socket && options_.defragment == Defragment::automatic) {
      rule("LIMPET-PREROUTING", defragmenting_match(family_) + "\n");
    }
    to_service("LIMPET-PREROUTING", false);
    masqueraded_replies();
    to_refused("LIMPET-PREROUTING");
    to_endpoint("LIMPET-PREROUTING");
    icmp_errors("LIMPET-PREROUTING");
    notrack();
    to_service("LIMPET-OUTPUT", true);
    to_refused("LIMPET-OUTPUT");
    to_endpoint("LIMPET-OUTPUT");
    icmp_errors("LIMPET-OUTPUT");
    if (able_.icmp) rule(kIcmpChain, mark_match(options_.mark_mask) + " -j RETURN\n");
    icmp_types();
    if (queues_fragments(family_, options_, able_)) fragments_to_node();
    return std::move(text_);
  }

  std::string mangle() {
    rule("LIMPET-POSTROUTING", mark_match(options_.mark_mask) + request_);
    from_endpoint("LIMPET-POSTROUTING", reply_);
    icmp_errors("LIMPET-POSTROUTING");
    from_endpoint("LIMPET-INPUT", reply_);
    icmp_errors("LIMPET-INPUT");
    icmp_types();
    if (queues_fragments(family_, options_, able_)) fragments_from_endpoints();
    return std::move(text_);
  }

 private:
  void rule(std::string_view chain, const std::string& rest) { text_.append("-A ").append(chain).append(rest); }

  bool in_set(const std::vector<L4Address>& list) const noexcept {
    const auto matchable = [&](const L4Address& entry) { return can_match(entry.protocol, able_); };
    return able_.sets && (list.size() > options_.short_list || !std::all_of(list.begin(), list.end(), matchable));
  }

  void to_service(std::string_view chain, bool with_loopback) {
    if (in_set(plan_.services)) {
      const char* const loopback = family_ == Family::v4 ? " ! -d 127.0.0.0/8" : " ! -d ::1/128";
      return rule(chain, (with_loopback ? "" : loopback) + set_match(family_, SetRole::services, "dst,dst") + request_);
    }
    for (const L4Address& service : plan_.services) {
      if (!with_loopback && service.at.address.is_loopback()) continue;
      rule(chain, port_match(Side::destination, service) + request_);
    }
  }

  /// Whatever is no service's there. Echo requests to a service are matched before.
  void to_refused(std::string_view chain) {
    const std::string others = family_ == Family::v4 ? " ! -p icmp" : " ! -p ipv6-icmp";
    for (const net::Prefix& prefix : plan_.prefixes) rule(chain, " -d " + prefix.to_string() + others + request_);
    if (able_.sets && plan_.addresses.size() > options_.short_list) {
      return rule(chain, others + set_match(family_, SetRole::addresses, "dst") + request_);
    }
    for (const net::Address& address : plan_.addresses) {
      rule(chain, address_match(Side::destination, address) + others + request_);
    }
  }

  void from_endpoint(std::string_view chain, const std::string& target) {
    if (in_set(plan_.endpoints)) return rule(chain, set_match(family_, SetRole::endpoints, "src,src") + target);
    for (const L4Address& endpoint : plan_.endpoints) rule(chain, port_match(Side::source, endpoint) + target);
  }

  void to_endpoint(std::string_view chain) {
    if (!options_.direct) return;
    if (in_set(plan_.endpoints)) return rule(chain, set_match(family_, SetRole::endpoints, "dst,dst") + optional_);
    for (const L4Address& endpoint : plan_.endpoints) rule(chain, port_match(Side::destination, endpoint) + optional_);
  }

  void masqueraded_replies() {
    if (able_.sets) return from_endpoint("LIMPET-PREROUTING", set_match(family_, SetRole::locals, "dst") + reply_);
    for (const net::Address& local : plan_.locals)
      rule(kRepliesChain, address_match(Side::destination, local) + reply_);
    from_endpoint("LIMPET-PREROUTING", jump(kRepliesChain));
  }

  /// The CT target without a zone or a helper does not turn tracking on.
  void notrack() {
    if (!able_.notrack) return;
    const std::string answer = mark_match(options_.mark_mask) + " -j CT --notrack\n";
    rule("LIMPET-OUTPUT", (family_ == Family::v4 ? " -p icmp" : " -p ipv6-icmp") + answer);
    if (options_.reset_rejected_tcp) rule("LIMPET-OUTPUT", " -p tcp -m tcp --tcp-flags RST RST" + answer);
  }

  void icmp_errors(std::string_view chain) {
    if (able_.icmp) rule(chain, (family_ == Family::v4 ? " -p icmp" : " -p ipv6-icmp") + jump(kIcmpChain));
  }

  void icmp_types() {
    if (!able_.icmp) return;
    if (family_ == Family::v4) {
      // Destination unreachable, source quench, redirect, time exceeded, parameter problem.
      for (const char* type : {"3", "4", "5", "11", "12"})
        rule(kIcmpChain, icmp_match(Protocol::icmp, type) + optional_);
    } else {
      // Destination unreachable, packet too big, time exceeded, parameter problem.
      for (const char* type : {"1", "2", "3", "4"}) rule(kIcmpChain, icmp_match(Protocol::icmp6, type) + optional_);
    }
  }

  /// Packets with a fragment header (IPv6: first ones, too, which the chain sends back).
  void to_fragments(std::string_view chain) {
    rule(chain, (family_ == Family::v4 ? " -f" : " -m frag") + jump(kFragmentsChain));
    if (family_ == Family::v6) rule(kFragmentsChain, " -m frag --fragfirst -j RETURN\n");
  }

  void fragments_to_node() {
    to_fragments("LIMPET-PREROUTING");
    if (able_.sets) {
      rule(kFragmentsChain, set_match(family_, SetRole::vips, "dst") + request_);
      return rule(kFragmentsChain, set_match(family_, SetRole::locals, "dst") + optional_);
    }
    for (const net::Address& vip : vips(plan_)) rule(kFragmentsChain, address_match(Side::destination, vip) + request_);
    for (const net::Address& own : plan_.locals)
      rule(kFragmentsChain, address_match(Side::destination, own) + optional_);
  }

  /// IPv4 datagrams are put together before INPUT.
  void fragments_from_endpoints() {
    to_fragments("LIMPET-POSTROUTING");
    if (family_ == Family::v6) rule("LIMPET-INPUT", " -m frag" + jump(kFragmentsChain));
    if (able_.sets) return rule(kFragmentsChain, set_match(family_, SetRole::hosts, "src") + reply_);
    for (const net::Address& host : hosts(plan_)) rule(kFragmentsChain, address_match(Side::source, host) + reply_);
  }

  Family family_;
  const DiversionPlan& plan_;
  const Options& options_;
  Abilities able_;
  std::string request_;
  std::string reply_;
  std::string optional_;
  std::string text_;
};

std::string declare(std::string_view chain) {
  return ":" + std::string(chain) + " - [0:0]\n";
}

/// To the top with it, wherever it was.
std::string guard_jump(const Traces& present) {
  std::string text;
  for (const std::string& rule : present.guard_jumps) text += delete_rule(rule);
  return text + "-I PREROUTING 1 ! -i lo" + jump(kGuardChain);
}

/// The chains that the transaction fills.
std::vector<std::string_view> chains_of(Table table, Family family, const Options& options, Abilities able) {
  std::vector<std::string_view> chains;
  for (const Hooked& hook : hooked(table)) chains.push_back(hook.chain);
  if (able.icmp) chains.push_back(kIcmpChain);
  if (queues_fragments(family, options, able)) chains.push_back(kFragmentsChain);
  if (table == Table::raw && !able.sets) chains.push_back(kRepliesChain);
  return chains;
}

}  // namespace

bool queues_fragments(Family family, const Options& options, Abilities able) noexcept {
  const bool apart = options.defragment == Defragment::never || !able.socket;
  return apart && (family == Family::v4 || able.frag);
}

std::string unmatchable(const DiversionPlan& plan, Abilities able) {
  if (able.sets) return "";
  const auto uses = [&](Protocol protocol) {
    const auto is = [protocol](const L4Address& entry) { return entry.protocol == protocol; };
    return std::any_of(plan.services.begin(), plan.services.end(), is) ||
           std::any_of(plan.endpoints.begin(), plan.endpoints.end(), is);
  };
  if (!able.sctp && uses(Protocol::sctp)) return "SCTP (match sctp)";
  if (!able.multiport && uses(Protocol::udplite)) return "UDP-Lite (match multiport)";
  if (!able.icmp && (uses(Protocol::icmp) || uses(Protocol::icmp6))) return "ICMP (matches icmp, icmp6)";
  return "";
}

std::string defragmenting_match(Family family) {
  // Sources that no packet has: the limited broadcast address; a multicast address without a group.
  return std::string(family == Family::v4 ? " -s 255.255.255.255/32" : " -s ff00::/128") + " -m socket";
}

std::string render_install(Table table, Family family, const DiversionPlan& plan, const Options& options,
                           Abilities able, const Traces& present) {
  const std::vector<std::string_view> chains = chains_of(table, family, options, able);
  std::vector<std::string> stale = present.chains;  // what a run with other abilities filled
  std::erase_if(
      stale, [&](const std::string& chain) { return std::find(chains.begin(), chains.end(), chain) != chains.end(); });
  std::string text = "*" + std::string(to_string(table)) + "\n";
  for (const std::string_view chain : chains) text += declare(chain);
  for (const std::string& chain : stale) text += declare(chain);
  Renderer renderer(family, plan, options, able);
  text += table == Table::raw ? renderer.raw() : renderer.mangle();
  for (const std::string& rule : present.jumps) text += delete_rule(rule);
  for (const Hooked& hook : hooked(table)) {
    text.append("-I ").append(hook.base).append(" 1 -j ").append(hook.chain).append("\n");
  }
  if (present.guard) text += guard_jump(present);
  for (const std::string& chain : stale) text += "-X " + chain + "\n";
  return text + "COMMIT\n";
}

std::string render_guard(const Traces& present) {
  const std::string chain(kGuardChain);
  std::string text = "*raw\n" + declare(chain);
  for (const char* side : {" -d", " -s"}) text += "-A " + chain + side + " 127.0.0.0/8 -j DROP\n";
  return text + guard_jump(present) + "COMMIT\n";
}

}  // namespace limpet::divert
