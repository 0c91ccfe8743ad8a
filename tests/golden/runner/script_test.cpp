// The player of golden files notices: everything that a file can say wrongly of the program, and what it cannot read.
#include "tests/golden/runner/script.h"

#include <gtest/gtest.h>

namespace limpet::golden {
namespace {

/// "" or the kind of exception.
std::string outcome_of(std::initializer_list<const char*> lines) {
  try {
    Script script(true);
    for (const char* const line : lines) script.line(line);
    script.finish();
  } catch (const Disagreement&) {
    return "disagreement";
  } catch (const SyntaxError&) {
    return "syntax";
  }
  return "";
}

constexpr const char* kService = "service vip:53/udp -> endpoint:53";
constexpr const char* kMasqueraded = "service vip:53/udp -> endpoint:53 masquerade";
constexpr const char* kIn = "in PREROUTING udp client:20000 > vip:53 \"a\"";
constexpr const char* kElsewhere = "in PREROUTING udp client:20000 > vip2:53 \"a\"";

TEST(GoldenScript, AgreesWithWhatHappens) {
  EXPECT_EQ(outcome_of({kService, kIn, "out accept udp client:20000 > endpoint:53 \"a\""}), "");
  EXPECT_EQ(outcome_of({kService, kIn, "out accept udp client:20000 > chosen:53 \"a\""}), "");
  EXPECT_EQ(outcome_of({kMasqueraded, kIn, "out accept mark 0x1000 udp client:20000 > endpoint:53 \"a\""}), "");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same accepted_not_a_service"}), "");
}

TEST(GoldenScript, NoticesWhatDoesNotHappen) {
  for (const char* const out :
       {"out accept udp client:20000 > endpoint:54 \"a\"", "out accept udp client:20000 > endpoint:53 \"b\"",
        "out accept udp client:20000 > endpoint:53 checksum bad \"a\"",
        "out accept udp client:20000 > endpoint2:53 \"a\"", "out accept udp client:20000 > endpoint:53 ttl 63 \"a\"",
        "out accept udp client:20001 > chosen:53 \"a\"", "out accept mark 0x1000 udp client:20000 > endpoint:53 \"a\"",
        "out same", "out drop dropped_rejected", "out reply udp client:20000 > endpoint:53 \"a\""}) {
    EXPECT_EQ(outcome_of({kService, kIn, out}), "disagreement") << out;
  }
  EXPECT_EQ(outcome_of({kMasqueraded, kIn, "out accept udp client:20000 > endpoint:53 \"a\""}), "disagreement");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same accepted_miss"}), "disagreement");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same mark 1"}), "disagreement");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same", "count packets 2"}), "disagreement");
}

TEST(GoldenScript, RefusesWhatMakesNoSense) {
  EXPECT_EQ(outcome_of({kService}), "syntax");
  EXPECT_EQ(outcome_of({kService, kIn}), "syntax");
  EXPECT_EQ(outcome_of({kService, kIn, kIn}), "syntax");
  EXPECT_EQ(outcome_of({kService, kIn, "after 1s"}), "syntax");
  EXPECT_EQ(outcome_of({kService, "out same"}), "syntax");
  EXPECT_EQ(outcome_of({kService, "in SOMEWHERE it"}), "syntax");
  EXPECT_EQ(outcome_of({kService, "in PREROUTING it"}), "syntax");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same no_such_counter"}), "syntax");
  EXPECT_EQ(outcome_of({kService, kElsewhere, "out same", kService}), "syntax");
  EXPECT_EQ(outcome_of({"service vip:53 -> endpoint:53"}), "syntax");
  EXPECT_EQ(outcome_of({"set flows many"}), "syntax");
  EXPECT_EQ(outcome_of({"fly"}), "syntax");
}

}  // namespace
}  // namespace limpet::golden
