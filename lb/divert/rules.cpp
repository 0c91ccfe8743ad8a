#include "lb/divert/rules.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "lb/divert/sets.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using net::Family;

constexpr std::string_view kReplies = "LIMPET-REPLIES";

/// A base chain and ours behind it.
struct Hooked {
  std::string_view base;
  std::string_view chain;
};
constexpr std::array<Hooked, 2> kRaw{{{"PREROUTING", "LIMPET-PREROUTING"}, {"OUTPUT", "LIMPET-OUTPUT"}}};
constexpr std::array<Hooked, 2> kMangle{{{"POSTROUTING", "LIMPET-POSTROUTING"}, {"INPUT", "LIMPET-INPUT"}}};

constexpr const std::array<Hooked, 2>& hooked(Table table) noexcept {
  return table == Table::raw ? kRaw : kMangle;
}

bool is_ours(std::string_view chain) noexcept {
  const auto has = [&](const auto& hooks) {
    return std::any_of(hooks.begin(), hooks.end(), [&](const Hooked& hook) { return hook.chain == chain; });
  };
  return chain == kReplies || chain == kProbeChain || has(kRaw) || has(kMangle);
}

/// How long the word is that `text` starts with. iptables-save quotes a comment of more than a word, and writes \" for
/// a quote in it: what is inside may read like a jump, and is none.
std::size_t word_length(std::string_view text) noexcept {
  if (!text.starts_with('"')) return std::min(text.find(' '), text.size());
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  return text.size();
}

/// The first word of `text`, which is shortened by it.
std::string_view take_word(std::string_view& text) noexcept {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, word_length(text));
  text.remove_prefix(word.size());
  return word;
}

bool mentions_ours(std::string_view rule) noexcept {
  while (!rule.empty()) {
    const std::string_view word = take_word(rule);
    if (word != "-j" && word != "-g") continue;
    if (is_ours(take_word(rule))) return true;
  }
  return false;
}

enum class Kind { request, reply };

std::string queue_target(const Options& options, Kind kind) {
  std::string target = " -j NFQUEUE";
  if (options.queue_count > 1) {
    const unsigned last = options.first_queue + options.queue_count - 1U;
    target += " --queue-balance " + std::to_string(options.first_queue) + ":" + std::to_string(last);
  } else {
    target += " --queue-num " + std::to_string(options.first_queue);
  }
  if (kind == Kind::reply && options.on_death == OnDeath::bypass) target += " --queue-bypass";
  return target + "\n";
}

enum class Side { source, destination };

std::string address_match(Side side, const net::Address& address) {
  return (side == Side::source ? " -s " : " -d ") + net::Prefix(address, address.bits()).to_string();
}

std::string port_match(Side side, const L4Address& at) {
  const std::string protocol = net::to_string(at.protocol);
  return address_match(side, at.at.address) + " -p " + protocol + " -m " + protocol +
         (side == Side::source ? " --sport " : " --dport ") + std::to_string(at.at.port);
}

std::string set_match(Family family, SetRole role, std::string_view directions) {
  return " -m set --match-set " + set_name(family, role) + " " + std::string(directions);
}

std::string mark_match(std::uint32_t mask) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), " -m mark --mark 0x%x/0x%x", mask, mask);
  return text.data();
}

/// Writes the rules of one table, one chain after the other.
class Renderer {
 public:
  Renderer(Family family, const DiversionPlan& plan, const Options& options, Abilities able)
      : family_(family), plan_(plan), options_(options), able_(able) {}

  std::string raw() {
    const std::string request = queue_target(options_, Kind::request);
    const std::string reply = queue_target(options_, Kind::reply);
    if (able_.socket) rule("LIMPET-PREROUTING", defragmenting_match(family_) + "\n");
    to_service("LIMPET-PREROUTING", request);
    if (able_.sets) {
      from_endpoint("LIMPET-PREROUTING", set_match(family_, SetRole::locals, "dst") + reply);
    } else {
      for (const net::Address& local : plan_.locals) rule(kReplies, address_match(Side::destination, local) + reply);
      from_endpoint("LIMPET-PREROUTING", " -j " + std::string(kReplies) + "\n");
    }
    to_service("LIMPET-OUTPUT", request);
    return std::move(text_);
  }

