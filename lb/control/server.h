// server.h: the running daemon's face: HTTP/1.1 over a unix socket, JSON, on the daemon's control thread.
//
//   SocketFile ── accept ──▶ Session (session.h): requests, one after the other ──▶ Resources (resources.h)
//                              └── GET /v1/trace: TraceStream, to the end of the connection
//
// Bounded: kConnections at once, the next is told 503 and closed; a request of 8 KiB, with a body of 512 KiB if it is a POST; pages
// (resources.h); a connection that says nothing for `idle`, or takes nothing for `stalled`, is closed. What is on its way to
// one client is one page, or one piece of a trace: a slow reader makes nobody wait, and no memory grow.
//
// Everything runs on the io_context's one thread; the packet path knows nothing of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include "conntrack/store/result.h"
#include "lb/control/resources.h"
#include "lb/control/socket_file.h"
#include "lb/control/tracing.h"

namespace limpet::control {

struct ServerOptions {
  std::filesystem::path socket;
  std::size_t connections = 32;
  std::chrono::milliseconds idle{30'000};
  std::chrono::milliseconds stalled{10'000};
  std::chrono::milliseconds drain{50};  // how often a trace is looked after
};

/// What sessions share; each keeps it alive.
struct Api {
  Api(Tables& tables, Tracing& watch, ServerOptions with)
      : resources(tables), tracing(watch), options(std::move(with)) {}
  Resources resources;
  Tracing& tracing;
  const ServerOptions options;
};

class Session;

class Server {
 public:
  /// The references outlive the io_context: its handlers use them. Errors: those of SocketFile.
  static store::Result<std::unique_ptr<Server>> open(boost::asio::io_context& io, Tables& tables, Tracing& tracing,
                                                     ServerOptions options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// Closes every connection.
  ~Server();

  const std::filesystem::path& socket() const noexcept { return file_.path(); }
  std::size_t connections() const;

 private:
  using Protocol = boost::asio::local::stream_protocol;

  Server(boost::asio::io_context& io, SocketFile file, std::shared_ptr<Api> api);
  void accept();
  void serve(Protocol::socket socket);

  SocketFile file_;
  std::shared_ptr<Api> api_;
  Protocol::acceptor acceptor_;
  boost::asio::steady_timer pause_;  // after a failed accept
  std::vector<std::weak_ptr<Session>> sessions_;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // asked by handlers that come late
};

}  // namespace limpet::control
