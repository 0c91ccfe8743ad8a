// control_thread.h: an io_context that runs beside the test, and clients that speak to what is served on it.
#pragma once

#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <unistd.h>

#include "conntrack/net/address.h"

namespace limpet::control {

class ControlThread {
 public:
  ControlThread() : thread_([this] { io.run(); }) {}
  ~ControlThread() {
    work_.reset();
    io.stop();
    thread_.join();
  }
  /// There, and waits for it.
  template <typename Task>
  auto run(Task&& task) {
    std::packaged_task<decltype(task())()> packaged(std::forward<Task>(task));
    boost::asio::post(io, [&packaged] { packaged(); });
    return packaged.get_future().get();
  }

  boost::asio::io_context io;

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io.get_executor()};
  std::thread thread_;
};

/// An address of 127.0.0.0/8 that is this process's and this number's: tests that run at once do not meet.
inline net::Address own_loopback(unsigned number) {
  const auto process = static_cast<std::uint32_t>(::getpid());
  return net::Address::from_v4(0x7f000000U | ((process & 0x7fffU) + 1U) << 8U | (number + 1U));
}

/// A connection that says what it likes.
class TcpClient {
 public:
  explicit TcpClient(const net::AddressPort& at) {
    socket_.connect({boost::asio::ip::make_address(at.address.to_string()), at.port});
  }
  void say(const std::string& text) {
    boost::system::error_code ignored;  // whoever has been turned away finds out by reading
    boost::asio::write(socket_, boost::asio::buffer(text), ignored);
  }
  /// All that comes until the other side closes.
  std::string hear_out() {
    std::string text;
    boost::system::error_code end;
    boost::asio::read(socket_, boost::asio::dynamic_buffer(text), end);
    return text;
  }
  /// A whole answer, whose body ends in "}\n".
  std::string hear() {
    std::string text;
    boost::system::error_code end;
    for (char c; !end && !text.ends_with("}\n");) {
      if (boost::asio::read(socket_, boost::asio::buffer(&c, 1), end) == 1) text += c;
    }
    return text;
  }

 private:
  boost::asio::io_context io_;
  boost::asio::ip::tcp::socket socket_{io_};
};

inline std::string get(const std::string& target, const std::string& more = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: node\r\n" + more + "\r\n";
}

/// The answer to one request; empty: nobody listens.
inline std::string fetch(const net::AddressPort& at, const std::string& target = "/") {
  try {
    TcpClient client(at);
    client.say(get(target, "Connection: close\r\n"));
    return client.hear_out();
  } catch (const boost::system::system_error&) {
    return {};
  }
}

}  // namespace limpet::control