  std::string mangle() {
    const std::string reply = queue_target(options_, Kind::reply);
    rule("LIMPET-POSTROUTING", mark_match(options_.mark_mask) + queue_target(options_, Kind::request));
    from_endpoint("LIMPET-POSTROUTING", reply);
    from_endpoint("LIMPET-INPUT", reply);
    return std::move(text_);
  }

 private:
  void rule(std::string_view chain, const std::string& rest) { text_.append("-A ").append(chain).append(rest); }

  bool in_set(const std::vector<L4Address>& list) const noexcept {
    return able_.sets && list.size() > options_.short_list;
  }
  void to_service(std::string_view chain, const std::string& target) {
    if (in_set(plan_.services)) return rule(chain, set_match(family_, SetRole::services, "dst,dst") + target);
    for (const L4Address& service : plan_.services) rule(chain, port_match(Side::destination, service) + target);
  }
  void from_endpoint(std::string_view chain, const std::string& target) {
    if (in_set(plan_.endpoints)) return rule(chain, set_match(family_, SetRole::endpoints, "src,src") + target);
    for (const L4Address& endpoint : plan_.endpoints) rule(chain, port_match(Side::source, endpoint) + target);
  }

  Family family_;
  const DiversionPlan& plan_;
  const Options& options_;
  Abilities able_;
  std::string text_;
};

std::string begin(Table table) {
  return "*" + std::string(to_string(table)) + "\n";
}

std::string declare(std::string_view chain) {
  return ":" + std::string(chain) + " - [0:0]\n";
}

/// "-A CHAIN …" as iptables-save prints it → "-D CHAIN …".
std::string delete_rule(std::string rule) {
  return "-D" + rule.substr(2) + "\n";
}

}  // namespace

std::string_view to_string(Table table) noexcept {
  return table == Table::raw ? "raw" : "mangle";
}

Traces find_traces(std::string_view saved) {
  Traces traces;
  while (!saved.empty()) {
    const std::string_view line = saved.substr(0, saved.find('\n'));
    saved.remove_prefix(std::min(line.size() + 1, saved.size()));
    std::string_view rest = line;
    if (line.starts_with(':')) {
      const std::string_view chain = take_word(rest).substr(1);
      if (is_ours(chain)) traces.chains.emplace_back(chain);
    } else if (line.starts_with("-A ")) {
      take_word(rest);
      if (!is_ours(take_word(rest)) && mentions_ours(rest)) traces.jumps.emplace_back(line);
    }
  }
  return traces;
}

DiversionPlan part_of(const DiversionPlan& plan, Family family) {
  DiversionPlan part;
  const auto belongs = [family](const L4Address& entry) { return entry.at.address.family() == family; };
  std::copy_if(plan.services.begin(), plan.services.end(), std::back_inserter(part.services), belongs);
  std::copy_if(plan.endpoints.begin(), plan.endpoints.end(), std::back_inserter(part.endpoints), belongs);
  std::copy_if(plan.locals.begin(), plan.locals.end(), std::back_inserter(part.locals),
               [family](const net::Address& address) { return address.family() == family; });
  return part;
}

std::string defragmenting_match(Family family) {
  // Sources that no packet has: the limited broadcast address; a multicast address without a group.
  return std::string(family == Family::v4 ? " -s 255.255.255.255/32" : " -s ff00::/128") + " -m socket";
}

std::string render_install(Table table, Family family, const DiversionPlan& plan, const Options& options,
                           Abilities able, const Traces& present) {
  std::string text = begin(table);
  for (const Hooked& hook : hooked(table)) text += declare(hook.chain);
  const bool stale_replies = std::find(present.chains.begin(), present.chains.end(), kReplies) != present.chains.end();
  if (table == Table::raw && (!able.sets || stale_replies)) text += declare(kReplies);
  Renderer renderer(family, plan, options, able);
  text += table == Table::raw ? renderer.raw() : renderer.mangle();
  for (const std::string& jump : present.jumps) text += delete_rule(jump);
  for (const Hooked& hook : hooked(table)) {
    text.append("-I ").append(hook.base).append(" 1 -j ").append(hook.chain).append("\n");
  }
  return text + "COMMIT\n";
}

std::string render_removal(Table table, const Traces& present) {
  std::string text = begin(table);
  for (const std::string& jump : present.jumps) text += delete_rule(jump);
  for (const std::string& chain : present.chains) text.append("-F ").append(chain).append("\n");
  for (const std::string& chain : present.chains) text.append("-X ").append(chain).append("\n");
  return text + "COMMIT\n";
}

}  // namespace limpet::divert
