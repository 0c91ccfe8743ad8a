#include "lb/cli/render_explanation.h"

#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace limpet::cli {
namespace {

using datapath::Action;
using nlohmann::ordered_json;
using service::Explanation;

ordered_json text_or_null(bool present, const std::string& text) {
  return present ? ordered_json(text) : ordered_json(nullptr);
}

void row(std::ostream& out, std::string_view name, std::string_view value) {
  out << std::left << std::setw(12) << name << value << '\n';
}

/// One value a line, the name beside the first.
void rows(std::ostream& out, std::string_view name, const std::vector<std::string>& values) {
  for (const std::string& value : values) {
    row(out, name, value);
    name = "";
  }
}

}  // namespace

ordered_json to_json(const Explanation& explanation, ordered_json json) {
  const datapath::Decision& decision = explanation.decision;
  const bool dnat = decision.action == Action::dnat;
  json["action"] = datapath::to_string(decision.action);
  json["endpoints"] = explanation.candidates;
  json["endpoint"] = text_or_null(dnat, decision.endpoint.to_string());
  json["masquerade"] = decision.masquerade;
  json["service"] = text_or_null(explanation.service.has_value(), explanation.service.value_or(""));
  json["affinity"] = datapath::to_string(decision.affinity);
  json["reason"] = explanation.reason;
  json["why"] = explanation.why;
  return json;
}

void print_table(const Explanation& explanation, std::ostream& out) {
  const datapath::Decision& decision = explanation.decision;
  row(out, "action", datapath::to_string(decision.action));
  if (explanation.service) row(out, "service", *explanation.service);
  if (decision.action == Action::dnat) {
    row(out, "endpoint", decision.endpoint.to_string());
    row(out, "masquerade", decision.masquerade ? "yes" : "no");
    row(out, "affinity", datapath::to_string(decision.affinity));
    rows(out, "endpoints", explanation.candidates);
  }
  row(out, "reason", explanation.reason);
  rows(out, "why", explanation.why);
}

}  // namespace limpet::cli
