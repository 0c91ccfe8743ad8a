// running_server.h: a server on a real socket, its control thread running beside the test's.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "lb/control/client.h"
#include "lb/control/server.h"
#include "tests/unit/control/fakes.h"
#include "tests/unit/control/temporary_folder.h"

namespace limpet::control {

class RunningServer {
 public:
  explicit RunningServer(ServerOptions options = {}) {
    options.socket = folder_ / "default.sock";
    auto opened = Server::open(io_, tables, tracing, std::move(options));
    if (!opened) throw std::runtime_error(opened.error().message);
    server_ = std::move(*opened);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~RunningServer() {
    end();
    work_.reset();
    io_.stop();
    thread_.join();
  }

  std::filesystem::path path() const { return folder_ / "default.sock"; }
  Client client() {
    auto connected = Client::connect(std::vector{path()});
    if (!connected) throw std::runtime_error(connected.error().message);
    return std::move(*connected);
  }
  /// As the control thread finds it. Not after end().
  template <typename Ask>
  auto ask(Ask&& question) {
    std::promise<decltype(question(*server_))> answer;
    boost::asio::post(io_, [&] { answer.set_value(question(*server_)); });
    return answer.get_future().get();
  }
  std::size_t connections() {
    return ask([](const Server& server) { return server.connections(); });
  }
  /// The server ends; the control thread runs on. May be called again.
  void end() {
    std::promise<void> ended;
    boost::asio::post(io_, [&] {
      server_.reset();
      ended.set_value();
    });
    ended.get_future().wait();
  }
  datapath::Observer* observer() const { return published.load()->of(0); }

  FakeTables tables;  // before the first request
  datapath::Published<datapath::Observers> published{std::make_shared<const datapath::Observers>()};
  Tracing tracing{published, 1};

 private:
  TemporaryFolder folder_;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace limpet::control
