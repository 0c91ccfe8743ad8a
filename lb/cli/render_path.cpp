#include "lb/cli/render_path.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iomanip>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace limpet::cli {
namespace {

using lab::Crossing;
using lab::PacketFacts;
using nlohmann::ordered_json;
using Kind = PacketFacts::Kind;
using std::chrono::microseconds;

constexpr std::size_t kWidth = 120;
constexpr std::size_t kWidestPacket = 56;  // two IPv4 addresses with ports, and flags

/// With a port, where the packet has ports.
std::string text_of(const PacketFacts& facts, const net::AddressPort& end) {
  const bool ports = facts.kind == Kind::transport || facts.kind == Kind::first_fragment;
  return ports ? end.to_string() : end.address.to_string();
}

std::string text_of(const net::Tuple& quoted) {
  return net::to_string(quoted.protocol) + " " + quoted.source.to_string() + " > " + quoted.destination.to_string();
}

std::string text_of(const PacketFacts& facts) {
  if (facts.kind == Kind::unreadable) return "unreadable";
  std::string text = net::to_string(facts.tuple.protocol) + " " + text_of(facts, facts.tuple.source) + " > " +
                     text_of(facts, facts.tuple.destination);
  if (!facts.detail.empty()) text += " " + facts.detail;
  return text;
}

std::string_view key_of(const Crossing& crossing) {
  if (crossing.decision && crossing.decision->action == datapath::Action::dnat) return "new";
  if (!crossing.hit) return "-";
  switch (*crossing.hit) {
    case flow::KeyRole::outer:
      return "outer";
    case flow::KeyRole::middle:
      return "middle";
    case flow::KeyRole::inner:
      break;
  }
  return "inner";
}

std::string_view reason_of(const datapath::Decision& decision) {
  switch (decision.reason) {
    case datapath::Reason::affinity:
      return "the client's endpoint";
    case datapath::Reason::picked:
      return "picked";
    case datapath::Reason::no_endpoints:
      return "no endpoint";
    case datapath::Reason::no_local:
      return "no endpoint on this node";
    case datapath::Reason::midstream:
      return "middle of an unknown connection";
    case datapath::Reason::not_a_service:
      break;
  }
  return "no service";
}

std::string_view answer_of(net::ReplyKind reply) {
  switch (reply) {
    case net::ReplyKind::none:
      break;
    case net::ReplyKind::port_unreachable:
      return "port_unreachable";
    case net::ReplyKind::tcp_reset:
      return "tcp_reset";
    case net::ReplyKind::echo_reply:
      return "echo_reply";
  }
  return "none";
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
  if (before.tuple.source != after.tuple.source) add(text, "src := " + text_of(after, after.tuple.source));
  if (before.tuple.destination != after.tuple.destination) {
    add(text, "dst := " + text_of(after, after.tuple.destination));
  }
  if (before.quoted != after.quoted) add(text, "about := " + text_of(after.quoted));
  return text;
}

std::string decision_words(const datapath::Decision& decision) {
  std::string text(reason_of(decision));
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
    case datapath::Counter::dropped_midstream:
      return crossing.decision ? std::string(reason_of(*crossing.decision)) : with_spaces(to_string(crossing.outcome));
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
    add(text, with_spaces(answer_of(crossing.verdict.reply)) + " sent");
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

Row row_of(const Crossing& crossing, const Crossing* former, microseconds begin) {
  const bool same = former != nullptr && former->number == crossing.number;
  return {.time = same ? "" : seconds(crossing.time - begin),
          .hook = crossing.hook ? std::string(datapath::to_string(*crossing.hook)) : "-",
          .packet = (crossing.captured ? "~" : "") + text_of(crossing.before),
          .key = std::string(key_of(crossing)),
          .what = what_happened(crossing),
          .about = crossing.before.kind == Kind::icmp_error ? "about " + text_of(crossing.before.quoted) : ""};
}

void print(const Row& row, std::size_t time_width, std::size_t packet_width, std::ostream& out) {
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

ordered_json ends(const PacketFacts& facts) {
  return {{"source", text_of(facts, facts.tuple.source)}, {"destination", text_of(facts, facts.tuple.destination)}};
}

ordered_json about(const net::Tuple& quoted) {
  return {{"protocol", net::to_string(quoted.protocol)},
          {"source", quoted.source.to_string()},
          {"destination", quoted.destination.to_string()}};
}

ordered_json to_json(const datapath::Decision& decision, const std::string& service) {
  const bool dnat = decision.action == datapath::Action::dnat;
  ordered_json json;
  json["action"] = datapath::to_string(decision.action);
  json["service"] = service.empty() ? ordered_json(nullptr) : ordered_json(service);
  json["endpoint"] = dnat ? ordered_json(decision.endpoint.to_string()) : ordered_json(nullptr);
  json["masquerade"] = decision.masquerade;
  json["affinity"] = datapath::to_string(decision.affinity);
  json["reason"] = reason_of(decision);
  return json;
}

}  // namespace

ordered_json to_json(const Crossing& crossing) {
  const PacketFacts& before = crossing.before;
  const PacketFacts& after = crossing.after;
  ordered_json json;
  json["t"] = static_cast<double>(crossing.time.count()) / 1e6;
  json["packet"] = crossing.number;
  json["hook"] = crossing.hook ? ordered_json(datapath::to_string(*crossing.hook)) : ordered_json(nullptr);
  json["protocol"] = net::to_string(before.tuple.protocol);
  json.update(ends(before));
  if (!before.detail.empty()) json["detail"] = before.detail;
  if (before.kind == Kind::icmp_error) json["about"] = about(before.quoted);
  if (crossing.captured) {
    json["captured"] = {{"source", crossing.captured->source.to_string()},
                        {"destination", crossing.captured->destination.to_string()}};
  }
  const std::string_view key = key_of(crossing);
  json["key"] = key == "-" ? ordered_json(nullptr) : ordered_json(key);
  if (crossing.decision) json["decision"] = to_json(*crossing.decision, crossing.service);
  json["outcome"] = crossing.hook ? to_string(crossing.outcome) : "not_diverted";
  if (before.tuple != after.tuple || before.quoted != after.quoted) {
    json["to"] = ends(after);
    if (after.kind == Kind::icmp_error) json["to"]["about"] = about(after.quoted);
  }
  if (crossing.verdict.set_mark) json["mark"] = crossing.verdict.mark != 0;
  json["verdict"] = crossing.verdict.accept ? "accept" : "drop";
  if (crossing.verdict.reply != net::ReplyKind::none) json["answer"] = answer_of(crossing.verdict.reply);
  return json;
}

void print_table(std::span<const Crossing> crossings, std::ostream& out) {
  std::vector<Row> rows{
      {.time = "time", .hook = "hook", .packet = "packet", .key = "key", .what = "what becomes of it"}};
  for (std::size_t i = 0; i < crossings.size(); ++i) {
    rows.push_back(row_of(crossings[i], i == 0 ? nullptr : &crossings[i - 1], crossings.front().time));
  }
  std::size_t time_width = 0;
  std::size_t packet_width = 0;
  for (const Row& row : rows) {
    time_width = std::max(time_width, row.time.size());
    packet_width = std::max(packet_width, std::min(row.packet.size(), kWidestPacket));
  }
  for (const Row& row : rows) print(row, time_width, packet_width, out);
}

}  // namespace limpet::cli
