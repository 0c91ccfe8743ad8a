// Real connections to a real socket: HTTP as it is spoken, limits, readers that do not read, traces.
#include "lb/control/server.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/running_server.h"

namespace limpet::control {
namespace {

namespace asio = boost::asio;
using nlohmann::ordered_json;
using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// A client that says what it likes.
class Raw {
 public:
  explicit Raw(const RunningServer& server) { socket_.connect(server.path().string()); }
  void say(const std::string& text) {
    boost::system::error_code ignored;  // whoever has been turned away finds out by reading
    asio::write(socket_, asio::buffer(text), ignored);
  }
  /// All that comes until the other side closes.
  std::string hear_out() {
    std::string text;
    boost::system::error_code end;
    asio::read(socket_, asio::dynamic_buffer(text), end);
    return text;
  }
  std::string hear(const std::string& until) {
    std::string text;
    for (char c; text.find(until) == std::string::npos;) {
      boost::system::error_code end;
      if (asio::read(socket_, asio::buffer(&c, 1), end) == 0) break;
      text += c;
    }
    return text;
  }

 private:
  asio::io_context io_;
  asio::local::stream_protocol::socket socket_{io_};
};

std::string get(const std::string& target, const std::string& more = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: limpet\r\n" + more + "\r\n";
}

TEST(Server, SpeaksHttp) {
  RunningServer server;
  Raw client(server);
  client.say(get("/v1/queues"));
  const std::string head = client.hear("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_EQ(client.hear("\n"), "{\"items\":[{\"queue\":0,\"packets\":7}],\"next\":null}\n");
  client.say(get("/v1/nothing"));  // the connection goes on
  EXPECT_THAT(client.hear("}\n"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
}

TEST(Server, ClosesWhereItIsAskedTo) {
  RunningServer server;
  Raw client(server);
  client.say(get("/v1/stats", "Connection: close\r\n"));
  EXPECT_THAT(client.hear_out(), EndsWith("{\"packets\":7,\"flows\":0}\n"));
}

TEST(Server, ErasesByDelete) {
  RunningServer server;
  server.tables.remember(0, "10.1.0.2", 0);
  Raw client(server);
  client.say("DELETE /v1/affinity?client=10.1.0.2 HTTP/1.1\r\nHost: limpet\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.hear_out(), EndsWith("{\"erased\":1}\n"));
}

TEST(Server, RefusesWhatIsNoRequestOfItsKind) {
  RunningServer server;
  struct Case {
    const char* name;
    std::string said;
    const char* answer;
  };
  const Case cases[] = {
      {"no HTTP", "hello\r\n\r\n", "HTTP/1.1 400 "},
      {"too long a target", get("/v1/flows?service=" + std::string(9000, 'x')), "HTTP/1.1 431 "},
      {"too many headers", get("/v1/flows", "X: " + std::string(9000, 'x') + "\r\n"), "HTTP/1.1 431 "},
      {"a body", "DELETE /v1/affinity HTTP/1.1\r\nHost: l\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 413 "},
      {"too long a body", "POST /v1/affinity HTTP/1.1\r\nHost: l\r\nContent-Length: 524289\r\n\r\n", "HTTP/1.1 413 "},
      {"no batch", "POST /v1/affinity HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 "},
      {"what is not UTF-8", get("/v1/flows?service=%FF%FE", "Connection: close\r\n"), "HTTP/1.1 404 "},
      {"another method", "PUT /v1/affinity HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 "},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    Raw client(server);
    client.say(one.said);
    const std::string answer = client.hear_out();
    EXPECT_THAT(answer, StartsWith(one.answer));
    EXPECT_THAT(answer, HasSubstr("\"remedy\":"));
  }
  EXPECT_EQ(server.client().request(Method::get, "/v1/stats")->status, 200u);
}

TEST(Server, TurnsAwayWhoComesWhenItIsFull) {
  RunningServer server({.socket = {}, .connections = 2});
  Raw one(server), other(server);
  one.say(get("/v1/stats"));
  other.say(get("/v1/stats"));
  one.hear("}\n"), other.hear("}\n");
  {
    Raw third(server);
    const std::string answer = third.hear_out();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
    const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
    EXPECT_THAT(answer, HasSubstr("Content-Length: " + std::to_string(body.size()) + "\r\n"));
    EXPECT_TRUE(ordered_json::parse(body).contains("remedy"));
  }
  const auto answer = server.client().request(Method::get, "/v1/stats");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 503u) << "a client is told, whatever it has said";
}

TEST(Server, ForgetsWhoSaysNothing) {
  RunningServer server({.socket = {}, .idle = milliseconds(20)});
  Raw silent(server), half(server);
  half.say("GET /v1/st");
  EXPECT_EQ(silent.hear_out(), "");
  EXPECT_EQ(half.hear_out(), "");
  while (server.connections() > 0) std::this_thread::yield();
}

TEST(Server, ForgetsWhoDoesNotReadAndServesTheOthers) {
  RunningServer server({.socket = {}, .stalled = milliseconds(50)});
  for (int i = 0; i < 2000; ++i) server.tables.connect("10.1.0.2:" + std::to_string(i + 1), 0);
  Raw deaf(server);
  for (int i = 0; i < 20; ++i) deaf.say(get("/v1/flows?limit=2000"));  // half a megabyte each
  Client other = server.client();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(other.request(Method::get, "/v1/stats")->status, 200u);
  while (server.connections() > 1) std::this_thread::yield();
}

TEST(Server, TakesItsFileAndItsConnectionsAlong) {
  RunningServer server;
  Raw client(server), tracer(server);
  client.say(get("/v1/stats"));
  client.hear("}\n");
  tracer.say(get("/v1/trace?from=10.1.0.2"));
  tracer.hear("\r\n\r\n");
  EXPECT_NE(server.observer(), nullptr);
  server.end();
  EXPECT_EQ(client.hear_out(), "");
  EXPECT_EQ(tracer.hear_out(), "");
  EXPECT_FALSE(std::filesystem::exists(server.path()));
  while (server.observer() != nullptr) std::this_thread::yield();
}

// ---- traces ----

TEST(ServerTrace, StreamsEachCrossingOfAClient) {
  RunningServer server({.socket = {}, .drain = milliseconds(1)});
  Client client = server.client();
  std::vector<ordered_json> lines;
  const auto begun = [&] {
    datapath::Decision decision;
    decision.action = datapath::Action::dnat;
    decision.endpoint = at("10.2.0.1:8080");
    Crossed(tcp_packet("10.1.0.2", 40000, "10.96.0.10", 80))
        .leaves_as(tcp_packet("10.1.0.2", 40000, "10.2.0.1", 8080))
        .decided(decision)
        .tell(*server.observer());
    Crossed(tcp_packet("10.1.0.3", 1, "10.96.0.10", 80)).tell(*server.observer());
    Crossed(tcp_packet("10.2.0.1", 8080, "10.1.0.2", 40000, "SA"))
        .at_hook(datapath::Hook::postrouting)
        .hits(flow::KeyRole::middle)
        .leaves_as(tcp_packet("10.96.0.10", 80, "10.1.0.2", 40000, "SA"))
        .tell(*server.observer());
  };
  EXPECT_TRUE(client.stream("/v1/trace?from=10.1.0.2", begun, [&](std::string_view line) {
    lines.push_back(ordered_json::parse(line));
    return lines.size() < 2;
  }));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["decision"]["service"], "service of 10.96.0.10:80");
  EXPECT_EQ(lines[0]["key"], "new");
  EXPECT_EQ(lines[1]["hook"], "POSTROUTING");
  EXPECT_EQ(lines[1]["to"]["source"], "10.96.0.10:80");
  lines[0].erase("t");
  EXPECT_EQ(lines[0].dump(),
            R"({"packet":1,"hook":"PREROUTING","protocol":"tcp","source":"10.1.0.2:40000",)"
            R"("destination":"10.96.0.10:80","detail":"S","key":"new","decision":{"action":"dnat",)"
            R"("service":"service of 10.96.0.10:80","endpoint":"10.2.0.1:8080","masquerade":false,"affinity":"none",)"
            R"("reason":"no service"},"outcome":"rewritten","to":{"source":"10.1.0.2:40000",)"
            R"("destination":"10.2.0.1:8080"},"verdict":"accept"})");
}

TEST(ServerTrace, EndsWithItsReader) {
  RunningServer server;
  {
    Raw reader(server);
    reader.say(get("/v1/trace?from=10.1.0.2"));
    reader.hear("\r\n\r\n");
    EXPECT_NE(server.observer(), nullptr);
  }
  while (server.observer() != nullptr) std::this_thread::yield();
  while (server.connections() > 0) std::this_thread::yield();
}

TEST(ServerTrace, RefusesWhatItCannotDo) {
  RunningServer server;
  Client client = server.client();
  EXPECT_THAT(words_of(*client.request(Method::get, "/v1/trace")), HasSubstr("'from' is missing; write from=IP"));
  EXPECT_THAT(words_of(*client.request(Method::get, "/v1/trace?from=10.0.0.0/8")), HasSubstr("'from' is '10.0.0.0/8'"));
  EXPECT_EQ(client.request(Method::get, "/v1/trace?to=10.0.0.1")->status, 400u);
  std::vector<std::unique_ptr<Raw>> readers;
  for (std::size_t i = 0; i < Tracing::kTraces; ++i) {
    readers.push_back(std::make_unique<Raw>(server));
    readers.back()->say(get("/v1/trace?from=10.1.0.2"));
    EXPECT_THAT(readers.back()->hear("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  }
  const auto one_more = client.request(Method::get, "/v1/trace?from=10.1.0.2");
  EXPECT_EQ(one_more->status, 503u);
  EXPECT_THAT(words_of(*one_more), HasSubstr("4 traces run already; end one"));
}

// A reader that lags behind loses lines, and is told how many; one that does not read at all is dropped. Neither makes a worker
// wait, or memory grow: the rings are all that there is.
TEST(ServerTrace, CountsWhatASlowReaderLoses) {
  RunningServer server({.socket = {}, .drain = milliseconds(1)});
  Client client = server.client();
  constexpr std::uint64_t kPackets = 5000;  // at once: more than a ring holds
  std::uint64_t lines = 0, lost = 0;
  const auto begun = [&] {
    Crossed packet(tcp_packet("10.1.0.2", 40000, "10.96.0.10", 80));
    server.ask([&](const Server&) {  // in the control thread's time: nothing is drained meanwhile
      for (std::uint64_t i = 0; i < kPackets; ++i) packet.tell(*server.observer());
      return true;
    });
  };
  EXPECT_TRUE(client.stream("/v1/trace?from=10.1.0.2", begun, [&](std::string_view line) {
    const auto json = ordered_json::parse(line);
    json.contains("lost") ? lost += json["lost"].get<std::uint64_t>() : ++lines;
    return lines + lost < kPackets;
  }));
  EXPECT_EQ(lines + lost, kPackets);
  EXPECT_GT(lines, 0u);
  EXPECT_GT(lost, 0u);
}

TEST(ServerTrace, DropsAReaderThatTakesNothing) {
  RunningServer server({.socket = {}, .stalled = milliseconds(50), .drain = milliseconds(1)});
  Raw deaf(server);
  deaf.say(get("/v1/trace?from=10.1.0.2"));
  deaf.hear("\r\n\r\n");
  datapath::Published<datapath::Observers>::Reader reader(server.published);  // a worker of ours
  Crossed packet(tcp_packet("10.1.0.2", 40000, "10.96.0.10", 80));
  Client other = server.client();
  while (datapath::Observer* const observer = reader.get().of(0)) {
    for (int i = 0; i < 64; ++i) packet.tell(*observer);
    ASSERT_EQ(other.request(Method::get, "/v1/stats")->status, 200u);
  }
  EXPECT_EQ(server.connections(), 1u);
}

}  // namespace
}  // namespace limpet::control
