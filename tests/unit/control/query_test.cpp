#include "lb/control/query.h"

#include <string>

#include <gtest/gtest.h>

namespace limpet::control {
namespace {

TEST(Query, ReadsWhatIsThere) {
  Query query("/v1/flows?service=t%2Fweb%3Ahttp&client=10.0.0.0/8&endpoint=[fd00::1]:80&protocol=TCP&limit=7&all=true");
  EXPECT_EQ(query.text("service"), "t/web:http");
  EXPECT_EQ(query.prefix("client")->to_string(), "10.0.0.0/8");
  EXPECT_EQ(query.address_port("endpoint")->to_string(), "[fd00::1]:80");
  EXPECT_EQ(query.protocol("protocol"), net::Protocol::tcp);
  EXPECT_EQ(query.number("limit", 1, 10, 5), 7u);
  EXPECT_TRUE(query.flag("all"));
  EXPECT_EQ(query.error(), std::nullopt);
}

TEST(Query, HasDefaultsForWhatIsNot) {
  Query query("/v1/flows");
  EXPECT_EQ(query.text("service"), std::nullopt);
  EXPECT_EQ(query.prefix("client"), std::nullopt);
  EXPECT_EQ(query.number("limit", 1, 10, 5), 5u);
  EXPECT_FALSE(query.flag("all"));
  EXPECT_EQ(query.error(), std::nullopt);
}

TEST(Query, NamesTheParameterThatIsWrong) {
  struct Case {
    const char* target;
    const char* named;
    const char* remedy;
  };
  const Case cases[] = {
      {"/?client=10.0.0.300", "'client' is '10.0.0.300'", "a CIDR"},
      {"/?client=", "'client' is ''", "a value"},
      {"/?client", "'client' is ''", "a value"},
      {"/?from=10.0.0.0/8", "'from' is '10.0.0.0/8'", "an IP address"},
      {"/?endpoint=10.0.0.1", "'endpoint' is '10.0.0.1'", "IP:PORT"},
      {"/?protocol=gre", "'protocol' is 'gre'", "tcp, udp, sctp or udplite"},
      {"/?limit=0", "'limit' is '0'", "from 1 to 10"},
      {"/?limit=11", "'limit' is '11'", "from 1 to 10"},
      {"/?limit=-1", "'limit' is '-1'", "from 1 to 10"},
      {"/?limit=5x", "'limit' is '5x'", "from 1 to 10"},
      {"/?limit=99999999999999999999", "'limit'", "from 1 to 10"},
      {"/?all=yes", "'all' is 'yes'", "true or false"},
      {"/?limit=5&limit=6", "'limit' is given twice", "keep one"},
      {"/?colour=red", "no parameter 'colour'", "known are all, client, endpoint, from, limit, protocol"},
      {"/?client=%zz", "'client=%zz'", "%25"},
      {"/?client=%4", "'client=%4'", "%25"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.target);
    Query query(one.target);
    query.prefix("client"), query.address("from"), query.address_port("endpoint"), query.protocol("protocol");
    query.number("limit", 1, 10, 5), query.flag("all");
    const auto error = query.error();
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->status, 400u);
    EXPECT_NE(error->body["error"].get<std::string>().find(one.named), std::string::npos) << error->body;
    EXPECT_NE(error->body["remedy"].get<std::string>().find(one.remedy), std::string::npos) << error->body;
  }
}

TEST(Query, UndoesWhatPercentEncodeDoes) {
  const std::string text = "ns/name:port & more=100% +\xc3\xa9";
  EXPECT_EQ(percent_encode("a/b:c"), "a%2Fb%3Ac");
  Query query("/?x=" + percent_encode(text));
  EXPECT_EQ(query.text("x"), text);
}

}  // namespace
}  // namespace limpet::control
