#include "lb/cli/live_trace.h"

#include <optional>
#include <ostream>
#include <string_view>

#include <nlohmann/json.hpp>

#include "lb/cli/api_option.h"
#include "lb/cli/render_path.h"
#include "lb/control/step_json.h"

namespace limpet::cli {

using nlohmann::ordered_json;

namespace {

constexpr std::size_t kTimeWidth = 10;
constexpr std::size_t kPacketWidth = 44;  // of most IPv4 packets

/// The lines of a trace, for people.
class LinePrinter {
 public:
  explicit LinePrinter(std::ostream& out) : out_(out), printer_(out, kTimeWidth, kPacketWidth) {}

  void print(std::string_view line) {
    const auto json = ordered_json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("lost")) {
      out_ << json["lost"] << " more were lost: they came faster than they were taken\n";
    } else if (const auto step = control::step_from_json(json)) {
      printer_.print(*step);
    } else {
      out_ << line << '\n';  // of another version
    }
  }

 private:
  std::ostream& out_;
  PathPrinter printer_;
};

}  // namespace

int run_live_trace(const LiveTraceOptions& options, std::ostream& out, std::ostream& err) {
  const std::string command = "trace";
  auto client = connect(options.daemon);
  if (!client) return complain(command, client.error(), err);
  std::optional<LinePrinter> printer;
  const auto begun = [&] {
    err << "limpet trace: watching " << options.from << "; Ctrl-C ends it" << std::endl;
    if (!options.json) printer.emplace(out);
    out.flush();
  };
  const auto answer =
      client->stream(Target("/v1/trace").add("from", options.from).text(), begun, [&](std::string_view line) {
        if (printer) {
          printer->print(line);
        } else {
          out << line << '\n';
        }
        return out.flush().good();
      });
  return conclude(command, answer, err);
}

}  // namespace limpet::cli
