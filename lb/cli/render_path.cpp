#include "lb/cli/render_path.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>

#include "lb/control/step_json.h"

namespace limpet::cli {
namespace {

using lab::Crossing;
using lab::PacketFacts;
using Kind = PacketFacts::Kind;
using std::chrono::microseconds;

constexpr std::size_t kWidth = 120;
constexpr std::size_t kWidestPacket = 56;  // two IPv4 addresses with ports, and flags

std::string text_of(const net::Tuple& quoted) {
  return net::to_string(quoted.protocol) + " " + quoted.source.to_string() + " > " + quoted.destination.to_string();
}

std::string text_of(const PacketFacts& facts) {
  if (facts.kind == Kind::unreadable) return "unreadable";
  std::string text = net::to_string(facts.tuple.protocol) + " " + control::end_text(facts, facts.tuple.source) + " > " +
                     control::end_text(facts, facts.tuple.destination);
  if (!facts.detail.empty()) text += " " + facts.detail;
  return text;
}

std::string with_spaces(std::string_view words) {
  std::string text(words);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

void add(std::string& list, const std::string& words) {
  if (!words.empty()) list += (list.empty() ? "" : ", ") + words;
}

/// What became different.
std::string changes(const Crossing& crossing) {
  const PacketFacts& before = crossing.before;
  const PacketFacts& after = crossing.after;
  std::string text;
  if (before.tuple.source != after.tuple.source) add(text, "src := " + control::end_text(after, after.tuple.source));
  if (before.tuple.destination != after.tuple.destination) {
    add(text, "dst := " + control::end_text(after, after.tuple.destination));
  }
  if (before.quoted != after.quoted) add(text, "about := " + text_of(after.quoted));
  return text;
}

std::string decision_words(const datapath::Decision& decision) {
  std::string text(control::reason_words(decision.reason));
  if (decision.affinity != datapath::AffinityOutcome::none) {
    text += " (" + std::string(datapath::to_string(decision.affinity)) + ")";
  }
  return text;
}

/// Why nothing became different.
std::string outcome_words(const Crossing& crossing) {
  switch (crossing.outcome) {
    case datapath::Counter::accepted_miss:
      return "no flow";
    case datapath::Counter::accepted_not_a_service:
      return "no service";
    case datapath::Counter::accepted_direct:
      return "second crossing, or a direct connection";
    case datapath::Counter::foreign_syn_ack:
      return "answers a direct connection";
    case datapath::Counter::rewritten:
      return "already translated";
    case datapath::Counter::dropped_rejected:
    case datapath::Counter::dropped_no_local:
    case datapath::Counter::dropped_source_range:
    case datapath::Counter::dropped_unallocated:
    case datapath::Counter::dropped_by_rule:
    case datapath::Counter::dropped_midstream:
      return crossing.decision ? std::string(control::reason_words(crossing.decision->reason))
                               : with_spaces(to_string(crossing.outcome));
    case datapath::Counter::fragments:
      return "as its first fragment";
    default:
      break;
  }
  std::string_view name = to_string(crossing.outcome);
  constexpr std::string_view kDropped = "dropped_";
  if (name.starts_with(kDropped)) name.remove_prefix(kDropped.size());
  return with_spaces(name);
}

std::string what_happened(const Crossing& crossing) {
  if (!crossing.hook) return "not diverted";
  std::string text = changes(crossing);
  if (text.empty()) text = (crossing.verdict.accept ? "accept: " : "drop: ") + outcome_words(crossing);
  if (crossing.decision && crossing.decision->action == datapath::Action::dnat) {
    add(text, decision_words(*crossing.decision));
  }
  if (crossing.verdict.set_mark) add(text, crossing.verdict.mark != 0 ? "+mark" : "-mark");
  if (crossing.verdict.reply != net::ReplyKind::none) {
    add(text, with_spaces(control::answer_word(crossing.verdict.reply)) + " sent");
  }
  return text;
}

std::string seconds(microseconds time) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6f", static_cast<double>(time.count()) / 1e6);
  return text.data();
}

struct Row {
  std::string time, hook, packet, key, what;
  std::string about{};  // in a line of its own
};

/// `same`: the packet of the line above.
Row row_of(const Crossing& crossing, bool same, microseconds begin) {
  return {.time = same ? "" : seconds(crossing.time - begin),
          .hook = crossing.hook ? std::string(datapath::to_string(*crossing.hook)) : "-",
          .packet = (crossing.captured ? "~" : "") + text_of(crossing.before),
          .key = std::string(control::key_word(crossing)),
          .what = what_happened(crossing),
          .about = crossing.before.kind == Kind::icmp_error ? "about " + text_of(crossing.before.quoted) : ""};
}

void print_row(const Row& row, std::size_t time_width, std::size_t packet_width, std::ostream& out) {
  std::string line(time_width - std::min(time_width, row.time.size()), ' ');
  const auto column = [&line](const std::string& text, std::size_t width) {
    line += text;
    if (text.size() < width) line.append(width - text.size(), ' ');
    line += ' ';
  };
  column(row.time, 0);
  column(row.hook, 11);
  column(row.packet, packet_width);
  column(row.key, 6);
  const std::string indent(time_width + 15, ' ');
  const bool fits = line.size() + row.what.size() <= kWidth;
  if (fits) line += row.what;
  out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  if (!row.about.empty()) out << indent << row.about << '\n';
  if (!fits) out << indent << row.what << '\n';
}

}  // namespace

PathPrinter::PathPrinter(std::ostream& out, std::size_t time_width, std::size_t packet_width)
    : out_(out), time_width_(time_width), packet_width_(packet_width) {
  print_row({.time = "time", .hook = "hook", .packet = "packet", .key = "key", .what = "what becomes of it"},
            time_width_, packet_width_, out_);
}

void PathPrinter::print(const Crossing& crossing) {
  if (!begin_) begin_ = crossing.time;
  const bool same = former_ == crossing.number;
  former_ = crossing.number;
  print_row(row_of(crossing, same, *begin_), time_width_, packet_width_, out_);
}

void print_table(std::span<const Crossing> crossings, std::ostream& out) {
  std::size_t time_width = 4;  // "time", "packet"
  std::size_t packet_width = 6;
  for (const Crossing& crossing : crossings) {
    const Row row = row_of(crossing, false, crossings.front().time);
    time_width = std::max(time_width, row.time.size());
    packet_width = std::max(packet_width, std::min(row.packet.size(), kWidestPacket));
  }
  PathPrinter printer(out, time_width, packet_width);
  for (const Crossing& crossing : crossings) printer.print(crossing);
}

}  // namespace limpet::cli
