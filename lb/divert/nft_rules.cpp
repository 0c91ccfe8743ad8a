#include "lb/divert/nft_rules.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <vector>

#include "lb/divert/plan_parts.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using datapath::PlanDelta;
using net::Family;

const char* word(Family family) noexcept {
  return family == Family::v4 ? "ip" : "ip6";
}

const char* icmp(Family family) noexcept {
  return family == Family::v4 ? "icmp" : "icmpv6";
}

struct Chain {
  const char* name;  // the hook's, too
  int priority;
};
constexpr Chain kChains[] = {{"prerouting", -300}, {"output", -300}, {"postrouting", -150}, {"input", -150}};

std::string chain_head(const Chain& chain) {
  return std::string("\tchain ") + chain.name + " {\n\t\ttype filter hook " + chain.name + " priority " +
         std::to_string(chain.priority) + "; policy accept;\n";
}

// ---- sets ----

using Elements = std::vector<std::string>;

struct Set {
  const char* name;
  std::string type;
  Elements (*of)(const DiversionPlan& plan);
  /// What a change that leads to `after` does to elements that do not stand in the plan themselves. nullptr: they do.
  AddressDelta (*derived)(const DiversionPlan& after, const PlanDelta& delta) = nullptr;
};

std::string element(const L4Address& at) {
  const std::string address = at.at.address.to_string() + " . ";
  if (is_icmp(at.protocol)) {
    return address + std::to_string(at.at.port >> 8) + " . " + std::to_string(at.at.port & 0xff);
  }
  return address + net::to_string(at.protocol) + " . " + std::to_string(at.at.port);
}

Elements with_ports(const std::vector<L4Address>& list, bool of_icmp) {
  Elements found;
  for (const L4Address& entry : list) {
    if (is_icmp(entry.protocol) == of_icmp) found.push_back(element(entry));
  }
  return found;
}

Elements without_ports(const std::vector<net::Address>& list) {
  Elements found;
  for (const net::Address& address : list) found.push_back(address.to_string());
  return found;
}

std::array<Set, 7> sets(Family family) {
  const std::string address = family == Family::v4 ? "ipv4_addr" : "ipv6_addr";
  const std::string port = address + " . inet_proto . inet_service";
  const std::string message = address + " . " + icmp(family) + "_type . " + icmp(family) + "_code";
  return {{{"locals", address, [](const DiversionPlan& plan) { return without_ports(plan.locals); }},
           {"hosts", address, [](const DiversionPlan& plan) { return without_ports(hosts(plan)); }, hosts_delta},
           {"endpoints", port, [](const DiversionPlan& plan) { return with_ports(plan.endpoints, false); }},
           {"vips", address, [](const DiversionPlan& plan) { return without_ports(vips(plan)); }, vips_delta},
           {"addresses", address, [](const DiversionPlan& plan) { return without_ports(plan.addresses); }},
           {"services", port, [](const DiversionPlan& plan) { return with_ports(plan.services, false); }},
           {"echoes", message, [](const DiversionPlan& plan) { return with_ports(plan.services, true); }}}};
}

std::string join(const Elements& elements) {
  std::string text;
  for (const std::string& one : elements) text.append(text.empty() ? "" : ", ").append(one);
  return text;
}

std::string set_declaration(const Set& set, const Elements& elements) {
  std::string text = std::string("\tset ") + set.name + " {\n\t\ttype " + set.type + "\n";
  if (!elements.empty()) text += "\t\telements = { " + join(elements) + " }\n";
  return text + "\t}\n";
}

// ---- rules ----

/// Writes the rules of the four chains.
class Renderer {
 public:
  Renderer(Family family, const DiversionPlan& plan, const Options& options, NftAbilities able)
      : ip_(word(family)), icmp_(icmp(family)), family_(family), plan_(plan), options_(options), able_(able) {
    queue_ = "queue num " + std::to_string(options.first_queue);
    if (options.queue_count > 1) queue_ += "-" + std::to_string(options.first_queue + options.queue_count - 1U);
    optional_ = queue_ + " bypass";
    reply_ = options.on_death == OnDeath::bypass ? optional_ : queue_;
    std::array<char, 40> text;
    std::snprintf(text.data(), text.size(), "meta mark & 0x%x ", options.mark_mask);
    mark_ = text.data();
    std::snprintf(text.data(), text.size(), "== 0x%x ", options.mark_mask);
    marked_ = mark_ + text.data();
  }

