// render_entries.h: lists of the API's objects (lb/control/entries.h) as tables for people, line by line.
//
//   SERVICE      CLIENT       ENDPOINT        AGE  EXPIRES  PROVED
//   t/web:http   203.0.113.7  10.2.0.1:8080   12s  2h59m    yes
//
// Columns are as wide as the first kAhead rows need; what is wider later pushes its row to the right. So a list of any length
// takes the memory of kAhead rows.
#pragma once

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace limpet::cli {

struct Column {
  std::string head;
  std::function<std::string(const nlohmann::ordered_json&)> text;
};

class TablePrinter {
 public:
  static constexpr std::size_t kAhead = 500;

  TablePrinter(std::vector<Column> columns, std::ostream& out);
  void add(const nlohmann::ordered_json& item);
  /// Prints what is held back; the head, too, where there was no row.
  void finish();

 private:
  using Row = std::vector<std::string>;
  void print(const Row& row);

  std::vector<Column> columns_;
  std::ostream& out_;
  std::vector<std::size_t> widths_;
  std::vector<Row> ahead_;  // while the widths are not fixed
  bool fixed_ = false;
};

/// Of a list: "services", "endpoints", "affinity", "flows", "recent" or "queues".
std::vector<Column> columns_of(const std::string& list);

/// "59s", "2h05m", "5d00h".
std::string duration_text(double seconds);

}  // namespace limpet::cli
