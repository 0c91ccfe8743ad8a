// http_listener.h: HTTP/1.1 on a TCP port, for answers that are made at once: health checks.
//
//   acceptor ── accept ──▶ connection: read a request, whatever its method and body ──▶ Responder ──▶ write, read the next
//
// Who asks is anybody on the network, so all is bounded: kConnections at once (for one more the oldest is closed: whoever
// only holds connections does not keep health checks out), a request of 8 KiB with a body of 4 KiB, kPatience for each
// request and each answer.
//
// Everything runs on the io_context's one thread. The listener closes its connections when it goes.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"

namespace limpet::control {

/// With Content-Type application/json.
struct HttpAnswer {
  unsigned status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

class HttpConnection;

class HttpListener {
 public:
  static constexpr std::size_t kConnections = 64;
  static constexpr std::chrono::seconds kPatience{5};

  /// Of the path that is asked for, without its query.
  using Responder = std::function<HttpAnswer(std::string_view path)>;

  /// `at`: [::] stands for every address of both families (of IPv4 alone where the kernel has no IPv6). Errors: what
  /// bind and listen say.
  static store::Result<std::unique_ptr<HttpListener>> open(boost::asio::io_context& io, const net::AddressPort& at,
                                                           Responder responder);
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;
  ~HttpListener();

  /// The port that was bound: the kernel's choice, if 0 was asked for.
  std::uint16_t port() const;
  std::size_t connections() const;

 private:
  HttpListener(boost::asio::ip::tcp::acceptor acceptor, Responder responder);
  void accept();
  void serve(boost::asio::ip::tcp::socket socket);

  const std::shared_ptr<const Responder> responder_;  // the connections' too
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;                                         // after a failed accept
  std::list<std::weak_ptr<HttpConnection>> connections_;                    // the oldest first
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // asked by handlers that come late
};

}  // namespace limpet::control
