#include "lb/control/step_json.h"

#include <charconv>
#include <cmath>
#include <iterator>

namespace limpet::control {

using datapath::PacketFacts;
using datapath::PathStep;
using nlohmann::ordered_json;
using Kind = PacketFacts::Kind;

namespace {

ordered_json ends(const PacketFacts& facts) {
  return {{"source", end_text(facts, facts.tuple.source)}, {"destination", end_text(facts, facts.tuple.destination)}};
}

ordered_json about(const net::Tuple& quoted) {
  return {{"protocol", net::to_string(quoted.protocol)},
          {"source", quoted.source.to_string()},
          {"destination", quoted.destination.to_string()}};
}

ordered_json decision_json(const datapath::Decision& decision, const std::string& service) {
  const bool dnat = decision.action == datapath::Action::dnat;
  ordered_json json;
  json["action"] = datapath::to_string(decision.action);
  json["service"] = service.empty() ? ordered_json(nullptr) : ordered_json(service);
  json["endpoint"] = dnat ? ordered_json(decision.endpoint.to_string()) : ordered_json(nullptr);
  json["masquerade"] = decision.masquerade;
  json["affinity"] = datapath::to_string(decision.affinity);
  json["reason"] = reason_words(decision.reason);
  return json;
}

// ---- back: what is not as to_json() writes it throws nlohmann's exceptions, or Unreadable ----

struct Unreadable {};

/// The enumerator from 0 to `last` that `word` returns this name for.
template <typename Enum, typename Word>
Enum named(std::string_view name, Enum last, Word word) {
  for (unsigned i = 0; i <= static_cast<unsigned>(last); ++i) {
    if (word(static_cast<Enum>(i)) == name) return static_cast<Enum>(i);
  }
  throw Unreadable{};
}

net::Protocol protocol_of(const std::string& name) {
  if (const auto known = net::parse_protocol(name)) return *known;
  constexpr std::string_view kNumbered = "protocol ";
  unsigned number = 256;
  if (name.starts_with(kNumbered)) {
    std::from_chars(name.data() + kNumbered.size(), name.data() + name.size(), number);
  }
  if (number > 255) throw Unreadable{};
  return static_cast<net::Protocol>(number);
}

net::AddressPort end_of(const std::string& text) {
  if (const auto end = net::AddressPort::parse(text)) return *end;
  const auto address = net::Address::parse(text);
  if (!address) throw Unreadable{};
  return {*address, 0};
}

net::Tuple tuple_of(const ordered_json& json, net::Protocol protocol) {
  return {protocol, end_of(json.at("source").get<std::string>()), end_of(json.at("destination").get<std::string>())};
}

net::Tuple quoted_of(const ordered_json& json) {
  return tuple_of(json, protocol_of(json.at("protocol").get<std::string>()));
}

PacketFacts facts_of(const ordered_json& json) {
  PacketFacts facts;
  const auto source = json.at("source").get<std::string>();
  facts.tuple = tuple_of(json, protocol_of(json.at("protocol").get<std::string>()));
  facts.detail = json.value("detail", "");
  facts.kind = net::AddressPort::parse(source) ? Kind::transport : Kind::other;
  if (json.contains("about")) {
    facts.kind = Kind::icmp_error;
    facts.quoted = quoted_of(json["about"]);
  }
  if (facts.tuple.protocol == net::Protocol{}) facts.kind = Kind::unreadable;
  return facts;
}

datapath::Decision decision_of(const ordered_json& json) {
  datapath::Decision decision;
  decision.action = named(json.at("action").get<std::string>(), datapath::Action::none,
                          [](datapath::Action action) { return datapath::to_string(action); });
  decision.affinity = named(json.at("affinity").get<std::string>(), datapath::AffinityOutcome::moved,
                            [](datapath::AffinityOutcome outcome) { return datapath::to_string(outcome); });
  decision.reason = named(json.at("reason").get<std::string>(), datapath::Reason::not_a_service, reason_words);
  decision.masquerade = json.at("masquerade").get<bool>();
  if (json.at("endpoint").is_string()) decision.endpoint = end_of(json["endpoint"].get<std::string>());
  return decision;
}

void read_key(const ordered_json& json, PathStep& step) {
  if (json.at("key").is_null() || json["key"] == "new") return;
  step.hit = named(json["key"].get<std::string>(), flow::KeyRole::inner, [](flow::KeyRole role) {
    PathStep of;
    of.hit = role;
    return key_word(of);
  });
}

PathStep read(const ordered_json& json) {
  PathStep step;
  step.time = std::chrono::microseconds(std::llround(json.at("t").get<double>() * 1e6));
  step.number = json.at("packet").get<std::uint64_t>();
  step.before = step.after = facts_of(json);
  if (json.at("hook").is_string()) {
    step.hook = named(json["hook"].get<std::string>(), datapath::Hook::postrouting,
                      [](datapath::Hook hook) { return datapath::to_string(hook); });
  }
  if (json.contains("captured")) step.captured = tuple_of(json["captured"], step.before.tuple.protocol);
  read_key(json, step);
  if (json.contains("decision")) {
    step.decision = decision_of(json["decision"]);
    const ordered_json& service = json["decision"].at("service");
    if (service.is_string()) step.service = service.get<std::string>();
  }
  if (step.hook) {
    step.outcome = named(json.at("outcome").get<std::string>(), static_cast<datapath::Counter>(datapath::kCounters - 1),
                         [](datapath::Counter counter) { return datapath::to_string(counter); });
  }
  if (json.contains("to")) {
    step.after.tuple = tuple_of(json["to"], step.before.tuple.protocol);
    if (json["to"].contains("about")) step.after.quoted = quoted_of(json["to"]["about"]);
  }
  step.verdict.accept = json.at("verdict") == "accept";
  step.verdict.set_mark = json.contains("mark");
  step.verdict.mark = json.value("mark", false) ? 1 : 0;
  if (json.contains("answer")) {
    step.verdict.reply = named(json["answer"].get<std::string>(), net::ReplyKind::echo_reply, answer_word);
  }
  return step;
}

}  // namespace

std::string_view key_word(const PathStep& step) {
  if (step.decision && step.decision->action == datapath::Action::dnat) return "new";
  if (!step.hit) return "-";
  constexpr std::string_view kWords[] = {"outer", "middle", "inner"};
  return kWords[static_cast<std::size_t>(*step.hit)];
}

std::string_view reason_words(datapath::Reason reason) {
  switch (reason) {
    case datapath::Reason::affinity:
      return "the client's endpoint";
    case datapath::Reason::picked:
      return "picked";
    case datapath::Reason::no_endpoints:
      return "no endpoint";
    case datapath::Reason::no_local:
      return "no endpoint on this node";
    case datapath::Reason::source_range:
      return "source not allowed";
    case datapath::Reason::no_such_port:
      return "no such port";
    case datapath::Reason::unallocated:
      return "no such service address";
    case datapath::Reason::ruled:
      return "a rule says so";
    case datapath::Reason::midstream:
      return "middle of an unknown connection";
    case datapath::Reason::unrefused:
      return "no endpoint, not refused";
    case datapath::Reason::not_a_service:
      break;
  }
  return "no service";
}

std::string_view answer_word(net::ReplyKind reply) {
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

std::string end_text(const PacketFacts& facts, const net::AddressPort& end) {
  const bool ports = facts.kind == Kind::transport || facts.kind == Kind::first_fragment;
  return ports ? end.to_string() : end.address.to_string();
}

ordered_json to_json(const PathStep& step) {
  const PacketFacts& before = step.before;
  const PacketFacts& after = step.after;
  ordered_json json;
  json["t"] = static_cast<double>(step.time.count()) / 1e6;
  json["packet"] = step.number;
  json["hook"] = step.hook ? ordered_json(datapath::to_string(*step.hook)) : ordered_json(nullptr);
  json["protocol"] = net::to_string(before.tuple.protocol);
  json.update(ends(before));
  if (!before.detail.empty()) json["detail"] = before.detail;
  if (before.kind == Kind::icmp_error) json["about"] = about(before.quoted);
  if (step.captured) {
    json["captured"] = {{"source", step.captured->source.to_string()},
                        {"destination", step.captured->destination.to_string()}};
  }
  const std::string_view key = key_word(step);
  json["key"] = key == "-" ? ordered_json(nullptr) : ordered_json(key);
  if (step.decision) json["decision"] = decision_json(*step.decision, step.service);
  json["outcome"] = step.hook ? datapath::to_string(step.outcome) : "not_diverted";
  if (before.tuple != after.tuple || before.quoted != after.quoted) {
    json["to"] = ends(after);
    if (after.kind == Kind::icmp_error) json["to"]["about"] = about(after.quoted);
  }
  if (step.verdict.set_mark) json["mark"] = step.verdict.mark != 0;
  json["verdict"] = step.verdict.accept ? "accept" : "drop";
  if (step.verdict.reply != net::ReplyKind::none) json["answer"] = answer_word(step.verdict.reply);
  return json;
}

std::optional<PathStep> step_from_json(const ordered_json& json) {
  try {
    return read(json);
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  } catch (const Unreadable&) {
    return std::nullopt;
  }
}

}  // namespace limpet::control
