// session.h: one connection to the API: read a request, answer it, read the next. A trace takes the connection over to its
// end (trace_stream.h). Lives as long as something is under way on it.
#pragma once

#include <memory>
#include <optional>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "lb/control/server.h"

namespace limpet::control {

using Stream = boost::beast::basic_stream<boost::asio::local::stream_protocol>;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(boost::asio::local::stream_protocol::socket socket, std::shared_ptr<Api> api);
  void start() { read(); }
  /// Ends what is under way.
  void close();

 private:
  using Request = boost::beast::http::request<boost::beast::http::string_body>;

  void read();
  void on_read(const boost::system::error_code& error);
  void answer(const Request& request);
  void trace(const Request& request);
  void send(Response response, bool keep_alive);

  Stream stream_;
  std::shared_ptr<Api> api_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  boost::beast::http::response<boost::beast::http::string_body> response_;  // under way
};

}  // namespace limpet::control
