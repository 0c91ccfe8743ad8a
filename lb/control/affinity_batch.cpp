#include "lb/control/affinity_batch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

namespace limpet::control {

using affinity::NamedEntry;
using nlohmann::ordered_json;
using service::ServicePort;

namespace {

constexpr unsigned kBadRequest = 400;

struct Count {
  const char* name;
  std::size_t BatchOutcome::*count;
};
constexpr std::array<Count, 7> kCounts{{{"taken", &BatchOutcome::taken},
                                        {"kept", &BatchOutcome::kept},
                                        {"expired", &BatchOutcome::expired},
                                        {"unknown_service", &BatchOutcome::unknown_service},
                                        {"unknown_endpoint", &BatchOutcome::unknown_endpoint},
                                        {"without_affinity", &BatchOutcome::without_affinity},
                                        {"no_room", &BatchOutcome::no_room}}};

std::string text_of(const ordered_json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Seconds; nullopt: none, negative, or more than a counter of milliseconds holds.
std::optional<flow::Milliseconds> age_of(const ordered_json& json) {
  constexpr double kLongest = 4e9;  // a century
  const auto found = json.find("age");
  if (found == json.end() || !found->is_number()) return std::nullopt;
  const auto seconds = found->get<double>();
  if (!(seconds >= 0 && seconds <= kLongest)) return std::nullopt;
  return flow::Milliseconds(std::llround(seconds * 1000));
}

/// nullopt: there is no such endpoint.
std::optional<std::uint32_t> index_of(const ServicePort& port, const net::AddressPort& at) {
  const auto& endpoints = port.service().endpoints;
  const auto found = std::find_if(endpoints.begin(), endpoints.end(), [&](const auto& one) { return one.at == at; });
  if (found == endpoints.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - endpoints.begin());
}

std::size_t BatchOutcome::*take(const NamedEntry& entry, const Names& names, Tables& tables) {
  const ServicePort* const port = names.service(entry.service);
  if (port == nullptr) return &BatchOutcome::unknown_service;
  if (port->affinity_scope() == 0) return &BatchOutcome::without_affinity;
  const auto index = index_of(*port, entry.endpoint);
  if (!index || port->affinity_id(*index) == 0) return &BatchOutcome::unknown_endpoint;  // or one out of reach
  if (affinity::has_expired(entry.age, *port->service().affinity_timeout)) return &BatchOutcome::expired;
  const AffinityEntry put{.scope = port->affinity_scope(),
                          .client = port->known_as(entry.client),
                          .endpoint_id = port->affinity_id(*index),
                          .confirmed = entry.confirmed,
                          .age = entry.age};
  switch (tables.put_affinity(put)) {
    case Tables::Put::taken:
      return &BatchOutcome::taken;
    case Tables::Put::kept:
      return &BatchOutcome::kept;
    case Tables::Put::no_room:
      break;
  }
  return &BatchOutcome::no_room;
}

Response unreadable(std::string what) {
  return problem(
      kBadRequest, std::move(what),
      "send {\"entries\": [{\"service\": …, \"client\": IP, \"endpoint\": IP:PORT, \"confirmed\": true|false, "
      "\"age\": seconds}, …]}, at most " +
          std::to_string(kMostEntries) + " of them");
}

}  // namespace

BatchOutcome& BatchOutcome::operator+=(const BatchOutcome& other) noexcept {
  for (const Count& one : kCounts) this->*one.count += other.*one.count;
  return *this;
}

ordered_json to_json(const BatchOutcome& outcome) {
  ordered_json json;
  for (const Count& one : kCounts) json[one.name] = outcome.*one.count;
  return json;
}

BatchOutcome outcome_from(const ordered_json& json) {
  BatchOutcome outcome;
  for (const Count& one : kCounts) outcome.*one.count = json.value(one.name, std::size_t{0});
  return outcome;
}

ordered_json to_json(std::span<const NamedEntry> entries) {
  ordered_json list = ordered_json::array();
  for (const NamedEntry& entry : entries) {
    list.push_back({{"service", entry.service},
                    {"client", entry.client.to_string()},
                    {"endpoint", entry.endpoint.to_string()},
                    {"confirmed", entry.confirmed},
                    {"age", static_cast<double>(entry.age.count()) / 1000}});
  }
  return {{"entries", std::move(list)}};
}

std::optional<NamedEntry> entry_from(const ordered_json& json) {
  if (!json.is_object()) return std::nullopt;
  const std::string service = text_of(json, "service");
  const auto client = net::Address::parse(text_of(json, "client"));
  const auto endpoint = net::AddressPort::parse(text_of(json, "endpoint"));
  const auto confirmed = json.find("confirmed");
  const auto age = age_of(json);
  if (service.empty() || !client || !endpoint || !age) return std::nullopt;
  if (confirmed == json.end() || !confirmed->is_boolean()) return std::nullopt;
  return NamedEntry{service, *client, *endpoint, *age, confirmed->get<bool>()};
}

Response take_batch(std::string_view body, const Names& names, Tables& tables) {
  const ordered_json json = ordered_json::parse(body, nullptr, false);
  if (json.is_discarded()) return unreadable("the body is no JSON");
  const auto list = json.is_object() ? json.find("entries") : json.end();
  if (list == json.end() || !list->is_array()) return unreadable("the body has no list 'entries'");
  if (list->size() > kMostEntries) return unreadable("there are " + std::to_string(list->size()) + " entries");
  std::vector<NamedEntry> entries;
  for (const ordered_json& one : *list) {
    auto entry = entry_from(one);
    if (!entry) return unreadable("entry " + std::to_string(entries.size()) + " is not understood");
    entries.push_back(std::move(*entry));
  }
  BatchOutcome outcome;
  for (const NamedEntry& entry : entries) ++(outcome.*take(entry, names, tables));
  return {.body = to_json(outcome)};
}

}  // namespace limpet::control
