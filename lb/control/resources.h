// resources.h: the API's resources: a request in, an object out.
//
//   GET    /v1/services    ?service= &protocol=
//   GET    /v1/endpoints   ?service= &protocol= &endpoint=IP:PORT
//   GET    /v1/affinity    ?service= &client=CIDR &endpoint=IP:PORT     a client of a masked scope: by its network
//   POST   /v1/affinity    entries from elsewhere: affinity_batch.h
//   GET    /v1/flows       ?service= &client=CIDR &endpoint=IP:PORT &protocol= &state=
//   GET    /v1/recent            the `recent` lists of an iptables program
//   GET    /v1/recent/entries    ?list=NAME &client=CIDR     of one of them
//   POST   /v1/recent/entries    ?list=NAME     a command as the kernel's file takes it: +ADDRESS, -ADDRESS or /
//   GET    /v1/queues
//   GET    /v1/stats       one object
//   DELETE /v1/affinity    ?client=IP [&service=]     the client's entry, or its entries with all services
//                          ?service= &all=true        all of the service
//                          ?all=true                  all
//   GET    /v1/trace       ?from=IP    a stream: trace_stream.h
//
// Lists are pages: {"items": […], "next": "…"|null}. A request looks at kLook entries at most and shows ?limit= of them
// (kLimit unless given, kMostLimit at most; a table may show a few more, for it goes by pieces); `next` is the ?cursor=
// of the next page, also where a page is empty because nothing that it looked at was asked for. null: that was the last
// one.
//
// Errors: {"error": what, "remedy": what to do}: 400 a bad query, 404 no such resource, service or list, 405 a resource has
// no such method. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "lb/control/names.h"
#include "lb/control/query.h"
#include "lb/control/tables.h"

namespace limpet::control {

enum class Method { get, erase, post, other };

class Resources {
 public:
  static constexpr std::uint64_t kLimit = 500;
  static constexpr std::uint64_t kMostLimit = 2000;
  static constexpr std::size_t kLook = 16384;  // about two milliseconds

  /// `now`: stamps what is written into `recent` lists by hand.
  explicit Resources(Tables& tables, flow::Instant (*now)() = flow::now) : tables_(tables), now_(now) {}

  /// `body`: of a POST; other requests have none.
  Response answer(Method method, std::string_view target, std::string_view body = {});
  Tables& tables() noexcept { return tables_; }

 private:
  struct Page {
    std::uint64_t cursor = 0;
    std::size_t limit = kLimit;
    nlohmann::ordered_json items = nlohmann::ordered_json::array();
    Response response(std::optional<std::uint64_t> next) &&;
  };
  static Page read_page(Query& query);

  Response services(Query& query);
  Response endpoints(Query& query);
  Response affinity(Query& query);
  Response flows(Query& query);
  Response recent(Query& query);
  Response recent_entries(Query& query);
  Response post_recent(Query& query);
  Response queues(Query& query);
  Response stats(Query& query);
  Response erase_affinity(Query& query);
  Response post_affinity(Query& query);

  /// Of the snapshot in force.
  const Names& names();
  /// The parameter `service`: nullptr if it is not given, an error if there is none of that name.
  const service::ServicePort* service_of(Query& query, std::optional<Response>& error);
  /// The parameter `list`; an error, if it is not given, or there is none of that name.
  std::shared_ptr<affinity::RecentTable> recent_list(Query& query, std::optional<Response>& error);
  /// Visits until the page is full, kLook entries have been looked at, or there are no more.
  template <typename Visit>
  Response fill(Page page, Visit&& visit_piece);

  Tables& tables_;
  flow::Instant (*const now_)();
  std::unique_ptr<Names> names_;
  std::string_view body_;  // of the request that is being answered
};

}  // namespace limpet::control
