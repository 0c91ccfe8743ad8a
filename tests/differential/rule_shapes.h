// rule_shapes.h: random programs for the raw table, of every shape that both the kernel and limpet can be watched at.
//
//   OUTPUT  udp, port 7000 + i ──▶ chain ci: a few rules, some of which jump to helpers h0, h1
//   lists   L0, L1, L2: shared by all rules and by both families; P: stamped to read the clock, asked by nobody
//
// What is drawn at random by the kernel (--mode random) occurs with certainty only: probability 0 and 1.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/pick/rng.h"

namespace limpet::rules::differential {

inline constexpr int kChains = 6;
inline constexpr int kFirstPort = 7000;
inline constexpr int kClients = 12;
inline constexpr int kServers = 4;
inline constexpr std::uint64_t kListsOfCascade = 3;

/// Addresses of the test's network.
inline std::string client(net::Family family, std::uint64_t i) {
  return (family == net::Family::v4 ? "10.9.0." : "fd09::") + std::to_string(10 + i);
}
inline std::string server(net::Family family, std::uint64_t i) {
  return (family == net::Family::v4 ? "10.8.0." : "fd08::") + std::to_string(10 + i);
}

class Shapes {
 public:
  Shapes(pick::Rng& rng, bool one_mask_a_list) : rng_(rng), one_mask_a_list_(one_mask_a_list) {}

  /// A table in the form of iptables-save.
  std::string program(net::Family family) {
    family_ = family;
    std::string text = "*raw\n:OUTPUT ACCEPT [0:0]\n:P - [0:0]\n:h0 - [0:0]\n:h1 - [0:0]\n";
    for (int i = 0; i < kChains; ++i) text += ":c" + std::to_string(i) + " - [0:0]\n";
    for (int i = 0; i < kChains; ++i) {
      text += "-A OUTPUT -p udp -m udp --dport " + std::to_string(kFirstPort + i) + " -j c" + std::to_string(i) + "\n";
    }
    text += "-A P -m recent --rcheck --name P\n";
    for (int i = 0; i < kChains; ++i) {
      const std::string name = "c" + std::to_string(i);
      text += draw(3) == 0 ? cascades(name) : chain(name, 1 + draw(4), true);
    }
    for (const char* const helper : {"h0", "h1"}) text += chain(helper, draw(3), false);
    return text + "COMMIT\n";
  }
  /// The names of the shapes that have been drawn.
  const std::set<std::string>& drawn() const { return drawn_; }

 private:
  std::uint64_t draw(std::uint64_t n) { return rng_.uniform(n); }
  std::string number(std::uint64_t low, std::uint64_t high) { return std::to_string(low + draw(high - low + 1)); }
  const std::string& one_of(const std::vector<std::string>& texts) { return texts[draw(texts.size())]; }
  std::string shape(const std::string& name, const std::string& text) { return drawn_.insert(name), text; }

  std::string chain(const std::string& name, std::uint64_t rules, bool may_jump) {
    std::string text;
    for (; rules > 0; --rules) {
      text += "-A " + name + " -p udp" + (draw(3) == 0 ? header() : "");
      for (std::uint64_t matches = 1 + draw(2); matches > 0; --matches) text += draw(3) == 0 ? plain() : recent();
      text += target(may_jump) + "\n";
    }
    return text;
  }

  /// As kube-proxy writes them: who is known goes to the list's chain, others take turns.
  std::string cascades(const std::string& name) {
    const std::string conditions = draw(2) == 0 ? " -p udp" + header() : "";
    const std::string side = draw(4) == 0 ? " --rdest" : " --rsource";
    const std::string asked = draw(2) == 0 ? " --rcheck" : " --update";
    const std::string same = mask(0);
    std::string text;
    for (std::uint64_t list = 0; list < kListsOfCascade; ++list) {
      text += "-A " + name + conditions + " -m recent" + asked + " --seconds 1" + (draw(2) == 0 ? " --reap" : "") +
              " --name L" + std::to_string(list) + (one_mask_a_list_ ? mask(list) : same) + side + target(true) + "\n";
    }
    const std::uint64_t rules = 2 + draw(3);
    for (std::uint64_t left = rules; left > 0; --left) {
      text += "-A " + name + conditions + " -m statistic --mode nth --every " + std::to_string(left) + " --packet " +
              number(0, left - 1) + (draw(4) == 0 ? target(true) : " -j ACCEPT") + "\n";
    }
    return shape("cascade of lists", shape("cascade of nth", text));
  }

