#include "lb/cli/render_entries.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ostream>
#include <utility>

namespace limpet::cli {

using nlohmann::ordered_json;

namespace {

std::string text_of(const ordered_json& value) {
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

Column plain(std::string head, const std::string& key) {
  return {std::move(head), [key](const ordered_json& item) { return text_of(item.value(key, ordered_json())); }};
}

/// null: `otherwise`.
Column duration(std::string head, const std::string& key, const std::string& otherwise) {
  return {std::move(head), [key, otherwise](const ordered_json& item) {
            const ordered_json value = item.value(key, ordered_json());
            return value.is_number() ? duration_text(value.get<double>()) : otherwise;
          }};
}

std::string address_and_port(const ordered_json& service) {
  const std::string address = text_of(service.at("clusterIP"));
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + text_of(service.at("port"));
}

std::string affinity_timeout(const ordered_json& service) {
  const ordered_json& timeout = service.at("affinity");
  if (timeout.is_null()) return "-";
  return timeout == 0 ? "never" : duration_text(timeout.get<double>());
}

std::string flow_via(const ordered_json& flow) {
  if (flow.contains("egress")) return flow["egress"].get<std::string>();
  return flow.contains("client_near") ? flow["client_near"].get<std::string>() : "-";
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::max(0.0, std::floor(seconds)));
  char text[32];
  if (whole < 60) {
    std::snprintf(text, sizeof text, "%ds", static_cast<int>(whole));
  } else if (whole < 3600) {
    std::snprintf(text, sizeof text, "%dm%02ds", static_cast<int>(whole / 60), static_cast<int>(whole % 60));
  } else if (whole < 86400) {
    std::snprintf(text, sizeof text, "%dh%02dm", static_cast<int>(whole / 3600), static_cast<int>(whole / 60 % 60));
  } else {
    std::snprintf(text, sizeof text, "%lldd%02dh", static_cast<long long>(whole / 86400),
                  static_cast<int>(whole / 3600 % 24));
  }
  return text;
}

TablePrinter::TablePrinter(std::vector<Column> columns, std::ostream& out) : columns_(std::move(columns)), out_(out) {
  Row head;
  for (const Column& column : columns_) {
    head.push_back(column.head);
    widths_.push_back(column.head.size());
  }
  ahead_.push_back(std::move(head));
}

void TablePrinter::add(const ordered_json& item) {
  Row row;
  for (const Column& column : columns_) row.push_back(column.text(item));
  if (fixed_) return print(row);
  for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], row[i].size());
  ahead_.push_back(std::move(row));
  if (ahead_.size() > kAhead) finish();
}

void TablePrinter::finish() {
  for (const Row& row : std::exchange(ahead_, {})) print(row);
  fixed_ = true;
}

void TablePrinter::print(const Row& row) {
  std::string line;
  for (std::size_t i = 0; i < row.size(); ++i) {
    line += row[i];
    if (i + 1 < row.size()) line.append(widths_[i] - std::min(widths_[i], row[i].size()) + 2, ' ');
  }
  out_ << line << '\n';
}

std::vector<Column> columns_of(const std::string& list) {
  if (list == "services") {
    return {plain("SERVICE", "service"),    plain("PROTOCOL", "protocol"),  {"ADDRESS", address_and_port},
            plain("NODEPORT", "nodePort"),  {"AFFINITY", affinity_timeout}, plain("USABLE", "usable"),
            plain("ENDPOINTS", "endpoints")};
  }
  if (list == "endpoints") {
    return {plain("SERVICE", "service"), plain("ENDPOINT", "endpoint"), plain("NODE", "node"),
            plain("WEIGHT", "weight"),   plain("STATE", "state"),       plain("ACTIVE", "active"),
            plain("OPENED", "opened"),   plain("REFUSED", "refused"),   plain("TIMED OUT", "timed_out")};
  }
  if (list == "affinity") {
    return {plain("SERVICE", "service"),
            plain("CLIENT", "client"),
            plain("ENDPOINT", "endpoint"),
            duration("AGE", "age", "-"),
            duration("EXPIRES", "expires_in", "never"),
            plain("PROVED", "confirmed")};
  }
  if (list == "flows") {
    return {plain("PROTOCOL", "protocol"),         plain("STATE", "state"),       plain("CLIENT", "client"),
            plain("SERVICE", "service_address"),   plain("ENDPOINT", "endpoint"), {"AS", flow_via},
            duration("EXPIRES", "expires_in", "-")};
  }
  if (list == "recent") {
    return {plain("LIST", "list"),     plain("ENTRIES", "entries"), plain("CAPACITY", "capacity"),
            plain("STAMPS", "stamps"), plain("EVICTED", "evicted"), plain("STARVED", "starved"),
            plain("REAPED", "reaped"), plain("FLUSHED", "flushed"), plain("BYTES", "bytes")};
  }
  return {plain("QUEUE", "queue"),
          plain("PACKETS", "packets"),
          plain("BATCHES", "batches"),
          plain("WAITING", "kernel_waiting"),
          plain("DROPPED FULL", "kernel_dropped_full"),
          plain("DROPPED OVERRUN", "kernel_dropped_overrun"),
          plain("REFUSED", "refused_verdicts")};
}

}  // namespace limpet::cli
