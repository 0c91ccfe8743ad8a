// Real connections to a real port of the loopback interface.
#include "lb/control/http_listener.h"

#include <list>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/control_thread.h"

namespace limpet::control {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// Answers with the path.
class HttpListenerTest : public testing::Test {
 protected:
  HttpListenerTest() {
    thread_.run([this] {
      auto opened = open(0);
      if (!opened) throw std::runtime_error(opened.error().message);
      listener_ = std::move(*opened);
    });
  }
  ~HttpListenerTest() override {
    thread_.run([this] { listener_.reset(); });
  }
  store::Result<std::unique_ptr<HttpListener>> open(std::uint16_t port) {
    return HttpListener::open(thread_.io, {own_loopback(0), port}, [](std::string_view path) {
      return HttpAnswer{.body = "{" + std::string(path) + "}\n", .headers = {{"X-Mood", "good"}}};
    });
  }
  net::AddressPort at() {
    return {own_loopback(0), thread_.run([this] { return listener_->port(); })};
  }

  ControlThread thread_;
  std::unique_ptr<HttpListener> listener_;
};

TEST_F(HttpListenerTest, AnswersWithWhatTheResponderSays) {
  EXPECT_THAT(
      fetch(at(), "/healthz?verbose"),
      AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("Content-Type: application/json\r\n"),
            HasSubstr("X-Mood: good\r\n"), HasSubstr("Content-Length: 11\r\n"), EndsWith("\r\n\r\n{/healthz}\n")));
}

TEST_F(HttpListenerTest, AnswersOneRequestAfterTheOther) {
  TcpClient client(at());
  client.say(get("/a"));
  EXPECT_THAT(client.hear(), EndsWith("{/a}\n"));
  client.say(get("/b") + get("/c"));
  EXPECT_THAT(client.hear(), EndsWith("{/b}\n"));
  EXPECT_THAT(client.hear(), EndsWith("{/c}\n"));
}

TEST_F(HttpListenerTest, AHeadHasNoBody) {
  TcpClient client(at());
  client.say("HEAD /a HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.hear_out(), AllOf(HasSubstr("Content-Length: 5\r\n"), EndsWith("\r\n\r\n")));
}

TEST_F(HttpListenerTest, ClosesOnWhoSpeaksNoHttp) {
  TcpClient client(at());
  client.say("\x16\x03\x01 is TLS\r\n\r\n");
  EXPECT_THAT(client.hear_out(), IsEmpty());
}

TEST_F(HttpListenerTest, ClosesOnARequestThatIsTooLong) {
  for (const std::string& request :
       {get("/" + std::string(10000, 'a')),
        "POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'a')}) {
    TcpClient client(at());
    client.say(request);
    EXPECT_THAT(client.hear_out(), IsEmpty());
  }
}

TEST_F(HttpListenerTest, TheOldestMakesRoomForOneMore) {
  std::list<TcpClient> silent;
  for (std::size_t i = 0; i < HttpListener::kConnections; ++i) silent.emplace_back(at());
  EXPECT_THAT(fetch(at()), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(silent.front().hear_out(), IsEmpty()) << "it was closed";
  silent.back().say(get("/still"));
  EXPECT_THAT(silent.back().hear(), EndsWith("{/still}\n"));
}

TEST_F(HttpListenerTest, GoesWithItsConnections) {
  TcpClient client(at());
  client.say(get("/a"));
  client.hear();
  thread_.run([this] { listener_.reset(); });
  EXPECT_THAT(client.hear_out(), IsEmpty());
  EXPECT_EQ(thread_.run([this] {
    auto again = open(0);
    return static_cast<bool>(again);
  }),
            true);
}

TEST_F(HttpListenerTest, SaysWhatIsInTheWay) {
  const net::AddressPort taken = at();
  const auto second = thread_.run([&] { return open(taken.port); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, store::ErrorKind::unavailable);
  EXPECT_EQ(second.error().message, "cannot listen at " + taken.to_string() + ": Address already in use");
}

}  // namespace
}  // namespace limpet::control
