#include "lb/control/client.h"

#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/control/running_server.h"

namespace limpet::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using testing::HasSubstr;

TEST(Client, SaysWhereNobodyAnswers) {
  const TemporaryFolder folder;
  const std::vector<fs::path> paths{folder / "a.sock", folder / "b.sock"};
  const auto client = Client::connect(paths);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, store::ErrorKind::unavailable);
  EXPECT_THAT(client.error().message, HasSubstr("no limpet answers at " + paths[0].string() + " or " +
                                                paths[1].string() + " (No such file or directory)"));
  EXPECT_THAT(client.error().message, HasSubstr("limpet run"));
  const auto too_long = Client::connect(std::vector{folder / std::string(200, 'x')});
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().kind, store::ErrorKind::unavailable);
}

TEST(Client, TakesTheFirstThatAnswers) {
  RunningServer server;
  const TemporaryFolder folder;
  auto client = Client::connect(std::vector{folder / "nobody.sock", server.path()});
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ(client->request(Method::get, "/v1/stats")->body["packets"], 7);
}

TEST(Client, ReadsAListPageByPageOnOneConnection) {
  RunningServer server;
  for (int i = 0; i < 1234; ++i) server.tables.connect("10.1.0.2:" + std::to_string(1000 + i), 0);
  Client client = server.client();
  std::vector<std::string> seen;
  const auto visit = [&](const ordered_json& item) {
    seen.push_back(item["client"]);
    return true;
  };
  for (const char* target : {"/v1/flows", "/v1/flows?state=ESTABLISHED&limit=100"}) {
    SCOPED_TRACE(target);
    seen.clear();
    const auto last = client.list(target, visit);
    ASSERT_TRUE(last) << last.error().message;
    EXPECT_EQ(last->status, 200u);
    ASSERT_EQ(seen.size(), 1234u);
    EXPECT_EQ(seen.back(), "10.1.0.2:2233");
  }
  EXPECT_EQ(server.connections(), 1u);
  std::size_t taken = 0;
  EXPECT_TRUE(client.list("/v1/flows", [&](const ordered_json&) { return ++taken < 5; }));
  EXPECT_EQ(taken, 5u) << "it ends when it is told to";
}

TEST(Client, HandsOverRefusals) {
  RunningServer server;
  Client client = server.client();
  const auto answer = client.list("/v1/flows?client=x", [](const ordered_json&) { return true; });
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 400u);
  EXPECT_THAT(words_of(*answer), HasSubstr("'client' is 'x'; write an IP address"));
  const auto stream = client.stream(
      "/v1/trace?from=x", [] {}, [](std::string_view) { return true; });
  ASSERT_TRUE(stream) << stream.error().message;
  EXPECT_EQ(stream->status, 400u);
  EXPECT_THAT(words_of(*stream), HasSubstr("'from' is 'x'"));
}

TEST(Client, ConnectsAgainWhenItWasSilentForTooLong) {
  RunningServer server({.socket = {}, .idle = std::chrono::milliseconds(20)});
  Client client = server.client();
  while (server.connections() > 0) std::this_thread::yield();
  const auto answer = client.request(Method::get, "/v1/stats");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body["packets"], 7);
}

TEST(Client, SaysWhenTheDaemonHasGone) {
  RunningServer server;
  Client client = server.client();
  ASSERT_TRUE(client.request(Method::get, "/v1/stats"));
  server.end();
  const auto answer = client.request(Method::get, "/v1/stats");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, store::ErrorKind::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("has gone"));
}

}  // namespace
}  // namespace limpet::control
