#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "lb/cli/render_rules.h"

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;

std::string masqueraded(const ordered_json& demands) {
  std::string text;
  for (const std::string when : demands) {
    if (when.empty()) return ", masqueraded";
    text += (text.empty() ? ", masqueraded where " : " or ") + when;
  }
  return text;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.4f %%", share * 100);
  return text;
}

/// "45, 47-54"
std::string ranges(const std::vector<std::size_t>& lines) {
  std::string text;
  for (std::size_t i = 0; i < lines.size();) {
    std::size_t last = i;
    while (last + 1 < lines.size() && lines[last + 1] == lines[last] + 1) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(lines[i]);
    if (last > i) text += "-" + std::to_string(lines[last]);
    i = last + 1;
  }
  return text;
}

class Table {
 public:
  explicit Table(std::ostream& out) : out_(out) {}

  void service(const ordered_json& service) {
    out_ << "service " << (service["name"].is_null() ? "(no comment names it)" : service["name"].get<std::string>())
         << (service["protocol"].is_null() ? "" : "  " + service["protocol"].get<std::string>()) << '\n';
    for (const ordered_json& one : service["frontends"]) frontend(one);
    for (const ordered_json& one : service["views"]) view(one);
    out_ << '\n';
  }
  void conclude(const ordered_json& explained) {
    section("masquerade, in POSTROUTING", explained["masquerade"], [](const ordered_json& rule) {
      const std::string when = rule["when"];
      return rule["chain"].get<std::string>() + ":" + std::to_string(rule["rule"].get<std::size_t>()) + "  " +
             (when.empty() ? "everything" : when);
    });
    section("completed by what kube-proxy always writes", explained["completed"],
            [](const ordered_json& rule) { return rule.get<std::string>(); });
    section("apart from these services", explained["apart"], [](const ordered_json& rule) {
      return "line " + std::to_string(rule["line"].get<std::size_t>()) + "  " + rule["rule"].get<std::string>() +
             "\n    " + rule["why"].get<std::string>();
    });
    const ordered_json& literal = explained["literal"];
    const ordered_json& compiled = explained["compiled"];
    out_ << "rules       " << explained["rules"].get<std::size_t>() << ": " << compiled.size() << " compiled, "
         << literal.size() << " stay literal\n";
    groups("compiled", compiled, [](const ordered_json& rule) { return how(rule["how"].get<std::string>()); });
    groups("literal", literal, [](const ordered_json& rule) { return rule["why"].get<std::string>(); });
  }

 private:
  void frontend(const ordered_json& frontend) {
    const std::string address = frontend["address"].is_null() ? "" : frontend["address"].get<std::string>();
    const std::string port = frontend["port"].is_null() ? "*" : std::to_string(frontend["port"].get<unsigned>());
    const bool v6 = address.find(':') != std::string::npos;
    out_ << "  " << frontend["kind"].get<std::string>() << ' '
         << (address.empty() ? "" : (v6 ? "[" + address + "]" : address) + ":") << port << '\n';
    bool first = true;
    for (const ordered_json& one : frontend["routes"]) {
      route(one, first);
      first = false;
    }
  }
  void route(const ordered_json& route, bool first) {
    const std::string when = route["when"];
    const std::string action = route["action"];
    out_ << "    " << std::left << std::setw(30)
         << (!when.empty() ? when
             : first       ? "everybody"
                           : "everybody else")
         << ' ';
    if (action == "dnat") {
      out_ << "-> " << route["view"].get<std::string>() << masqueraded(route["masquerade"]);
    } else {
      out_ << (action == "none" ? "left alone" : action == "drop" ? "dropped" : "rejected");
    }
    if (route["hooks"].size() == 1) out_ << " (" << route["hooks"][0].get<std::string>() << " only)";
    out_ << '\n';
  }
  void view(const ordered_json& view) {
    const ordered_json& endpoints = view["endpoints"];
    out_ << "  view " << view["name"].get<std::string>() << ": " << endpoints.size()
         << (endpoints.size() == 1 ? " endpoint" : " endpoints") << affinity(view["affinity"]) << '\n';
    const bool even = view["even"];
    const std::string fraction = even ? "1/" + std::to_string(endpoints.size()) : "";
    for (const ordered_json& one : endpoints) {
      out_ << "    " << std::left << std::setw(22) << one["endpoint"].get<std::string>() << ' '
           << std::setw(even ? 6 : 0) << fraction << percent(one["share"]) << "  " << one["draw"].get<std::string>()
           << masqueraded(one["masquerade"]) << '\n';
    }
    if (view["rest"] > 0.0) {
      out_ << "    " << std::left << std::setw(22) << "(next rule)" << ' ' << percent(view["rest"]) << '\n';
    }
  }
  static std::string affinity(const ordered_json& affinity) {
    if (affinity.is_null()) return ", no affinity";
    const std::uint32_t seconds = affinity["seconds"];
    const std::string mask = affinity["mask"];
    const bool whole = mask == "255.255.255.255" || mask == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    return ", affinity " + (seconds == 0 ? "for ever" : std::to_string(seconds) + " s") + " by " +
           affinity["by"].get<std::string>() + (whole ? "" : " & " + mask) +
           (affinity["complete"] ? "" : " (not of every endpoint, or not alike)");
  }
  static std::string how(const std::string& how) {
    if (how == "keyed") return "looked up by destination, protocol, port";
    if (how == "random") return "one draw for each run";
    return how == "nth" ? "one counter for each run" : "one look at who is on which list";
  }
  /// By what is said of them, in the order in which it is said first.
  void groups(const char* name, const ordered_json& rules, const auto& said) {
    std::vector<std::pair<std::string, std::vector<std::size_t>>> groups;
    for (const ordered_json& rule : rules) {
      const std::string text = said(rule);
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& one) { return one.first == text; });
      if (group == groups.end()) group = groups.insert(group, {text, {}});
      group->second.push_back(rule["line"]);
    }
    for (auto& [text, lines] : groups) {
      std::sort(lines.begin(), lines.end());
      const auto own = std::find_if(lines.begin(), lines.end(), [](std::size_t line) { return line != 0; });
      const std::size_t added = static_cast<std::size_t>(own - lines.begin());
      out_ << std::left << std::setw(12) << name << text << ": ";
      if (own != lines.end()) {
        out_ << (lines.end() - own == 1 ? "line " : "lines ") << ranges({own, lines.end()}) << (added > 0 ? ", " : "");
      }
      if (added > 0) out_ << added << " added";
      out_ << '\n';
    }
  }
  void section(const char* name, const ordered_json& lines, const auto& text) {
    if (lines.empty()) return;
    out_ << name << '\n';
    for (const ordered_json& line : lines) out_ << "  " << text(line) << '\n';
    out_ << '\n';
  }

  std::ostream& out_;
};

}  // namespace

void print_rules_table(const ordered_json& explained, std::ostream& out) {
  Table table(out);
  for (const ordered_json& service : explained["services"]) table.service(service);
  table.conclude(explained);
}

}  // namespace limpet::cli