  std::string chain(const Chain& chain) {
    text_ = chain_head(chain);
    const std::string_view name = chain.name;
    if (name == "prerouting") prerouting();
    if (name == "output") output();
    if (name == "postrouting") postrouting();
    if (name == "input") input();
    return text_ + "\t}\n";
  }

 private:
  void rule(const std::string& text) { text_ += "\t\t" + text + "\n"; }

  void prerouting() {
    if (!queues_fragments()) rule(nft_defragmenting_rule(family_));
    to_service(family_ == Family::v4 ? "ip daddr != 127.0.0.0/8 " : "ip6 daddr != ::1 ");
    rule(from_endpoint() + ip_ + " daddr @locals " + reply_);
    to_refused();
    to_endpoint();
    icmp_errors("");
    if (!queues_fragments()) return;
    rule(later_fragment() + ip_ + " daddr @vips " + queue_);
    rule(later_fragment() + ip_ + " daddr @locals " + optional_);
  }

  void output() {
    if (able_.notrack) {
      rule(marked_ + "meta l4proto " + icmp_ + " notrack");
      if (options_.reset_rejected_tcp) rule(marked_ + "tcp flags & rst == rst notrack");
    }
    to_service("");
    to_refused();
    to_endpoint();
    icmp_errors(mark_ + "== 0x0 ");
  }

  void postrouting() {
    rule(marked_ + queue_);
    rule(from_endpoint() + reply_);
    icmp_errors("");
    if (queues_fragments()) rule(later_fragment() + ip_ + " saddr @hosts " + reply_);
  }

  void input() {
    rule(from_endpoint() + reply_);
    icmp_errors("");
    if (queues_fragments() && family_ == Family::v6) rule(later_fragment() + ip_ + " saddr @hosts " + reply_);
  }

  void to_service(const std::string& restriction) {
    rule(restriction + ip_ + " daddr . meta l4proto . th dport @services " + queue_);
    const bool echo = std::any_of(plan_.services.begin(), plan_.services.end(),
                                  [](const L4Address& service) { return is_icmp(service.protocol); });
    if (echo) rule(ip_ + " daddr . " + icmp_ + " type . " + icmp_ + " code @echoes " + queue_);
  }

  void to_refused() {
    const std::string others = std::string("meta l4proto != ") + (family_ == Family::v4 ? "icmp " : "icmpv6 ");
    for (const net::Prefix& prefix : plan_.prefixes) {
      rule(ip_ + " daddr " + prefix.to_string() + " " + others + queue_);
    }
    if (!plan_.addresses.empty()) rule(ip_ + " daddr @addresses " + others + queue_);
  }

  std::string from_endpoint() const { return ip_ + " saddr . meta l4proto . th sport @endpoints "; }

  void to_endpoint() {
    if (options_.direct) rule(ip_ + " daddr . meta l4proto . th dport @endpoints " + optional_);
  }

  void icmp_errors(const std::string& restriction) {
    const std::string types = family_ == Family::v4 ? "{ 3, 4, 5, 11, 12 } " : "{ 1, 2, 3, 4 } ";
    rule(restriction + icmp_ + " type " + types + optional_);
  }

  bool queues_fragments() const noexcept { return options_.defragment == Defragment::never || !able_.tproxy; }
  std::string later_fragment() const {
    return family_ == Family::v4 ? "ip frag-off & 0x1fff != 0 " : "frag frag-off != 0 ";
  }

  std::string ip_;
  std::string icmp_;
  Family family_;
  const DiversionPlan& plan_;
  const Options& options_;
  NftAbilities able_;
  std::string queue_;
  std::string optional_;
  std::string reply_;
  std::string mark_;    // "meta mark & BIT "
  std::string marked_;  // "meta mark & BIT == BIT "
  std::string text_;
};

}  // namespace