  std::string header() {
    const bool v4 = family_ == net::Family::v4;
    switch (draw(6)) {
      case 0:
        return shape("-s", " -s " + client(family_, draw(kClients)));
      case 1:
        return shape("! -s", " ! -s " + client(family_, draw(kClients)));
      case 2:
        return shape("-s prefix", v4 ? " -s 10.9.0.16/28" : " -s fd09::10/124");
      case 3:
        return shape("-s mask", v4 ? " -s 10.9.0.1/255.255.0.1" : " -s fd09::1/ffff::1");
      case 4:
        return shape("-d", " -d " + server(family_, draw(kServers)));
      default:
        return shape("-o", one_of({" -o lo", " ! -o eth0", " -o l+", " -o eth+"}));
    }
  }

  std::string plain() {
    switch (draw(12)) {
      case 0:
        return nth(false);
      case 1:
        return nth(true);
      case 2:
        return shape("random", one_of({" -m statistic --mode random --probability 1",
                                       " -m statistic --mode random ! --probability 0",
                                       " -m statistic --mode random --probability 0"}));
      case 3:
        return shape("mark", " -m mark --mark 0x1/0x1");
      case 4:
        return shape("! mark", " -m mark ! --mark 0x2/0x3");
      case 5:
        return shape("sport", " -m udp --sport 20000:" + number(20000, 20100));
      case 6:
        return shape("! sport", " -m udp ! --sport 20000:" + number(20000, 20100));
      case 7:
        return shape("multiport", " -m multiport --ports 20001,20010:20050," + number(7000, 7005));
      case 8:
        return shape("! multiport", " -m multiport ! --sports 20001,20010:20050");
      case 9:
        return shape("addrtype", one_of({" -m addrtype --src-type LOCAL", " -m addrtype ! --dst-type LOCAL",
                                         " -m addrtype --dst-type MULTICAST"}));
      case 10:
        return shape("conntrack", one_of({" -m conntrack --ctstate INVALID", " -m conntrack --ctstate NEW"}));
      default:
        return shape("comment", " -m comment --comment \"any \\\"words\\\"\"");
    }
  }
  std::string nth(bool inverted) {
    const std::uint64_t every = 1 + draw(5);
    return shape(inverted ? "! nth" : "nth", std::string(" -m statistic --mode nth ") + (inverted ? "! " : "") +
                                                 "--every " + std::to_string(every) + " --packet " +
                                                 number(0, every - 1));
  }

  std::string recent() {
    const std::uint64_t which = draw(3);
    const std::string name = " --name L" + std::to_string(which) + mask(which);
    const std::string side = draw(4) == 0 ? shape("--rdest", " --rdest") : " --rsource";
    return " -m recent" + operation() + name + side;
  }
  std::string mask(std::uint64_t list) {
    const bool v4 = family_ == net::Family::v4;
    const std::vector<std::string> masks =
        v4 ? std::vector<std::string>{"255.255.255.255", "255.255.255.240", "255.255.0.255"}
           : std::vector<std::string>{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff::fff0", "ffff:0:0:0:ffff::ff"};
    return " --mask " + (one_mask_a_list_ ? masks[list] : one_of(masks));
  }
  std::string operation() {
    const std::string inverted = draw(5) == 0 ? " !" : "";
    switch (draw(6)) {
      case 0:
      case 1:
        return shape(inverted + "set", inverted + " --set");
      case 2:
        return draw(3) == 0 ? shape(inverted + "remove", inverted + " --remove") : shape("set", " --set");
      case 3:
      case 4:
        return options(inverted, " --rcheck");
      default:
        return options(inverted, " --update");
    }
  }
  std::string options(const std::string& inverted, const std::string& operation) {
    std::string text = inverted + operation, name = text;
    const auto add = [&](const std::string& option, const std::string& value) {
      text += " " + option + value;
      name += " " + option;
    };
    switch (draw(4)) {  // 17179872 s are 704 ticks of 250 Hz: the product is made in 32 bits
      case 0:
        break;
      case 1:
        add("--seconds", " 17179872");
        break;
      default:
        add("--seconds", " 1");
        if (draw(2) == 0) add("--reap", "");
    }
    if (draw(3) == 0) add("--hitcount", " " + one_of({"1", "2", "3", "40"}));
    if (draw(4) == 0) add("--rttl", "");
    return shape(name, text);
  }

  std::string target(bool may_jump) {
    switch (draw(may_jump ? 9 : 6)) {
      case 0:
        return shape("RETURN", " -j RETURN");
      case 1:
        return shape("ACCEPT", " -j ACCEPT");
      case 2:
        return shape("MARK", one_of({" -j MARK --set-mark 0x1", " -j MARK --or-mark 0x2", " -j MARK --xor-mark 0x3",
                                     " -j MARK --and-mark 0x1"}));
      case 6:
      case 7:
        return shape("jump", one_of({" -j h0", " -j h1"}));
      case 8:
        return shape("goto", one_of({" -g h0", " -g h1"}));
      default:
        return shape("no target", "");
    }
  }

  pick::Rng& rng_;
  const bool one_mask_a_list_;
  net::Family family_ = net::Family::v4;
  std::set<std::string> drawn_;
};

}  // namespace limpet::rules::differential
