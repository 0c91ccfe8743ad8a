#include "lb/control/session.h"

#include <string>
#include <string_view>
#include <utility>

#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "lb/control/trace_stream.h"

namespace limpet::control {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

namespace {

constexpr std::uint32_t kLongestRequest = 8192;
constexpr std::uint64_t kLongestBody = 512 * 1024;  // of a batch: 500 bytes an entry
constexpr unsigned kVersion = 11;
constexpr std::string_view kTrace = "/v1/trace";

/// What a client has written comes back in some answers, and need not be UTF-8.
std::string text_of(const nlohmann::ordered_json& body) {
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Method method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return Method::get;
    case http::verb::delete_:
      return Method::erase;
    case http::verb::post:
      return Method::post;
    default:
      return Method::other;
  }
}

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

/// Who asks, for the log.
std::string peer(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return "somebody";
  return "user " + std::to_string(who.uid) + ", process " + std::to_string(who.pid);
}

}  // namespace

Session::Session(boost::asio::local::stream_protocol::socket socket, std::shared_ptr<Api> api)
    : stream_(std::move(socket)), api_(std::move(api)), buffer_(2 * kLongestRequest) {}

void Session::close() {
  error_code ignored;
  stream_.socket().shutdown(boost::asio::socket_base::shutdown_both, ignored);
  stream_.close();
}

void Session::read() {
  parser_.emplace();
  parser_->header_limit(kLongestRequest);
  parser_->body_limit(kLongestBody);
  stream_.expires_after(api_->options.idle);
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](const error_code& error, std::size_t) { self->on_read(error); });
}

void Session::on_read(const error_code& error) {
  if (error == http::error::header_limit) {
    return send(problem(431, "the request is longer than " + std::to_string(kLongestRequest) + " bytes",
                        "ask for less at once"),
                false);
  }
  if (error == http::error::body_limit) {
    return send(problem(413, "the request's body is longer than " + std::to_string(kLongestBody) + " bytes",
                        "send it in smaller pieces"),
                false);
  }
  if (error && error.category() == make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message) {
    return send(problem(400, "this is not HTTP: " + error.message(), "see `limpet show --help`"), false);
  }
  if (error) return;  // closed, or silent for too long
  answer(parser_->get());
}

void Session::answer(const Request& request) {
  const std::string_view target = view(request.target());
  if (request.method() != http::verb::post && !request.body().empty()) {
    return send(problem(413, "the request has a body", "leave it out: all that is asked for stands in the first line"),
                false);
  }
  if (Query::path_of(target) == kTrace && request.method() == http::verb::get) return trace(request);
  Response response = api_->resources.answer(method_of(request.method()), target, request.body());
  const bool changes = request.method() == http::verb::delete_ || request.method() == http::verb::post;
  if (changes && response.status == 200) {
    spdlog::info("API: {} {} by {}: {}", view(request.method_string()), target, peer(stream_.socket().native_handle()),
                 text_of(response.body));
  }
  send(std::move(response), request.keep_alive());
}

void Session::trace(const Request& request) {
  Query query(view(request.target()));
  const auto client = query.address("from");
  if (auto error = query.error()) return send(std::move(*error), request.keep_alive());
  if (!client) {
    return send(problem(400, "the parameter 'from' is missing", "write from=IP, as in from=203.0.113.7"),
                request.keep_alive());
  }
  auto trace = api_->tracing.start(*client);
  if (trace == nullptr) {
    return send(problem(503, std::to_string(Tracing::kTraces) + " traces run already", "end one of them first"),
                request.keep_alive());
  }
  std::make_shared<TraceStream>(shared_from_this(), stream_, *api_, std::move(trace))->start();
}

void Session::send(Response response, bool keep_alive) {
  response_ = {static_cast<http::status>(response.status), kVersion};
  response_.set(http::field::content_type, "application/json");
  response_.keep_alive(keep_alive);
  response_.body() = text_of(response.body) + "\n";
  response_.prepare_payload();
  stream_.expires_after(api_->options.stalled);
  http::async_write(stream_, response_, [self = shared_from_this()](const error_code& error, std::size_t) {
    if (error) return;
    if (self->response_.keep_alive()) return self->read();
    self->close();
  });
}

}  // namespace limpet::control
