#include "lb/control/resources.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "lb/control/affinity_batch.h"
#include "lb/control/entries.h"

namespace limpet::control {

using nlohmann::ordered_json;
using service::ServicePort;
using Cursor = Tables::Cursor;

namespace {

constexpr unsigned kNotFound = 404;
constexpr unsigned kMethodNotAllowed = 405;
constexpr unsigned kBadRequest = 400;

template <typename Wanted, typename Found>
bool fits(const std::optional<Wanted>& wanted, const Found& found) {
  return !wanted || *wanted == found;
}

bool fits(const std::optional<net::Prefix>& wanted, const net::Address& found) {
  return !wanted || wanted->contains(found);
}

/// Have they an address in common? A scope that masks its clients knows them by their network.
bool meets(const std::optional<net::Prefix>& wanted, const net::Prefix& found) {
  return !wanted || wanted->contains(found.address()) || found.contains(wanted->address());
}

/// A cursor may be any number that somebody wrote.
Tables::Cursor sum(Tables::Cursor from, std::size_t budget) {
  return from + std::min<Tables::Cursor>(budget, std::numeric_limits<Tables::Cursor>::max() - from);
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return text;
}

}  // namespace

Response Resources::answer(Method method, std::string_view target, std::string_view body) {
  using Handler = Response (Resources::*)(Query&);
  struct Route {
    std::string_view path;
    Handler get;
    Handler erase = nullptr;
    Handler post = nullptr;
  };
  static constexpr std::array<Route, 8> kRoutes{
      {{"/v1/services", &Resources::services},
       {"/v1/endpoints", &Resources::endpoints},
       {"/v1/affinity", &Resources::affinity, &Resources::erase_affinity, &Resources::post_affinity},
       {"/v1/flows", &Resources::flows},
       {"/v1/recent", &Resources::recent},
       {"/v1/recent/entries", &Resources::recent_entries, nullptr, &Resources::post_recent},
       {"/v1/queues", &Resources::queues},
       {"/v1/stats", &Resources::stats}}};
  const std::string path = Query::path_of(target);
  std::string known;
  for (const Route& route : kRoutes) {
    known += std::string(route.path) + ", ";
    if (route.path != path) continue;
    const Handler handler = method == Method::get     ? route.get
                            : method == Method::erase ? route.erase
                            : method == Method::post  ? route.post
                                                      : nullptr;
    if (handler == nullptr) {
      return problem(kMethodNotAllowed, path + " cannot do that",
                     route.erase != nullptr  ? "use GET, POST or DELETE"
                     : route.post != nullptr ? "use GET or POST"
                                             : "use GET");
    }
    Query query(target);
    body_ = body;
    return (this->*handler)(query);
  }
  return problem(kNotFound, "there is no " + path, "there are " + known + "/v1/trace");
}

// ---- pages ----

Resources::Page Resources::read_page(Query& query) {
  Page page;
  page.limit = query.number("limit", 1, kMostLimit, kLimit);
  page.cursor = query.number("cursor", 0, std::numeric_limits<std::uint64_t>::max(), 0);
  return page;
}

Response Resources::Page::response(std::optional<std::uint64_t> next) && {
  Response response;
  response.body["items"] = std::move(items);
  response.body["next"] = next ? ordered_json(std::to_string(*next)) : ordered_json(nullptr);
  return response;
}

template <typename Visit>
Response Resources::fill(Page page, Visit&& visit_piece) {
  std::optional<std::uint64_t> next = page.cursor;
  for (std::size_t looked = 0; next && page.items.size() < page.limit && looked < kLook;) {
    const std::size_t budget = std::min(page.limit - page.items.size(), kLook - looked);
    next = visit_piece(*next, budget, page.items);
    looked += budget;
  }
  return std::move(page).response(next);
}

const Names& Resources::names() {
  auto snapshot = tables_.snapshot();
  if (!names_ || !names_->is_of(snapshot.get())) names_ = std::make_unique<Names>(std::move(snapshot));
  return *names_;
}

const ServicePort* Resources::service_of(Query& query, std::optional<Response>& error) {
  const auto name = query.text("service");
  if (!name) return nullptr;
  const ServicePort* const port = names().service(*name);
  if (port == nullptr) {
    error = problem(kNotFound, "there is no service '" + *name + "'",
                    "GET /v1/services names them all, as namespace/name:port");
  }
  return port;
}

// ---- resources ----

Response Resources::services(Query& query) {
  std::optional<Response> unknown;
  const ServicePort* const wanted = service_of(query, unknown);
  const auto protocol = query.protocol("protocol");
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  const auto& ports = names().ports();
  return fill(std::move(page), [&](Cursor from, std::size_t budget, ordered_json& items) {
    const std::uint64_t end = std::min<std::uint64_t>(ports.size(), sum(from, budget));
    for (std::uint64_t i = from; i < end; ++i) {
      const ServicePort& port = *ports[i];
      if ((wanted == nullptr || wanted == &port) && fits(protocol, port.service().protocol)) {
        items.push_back(to_json(port));
      }
    }
    return end < ports.size() ? std::optional(end) : std::nullopt;
  });
}

/// The cursor counts the endpoints of all services in order.
Response Resources::endpoints(Query& query) {
  std::optional<Response> unknown;
  const ServicePort* const wanted = service_of(query, unknown);
  const auto protocol = query.protocol("protocol");
  const auto at = query.address_port("endpoint");
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  const auto& ports = names().ports();
  return fill(std::move(page), [&](Cursor from, std::size_t budget, ordered_json& items) -> std::optional<Cursor> {
    std::uint64_t begin = 0;  // of this port's endpoints in the count
    const std::uint64_t stop = sum(from, budget);
    for (const auto& port : ports) {
      const std::uint64_t end = begin + port->service().endpoints.size();
      for (std::uint64_t i = std::max(from, begin); i < std::min(end, stop); ++i) {
        const auto index = static_cast<std::uint32_t>(i - begin);
        const bool shown = (wanted == nullptr || wanted == port.get()) && fits(protocol, port->service().protocol) &&
                           fits(at, port->address(index));
        if (shown) items.push_back(to_json(*port, index, tables_.figures(port->id(index))));
      }
      if (end > stop) return stop;
      begin = end;
    }
    return std::nullopt;
  });
}

Response Resources::affinity(Query& query) {
  std::optional<Response> unknown;
  const ServicePort* const wanted = service_of(query, unknown);
  const auto client = query.prefix("client");
  const auto at = query.address_port("endpoint");
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  const Names& known = names();
  return fill(std::move(page), [&](Cursor from, std::size_t budget, ordered_json& items) {
    return tables_.visit_affinity(from, budget, [&](const AffinityEntry& entry) {
      if (wanted != nullptr && (wanted->affinity_scope() == 0 || entry.scope != wanted->affinity_scope())) return;
      if (!meets(client, known.network(entry.scope, entry.client))) return;
      const auto endpoints = known.endpoints(entry.endpoint_id);
      const auto shown = std::ranges::find_if(endpoints, [&](const Names::Endpoint& one) {
        return (wanted == nullptr || one.port == wanted) && fits(at, one.port->address(one.index));
      });
      if (at && shown == endpoints.end()) return;
      items.push_back(to_json(entry, shown != endpoints.end() ? *shown : known.endpoint(entry.endpoint_id), known));
    });
  });
}

Response Resources::flows(Query& query) {
  std::optional<Response> unknown;
  const ServicePort* const wanted = service_of(query, unknown);
  const auto client = query.prefix("client");
  const auto at = query.address_port("endpoint");
  const auto protocol = query.protocol("protocol");
  auto state = query.text("state");
  if (state) state = upper(*state);
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  const Names& known = names();
  return fill(std::move(page), [&](Cursor from, std::size_t budget, ordered_json& items) {
    return tables_.visit_flows(from, budget, [&](const FlowEntry& entry) {
      if (wanted != nullptr && known.endpoint(entry.endpoint_id).port != wanted) return;
      const bool shown = fits(client, entry.client.address) && fits(at, entry.endpoint) &&
                         fits(protocol, entry.protocol) && fits(state, entry.state);
      if (shown) items.push_back(to_json(entry, known));
    });
  });
}

Response Resources::queues(Query& query) {
  if (const auto error = query.error()) return *error;
  Page page;
  page.items = tables_.queues();
  return std::move(page).response(std::nullopt);
}

Response Resources::stats(Query& query) {
  if (const auto error = query.error()) return *error;
  return {.body = tables_.stats()};
}

Response Resources::post_affinity(Query& query) {
  if (const auto error = query.error()) return *error;
  return take_batch(body_, names(), tables_);
}

Response Resources::erase_affinity(Query& query) {
  std::optional<Response> unknown;
  const ServicePort* const wanted = service_of(query, unknown);
  const auto client = query.address("client");
  const bool all = query.flag("all");
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  if (client.has_value() == all) {
    return problem(
        kBadRequest, "it is not said which entries are to go",
        "name a client (client=IP), or write all=true, and in either case service=, if only one's are meant");
  }
  std::size_t erased = 0;
  if (all && wanted == nullptr) {
    erased = tables_.erase_all_affinity();
  } else {
    for (const auto& port : names().ports()) {
      if (port->affinity_scope() == 0 || (wanted != nullptr && wanted != port.get())) continue;
      erased += all ? tables_.erase_affinity_scope(port->affinity_scope())
                    : tables_.erase_affinity(port->affinity_scope(), port->known_as(*client));
    }
  }
  return {.body = {{"erased", erased}}};
}

}  // namespace limpet::control
