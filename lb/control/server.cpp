#include "lb/control/server.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <spdlog/spdlog.h>

#include "lb/control/session.h"

namespace limpet::control {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::chrono::milliseconds kAcceptPause{100};

/// Without waiting: who does not read it is closed all the same.
void turn_away(asio::local::stream_protocol::socket socket) {
  constexpr std::string_view kAnswer =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 87\r\n"
      "Connection: close\r\n\r\n"
      R"({"error":"too many connections to limpet's socket","remedy":"close some, or try again"})";
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.send(asio::buffer(kAnswer), 0, ignored);
}

}  // namespace

store::Result<std::unique_ptr<Server>> Server::open(asio::io_context& io, Tables& tables, Tracing& tracing,
                                                    ServerOptions options) {
  auto file = SocketFile::listen(options.socket);
  if (!file) return file.error();
  auto api = std::make_shared<Api>(tables, tracing, std::move(options));
  std::unique_ptr<Server> server(new Server(io, std::move(*file), std::move(api)));
  server->accept();
  return server;
}

Server::Server(asio::io_context& io, SocketFile file, std::shared_ptr<Api> api)
    : file_(std::move(file)), api_(std::move(api)), acceptor_(io, Protocol(), file_.release()), pause_(io) {}

Server::~Server() {
  for (const std::weak_ptr<Session>& session : sessions_) {
    if (const auto alive = session.lock()) alive->close();
  }
}

std::size_t Server::connections() const {
  return static_cast<std::size_t>(
      std::count_if(sessions_.begin(), sessions_.end(), [](const auto& session) { return !session.expired(); }));
}

void Server::accept() {
  acceptor_.async_accept([this, alive = std::weak_ptr(alive_)](const error_code& error, Protocol::socket socket) {
    if (error == asio::error::operation_aborted || alive.expired()) return;
    if (!error) {
      serve(std::move(socket));
      return accept();
    }
    // Out of descriptors, most likely: whoever waits will still be there.
    spdlog::warn("the API cannot accept a connection, will try again: {}", error.message());
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([this, alive](const error_code& cancelled) {
      if (!cancelled && !alive.expired()) accept();
    });
  });
}

void Server::serve(Protocol::socket socket) {
  std::erase_if(sessions_, [](const auto& session) { return session.expired(); });
  if (sessions_.size() >= api_->options.connections) return turn_away(std::move(socket));
  const auto session = std::make_shared<Session>(std::move(socket), api_);
  sessions_.push_back(session);
  session->start();
}

}  // namespace limpet::control
