#include "lb/control/client.h"

#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include <boost/beast/http.hpp>

namespace limpet::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace fs = std::filesystem;
using boost::system::error_code;
using store::Error;
using store::ErrorKind;

namespace {

constexpr unsigned kVersion = 11;

http::verb verb_of(Method method) {
  if (method == Method::post) return http::verb::post;
  return method == Method::erase ? http::verb::delete_ : http::verb::get;
}

http::request<http::string_body> make_request(Method method, const std::string& target, const std::string& body = {}) {
  http::request<http::string_body> request(verb_of(method), target, kVersion, body);
  request.set(http::field::host, "limpet");
  if (method == Method::post) request.set(http::field::content_type, "application/json");
  if (!body.empty()) request.prepare_payload();
  return request;
}

Error nobody(std::span<const fs::path> paths, const error_code& error) {
  std::string places;
  for (const fs::path& path : paths) places += (places.empty() ? "" : " or ") + path.string();
  if (error == boost::system::errc::permission_denied) {
    return {ErrorKind::permission, "this user may not open " + places + ": ask as the user that limpet runs as"};
  }
  return {ErrorKind::unavailable,
          "no limpet answers at " + places + " (" + error.message() +
              "): start one with `limpet run`; one of another network namespace is asked there, or by --socket"};
}

}  // namespace

Client::Client(fs::path path) : path_(std::move(path)), io_(std::make_unique<asio::io_context>()), buffer_(kLargest) {}

store::Result<Client> Client::connect(std::span<const fs::path> paths) {
  error_code told;  // why not, by the most telling path: somebody may be there whom this user may not ask
  for (const fs::path& path : paths) {
    Client client(path);
    const error_code error = client.open();
    if (!error) return client;
    if (told != boost::system::errc::permission_denied) told = error;
  }
  return nobody(paths, told);
}

error_code Client::open() {
  buffer_.clear();
  stream_ = std::make_unique<Stream>(*io_);
  error_code error;
  try {
    stream_->socket().connect(path_.string(), error);
  } catch (const boost::system::system_error& too_long) {  // by the endpoint's constructor
    error = too_long.code();
  }
  return error;
}

template <typename Begin>
error_code Client::finish(Begin&& begin) {
  error_code result;
  begin([&result](const error_code& error, std::size_t) { result = error; });
  io_->restart();
  io_->run();
  return result;
}

Error Client::gone(const error_code& error) const {
  if (error == beast::error::timeout) {
    return {ErrorKind::unavailable, "the limpet at " + path_.string() + " does not answer: look at its log"};
  }
  return {ErrorKind::unavailable, "the limpet at " + path_.string() + " has gone (" + error.message() + "): try again"};
}

store::Result<Response> Client::request(Method method, const std::string& target, const std::string& body) {
  Response response;
  error_code error = exchange(method, target, body, response);
  // It closes connections that say nothing for long. A request of ours does no harm twice.
  if (error && error != beast::error::timeout && !open()) error = exchange(method, target, body, response);
  if (error) return gone(error);
  return response;
}

error_code Client::exchange(Method method, const std::string& target, const std::string& body, Response& response) {
  const auto request = make_request(method, target, body);
  stream_->expires_after(kPatience);
  // Whatever became of that: who is turned away has an answer waiting.
  const error_code sent = finish([&](auto done) { http::async_write(*stream_, request, std::move(done)); });
  http::response_parser<http::string_body> parser;
  parser.body_limit(kLargest);
  stream_->expires_after(kPatience);
  const error_code error = finish([&](auto done) { http::async_read(*stream_, buffer_, parser, std::move(done)); });
  if (error) return sent ? sent : error;
  response.status = parser.get().result_int();
  response.body = nlohmann::ordered_json::parse(parser.get().body(), nullptr, false);
  return response.body.is_discarded() ? http::make_error_code(http::error::unexpected_body) : error_code();
}

store::Result<Response> Client::list(const std::string& target,
                                     const std::function<bool(const nlohmann::ordered_json&)>& visit) {
  std::string cursor;
  for (;;) {
    const char joint = target.find('?') == std::string::npos ? '?' : '&';
    auto page = request(Method::get, cursor.empty() ? target : target + joint + "cursor=" + cursor);
    if (!page || page->status != 200) return page;
    for (const nlohmann::ordered_json& item : page->body["items"]) {
      if (!visit(item)) return page;
    }
    if (!page->body["next"].is_string()) return page;
    cursor = page->body["next"].get<std::string>();
  }
}

store::Result<Response> Client::stream(const std::string& target, const std::function<void()>& begun,
                                       const std::function<bool(std::string_view)>& line) {
  const auto request = make_request(Method::get, target);
  stream_->expires_after(kPatience);
  error_code error = finish([&](auto done) { http::async_write(*stream_, request, std::move(done)); });
  if (error) return gone(error);
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  error = finish([&](auto done) { http::async_read_header(*stream_, buffer_, parser, std::move(done)); });
  if (error) return gone(error);
  const bool streams = parser.get().result() == http::status::ok;
  if (streams) begun();
  stream_->expires_never();
  std::array<char, 16384> bytes;
  std::string rest;  // of a line that is not whole yet; of an answer that is no stream, all
  while (!parser.is_done()) {
    parser.get().body().data = bytes.data();
    parser.get().body().size = bytes.size();
    error = finish([&](auto done) { http::async_read_some(*stream_, buffer_, parser, std::move(done)); });
    if (error && error != http::error::need_buffer) return gone(error);
    rest.append(bytes.data(), bytes.size() - parser.get().body().size);
    std::size_t begin = 0;
    for (std::size_t end; streams && (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (!line(std::string_view(rest).substr(begin, end - begin))) return Response{};
    }
    rest.erase(0, begin);
    if (rest.size() > kLargest) return gone(http::make_error_code(http::error::body_limit));
  }
  Response response{.status = parser.get().result_int(), .body = {}};
  if (!streams) response.body = nlohmann::ordered_json::parse(rest, nullptr, false);
  return response;
}

std::string words_of(const Response& response) {
  if (!response.body.is_object() || !response.body.contains("error")) {
    return "the answer is not understood (HTTP status " + std::to_string(response.status) + ")";
  }
  return response.body.value("error", "") + "; " + response.body.value("remedy", "");
}

}  // namespace limpet::control
