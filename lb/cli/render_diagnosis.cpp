#include "lb/cli/render_diagnosis.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <ostream>
#include <string_view>

#include <nlohmann/json.hpp>

#include "lb/cli/json_line.h"

namespace limpet::cli {
namespace {

using divert::Check;
using divert::CheckStatus;
using divert::Diagnosis;
using nlohmann::ordered_json;

constexpr std::size_t kLineWidth = 118;
constexpr int kStatusWidth = 11;
constexpr std::string_view kReset = "\033[0m";

std::string_view colour_of(CheckStatus status) noexcept {
  switch (status) {
    case CheckStatus::found:
    case CheckStatus::ok:
      return "\033[32m";
    case CheckStatus::missing:
    case CheckStatus::attention:
    case CheckStatus::unknown:
      break;
  }
  return "\033[33m";
}

/// Writes words with a hanging indent.
void print_wrapped(std::ostream& out, std::string_view text, std::size_t indent) {
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (column > indent && column + 1 + word.size() > kLineWidth) {
      out << '\n' << std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out << ' ';
      ++column;
    }
    out << word;
    column += word.size();
  }
  out << '\n';
}

class Table {
 public:
  Table(std::ostream& out, bool colour, std::size_t name_width) : out_(out), colour_(colour), indent_(name_width) {
    indent_ += 2 + kStatusWidth + 2;
  }

  void title(std::string_view text) { out_ << '\n' << paint("\033[1m", text) << '\n'; }

  void row(CheckStatus status, std::string_view word, std::string_view name, std::string_view detail) {
    out_ << "  " << paint(colour_of(status), word) << std::string(kStatusWidth - word.size(), ' ') << std::left
         << std::setw(static_cast<int>(indent_) - 2 - kStatusWidth) << name;
    print_wrapped(out_, detail, indent_);
  }

  void note(std::string_view label, std::string_view text) {
    if (text.empty()) return;
    out_ << std::string(indent_, ' ') << label;
    print_wrapped(out_, text, indent_ + label.size());
  }

 private:
  std::string paint(std::string_view colour, std::string_view text) const {
    std::string painted(colour_ ? colour : "");
    painted += text;
    return painted + std::string(colour_ ? kReset : "");
  }

  std::ostream& out_;
  bool colour_;
  std::size_t indent_;
};

std::size_t name_width(const Diagnosis& diagnosis) {
  std::size_t width = 0;
  for (const Check& check : diagnosis.checks) width = std::max(width, check.name.size());
  return width;
}

void print_checks(const Diagnosis& diagnosis, Table& table) {
  std::string_view group;
  for (const Check& check : diagnosis.checks) {
    if (check.group != group) table.title(check.group);
    group = check.group;
    table.row(check.status, to_string(check.status), check.name, check.detail);
    table.note("means: ", check.consequence);
    table.note("to do: ", check.remedy);
  }
}

void print_datapaths(const Diagnosis& diagnosis, Table& table) {
  table.title("datapaths");
  for (const divert::Datapath& datapath : diagnosis.datapaths) {
    const CheckStatus status = datapath.works ? CheckStatus::found : CheckStatus::missing;
    table.row(status, datapath.works ? "works" : "no", datapath.name, datapath.reason);
  }
}

/// What becomes of packets. The same table as in README.md.
struct Absence {
  std::string_view state;
  std::string_view requests;
  std::string_view replies;
  std::string_view direct;
};
constexpr std::array<Absence, 6> kAbsence{{
    {"", "packets to a service", "replies from endpoints", "direct from an endpoint's port"},
    {"limpet runs", "translated", "translated", "passes, unchanged"},
    {"killed, onDeath: hold", "wait for a retransmission", "dropped until it is back", "dropped until it is back"},
    {"killed, onDeath: bypass", "wait for a retransmission", "pass untranslated", "passes"},
    {"stopped, stop: keep", "as killed", "as killed", "as killed"},
    {"stopped, stop: remove", "as if there were no service", "pass", "passes"},
}};
constexpr std::size_t kKilledHold = 2;
constexpr std::size_t kKilledBypass = 3;
constexpr std::size_t kStoppedKeep = 4;
constexpr std::size_t kStoppedRemove = 5;

bool is_chosen(std::size_t row, const service::Config& config) noexcept {
  const bool hold = config.on_death == service::OnDeath::hold;
  const bool keep = config.on_stop == service::OnStop::keep;
  return row == (hold ? kKilledHold : kKilledBypass) || row == (keep ? kStoppedKeep : kStoppedRemove);
}

void print_absence(const service::Config* config, Table& table, std::ostream& out) {
  table.title("when limpet is not there");
  for (std::size_t i = 0; i < kAbsence.size(); ++i) {
    const Absence& row = kAbsence[i];
    out << "  " << (config != nullptr && is_chosen(i, *config) ? "* " : "  ") << std::left << std::setw(25) << row.state
        << std::setw(29) << row.requests << std::setw(27) << row.replies << row.direct << '\n';
  }
  out << "    The rest of the node's traffic is not touched. ICMP errors about translated flows pass untranslated.\n"
         "    Where replies of masqueraded connections pass untranslated, the node refuses them.\n";
  if (config != nullptr) out << "    * as this configuration has it\n";
}

}  // namespace

std::string to_json(const Diagnosis& diagnosis) {
  ordered_json checks = ordered_json::array();
  for (const Check& check : diagnosis.checks) {
    ordered_json one;
    one["name"] = check.name;
    one["group"] = check.group;
    one["status"] = to_string(check.status);
    one["detail"] = check.detail;
    one["consequence"] = check.consequence;
    one["remedy"] = check.remedy;
    checks.push_back(std::move(one));
  }
  ordered_json datapaths;
  for (const divert::Datapath& datapath : diagnosis.datapaths) {
    datapaths[std::string(datapath.name)] = {{"works", datapath.works}, {"reason", datapath.reason}};
  }
  ordered_json json;
  json["kernel"] = diagnosis.kernel;
  json["checks"] = std::move(checks);
  json["datapaths"] = std::move(datapaths);
  return in_one_line(json);
}

void print_diagnosis(const Diagnosis& diagnosis, const service::Config* config, bool colour, std::ostream& out) {
  Table table(out, colour, name_width(diagnosis));
  out << "Linux " << diagnosis.kernel << '\n';
  print_checks(diagnosis, table);
  print_datapaths(diagnosis, table);
  print_absence(config, table, out);
}

}  // namespace limpet::cli