std::string nft_table(Family family) {
  return std::string(word(family)) + " limpet";
}

std::string nft_defragmenting_rule(Family family) {
  // Sources that no packet has: the limited broadcast address; a multicast address without a group.
  return std::string(family == Family::v4 ? "ip saddr 255.255.255.255" : "ip6 saddr ff00::") +
         " meta l4proto tcp tproxy to :1";
}

std::string render_nft_chains(Family family, const DiversionPlan& plan, const Options& options, NftAbilities able) {
  Renderer renderer(family, plan, options, able);
  std::string text;
  for (const Chain& chain : kChains) text += renderer.chain(chain);
  return text;
}

std::string render_nft_install(Family family, const DiversionPlan& plan, const Options& options, NftAbilities able) {
  const std::string table = nft_table(family);
  // What is flushed must be there.
  std::string text = "table " + table + " {\n";
  for (const Set& set : sets(family)) text += set_declaration(set, {});
  for (const Chain& chain : kChains) text += chain_head(chain) + "\t}\n";
  text += "}\n";
  for (const Set& set : sets(family)) text += "flush set " + table + " " + set.name + "\n";
  for (const Chain& chain : kChains) text += "flush chain " + table + " " + chain.name + "\n";
  text += "table " + table + " {\n";
  for (const Set& set : sets(family)) text += set_declaration(set, set.of(plan));
  return text + render_nft_chains(family, plan, options, able) + "}\n";
}

std::string render_nft_renewal(Family family, const std::string& chains) {
  const std::string table = nft_table(family);
  std::string text;
  for (const Chain& chain : kChains) text += "flush chain " + table + " " + chain.name + "\n";
  return text + "table " + table + " {\n" + chains + "}\n";
}

std::string render_nft_changes(Family family, const DiversionPlan& after, const PlanDelta& delta) {
  std::string text;
  const auto change = [&](const char* verb, const Set& set, const Elements& elements) {
    if (elements.empty()) return;
    text.append(verb).append(" element ").append(nft_table(family)).append(" ").append(set.name);
    text.append(" { ").append(join(elements)).append(" }\n");
  };
  for (const Set& set : sets(family)) {
    const AddressDelta derived = set.derived != nullptr ? set.derived(after, delta) : AddressDelta{};
    change("add", set, set.derived != nullptr ? without_ports(derived.added) : set.of(delta.added));
    change("delete", set, set.derived != nullptr ? without_ports(derived.removed) : set.of(delta.removed));
  }
  return text;
}

std::vector<std::string> render_nft_samples(Family family, const DiversionPlan& plan) {
  DiversionPlan few;
  datapath::each_list([&](auto list) {
    const auto& all = plan.*list;
    if (all.empty()) return;
    few.*list = {all.front(), all[all.size() / 2], all.back()};
    (few.*list).erase(std::unique((few.*list).begin(), (few.*list).end()), (few.*list).end());
  });
  std::vector<std::string> samples;
  for (const Set& set : sets(family)) {
    if (set.derived != nullptr) continue;
    const Elements elements = set.of(few);
    if (!elements.empty()) samples.push_back(nft_table(family) + " " + set.name + " { " + join(elements) + " }");
  }
  return samples;
}

std::string render_nft_guard() {
  return "table ip limpet-localnet {\n"
         "\tchain prerouting {\n"
         "\t\ttype filter hook prerouting priority -301; policy accept;\n"
         "\t}\n"
         "}\n"
         "flush chain ip limpet-localnet prerouting\n"
         "table ip limpet-localnet {\n"
         "\tchain prerouting {\n"
         "\t\tiifname != \"lo\" ip daddr 127.0.0.0/8 drop\n"
         "\t\tiifname != \"lo\" ip saddr 127.0.0.0/8 drop\n"
         "\t}\n"
         "}\n";
}

}  // namespace limpet::divert
