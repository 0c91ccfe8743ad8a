#include "lb/control/http_listener.h"

#include <algorithm>
#include <optional>

#include <boost/asio/ip/v6_only.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <spdlog/spdlog.h>

namespace limpet::control {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::uint32_t kLongestRequest = 8192;
constexpr std::uint64_t kLongestBody = 4096;
constexpr unsigned kVersion = 11;
constexpr std::chrono::milliseconds kAcceptPause{100};

asio::ip::address to_asio(const net::Address& address) {
  const auto copy = [&](auto bytes) {
    std::memcpy(bytes.data(), address.bytes().data(), bytes.size());
    return bytes;
  };
  if (address.is_v4()) return asio::ip::address_v4(copy(asio::ip::address_v4::bytes_type()));
  return asio::ip::address_v6(copy(asio::ip::address_v6::bytes_type()));
}

/// 0, and the acceptor listens; else why not.
error_code listen(tcp::acceptor& acceptor, const tcp::endpoint& at) {
  error_code error;
  acceptor.open(at.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  const bool both = at.address().is_unspecified();
  if (!error && at.address().is_v6()) acceptor.set_option(asio::ip::v6_only(!both), error);
  if (!error) acceptor.bind(at, error);
  if (!error) acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error) {
    error_code ignored;
    acceptor.close(ignored);
  }
  return error;
}

}  // namespace

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(tcp::socket socket, std::shared_ptr<const HttpListener::Responder> responder)
      : stream_(std::move(socket)), responder_(std::move(responder)), buffer_(2 * kLongestRequest) {}

  void read() {
    parser_.emplace();
    parser_->header_limit(kLongestRequest);
    parser_->body_limit(kLongestBody);
    stream_.expires_after(HttpListener::kPatience);
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](const error_code& error, std::size_t) {
      if (!error) self->answer();  // else it is closed, silent, or speaks no HTTP
    });
  }
  void close() {
    closed_ = true;
    stream_.close();
  }

 private:
  void answer() {
    if (closed_) return;  // too late to be cancelled
    const auto& request = parser_->get();
    const std::string_view target(request.target().data(), request.target().size());
    HttpAnswer made = (*responder_)(target.substr(0, target.find('?')));
    answer_ = {static_cast<http::status>(made.status), kVersion};
    answer_.set(http::field::content_type, "application/json");
    for (const auto& [name, value] : made.headers) answer_.set(name, value);
    answer_.keep_alive(request.keep_alive());
    answer_.body() = std::move(made.body);
    answer_.prepare_payload();
    if (request.method() == http::verb::head) answer_.body().clear();  // its length stays
    stream_.expires_after(HttpListener::kPatience);
    http::async_write(stream_, answer_, [self = shared_from_this()](const error_code& error, std::size_t) {
      if (error) return;
      if (self->answer_.keep_alive()) return self->read();
      error_code ignored;
      self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }

  boost::beast::tcp_stream stream_;
  bool closed_ = false;
  const std::shared_ptr<const HttpListener::Responder> responder_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> answer_;  // under way
};

store::Result<std::unique_ptr<HttpListener>> HttpListener::open(asio::io_context& io, const net::AddressPort& at,
                                                                Responder responder) {
  tcp::acceptor acceptor(io);
  error_code error = listen(acceptor, {to_asio(at.address), at.port});
  const bool any = !at.address.is_v4() && at.address.is_unspecified();
  if (any && (error == asio::error::address_family_not_supported || error == asio::error::no_protocol_option)) {
    error = listen(acceptor, {tcp::v4(), at.port});
  }
  if (error) {
    const bool refused = error == asio::error::access_denied;
    return store::Error{refused ? store::ErrorKind::permission : store::ErrorKind::unavailable,
                        "cannot listen at " + at.to_string() + ": " + error.message()};
  }
  std::unique_ptr<HttpListener> listener(new HttpListener(std::move(acceptor), std::move(responder)));
  listener->accept();
  return listener;
}

HttpListener::HttpListener(tcp::acceptor acceptor, Responder responder)
    : responder_(std::make_shared<const Responder>(std::move(responder))),
      acceptor_(std::move(acceptor)),
      pause_(acceptor_.get_executor()) {}

HttpListener::~HttpListener() {
  for (const auto& each : connections_) {
    if (const auto connection = each.lock()) connection->close();
  }
}

std::uint16_t HttpListener::port() const {
  error_code ignored;
  return acceptor_.local_endpoint(ignored).port();
}

std::size_t HttpListener::connections() const {
  return static_cast<std::size_t>(
      std::count_if(connections_.begin(), connections_.end(), [](const auto& each) { return !each.expired(); }));
}

void HttpListener::accept() {
  acceptor_.async_accept([this, alive = std::weak_ptr(alive_)](const error_code& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted || alive.expired()) return;
    if (!error) {
      serve(std::move(socket));
      return accept();
    }
    // Out of descriptors, most likely: whoever waits will still be there.
    spdlog::warn("a health check cannot be accepted, will try again: {}", error.message());
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this, alive](const error_code& cancelled) {
      if (!cancelled && !alive.expired()) accept();
    });
  });
}

void HttpListener::serve(tcp::socket socket) {
  std::erase_if(connections_, [](const auto& each) { return each.expired(); });
  if (connections_.size() >= kConnections) {
    if (const auto oldest = connections_.front().lock()) oldest->close();
    connections_.pop_front();
  }
  const auto connection = std::make_shared<HttpConnection>(std::move(socket), responder_);
  connections_.push_back(connection);
  connection->read();
}

}  // namespace limpet::control
