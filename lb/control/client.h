// client.h: the other end of the API's socket, for the command line: one request after the other, waiting for each answer.
//
// One connection, kept; it is made again if the daemon has closed it meanwhile. Nothing that a daemon sends makes this end hold
// more than kLargest bytes; one that says nothing for kPatience is given up, but for a stream, whose silence means nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <nlohmann/json.hpp>

#include "conntrack/store/result.h"
#include "lb/control/resources.h"

namespace limpet::control {

class Client {
 public:
  static constexpr std::size_t kLargest = std::size_t{64} << 20;
  static constexpr std::chrono::seconds kPatience{30};

  /// To the first of the paths that somebody listens at. unavailable: nobody does; permission: not for this user.
  static store::Result<Client> connect(std::span<const std::filesystem::path> paths);

  /// The daemon's answer, be it an error or not. unavailable: it has gone.
  store::Result<Response> request(Method method, const std::string& target, const std::string& body = {});
  /// Every item of a list, page by page. `visit` returns false to end.
  store::Result<Response> list(const std::string& target,
                               const std::function<bool(const nlohmann::ordered_json&)>& visit);
  /// Each line of a stream, until the daemon ends it or `line` returns false. `begun` is called when the head has come. The
  /// answer, if it is no stream.
  store::Result<Response> stream(const std::string& target, const std::function<void()>& begun,
                                 const std::function<bool(std::string_view)>& line);

 private:
  using Stream = boost::beast::basic_stream<boost::asio::local::stream_protocol>;

  explicit Client(std::filesystem::path path);
  boost::system::error_code open();
  /// Runs what has been begun to its end; how that was.
  template <typename Begin>
  boost::system::error_code finish(Begin&& begin);
  boost::system::error_code exchange(Method method, const std::string& target, const std::string& body,
                                     Response& response);
  store::Error gone(const boost::system::error_code& error) const;

  std::filesystem::path path_;
  std::unique_ptr<boost::asio::io_context> io_;
  std::unique_ptr<Stream> stream_;
  boost::beast::flat_buffer buffer_;
};

/// "error; remedy", of an answer that is no success.
std::string words_of(const Response& response);

}  // namespace limpet::control
