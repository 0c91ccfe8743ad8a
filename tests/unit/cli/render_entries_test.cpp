#include "lb/cli/render_entries.h"

#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;

TEST(DurationText, HasTwoUnits) {
  struct Case {
    double seconds;
    const char* text;
  };
  const Case cases[] = {{0, "0s"},        {-3, "0s"},        {59.9, "59s"},      {60, "1m00s"},
                        {3599, "59m59s"}, {3600, "1h00m"},   {10800, "3h00m"},   {86399, "23h59m"},
                        {86400, "1d00h"}, {432000, "5d00h"}, {431999.5, "4d23h"}};
  for (const Case& one : cases) EXPECT_EQ(duration_text(one.seconds), one.text) << one.seconds;
}

std::vector<Column> name_and_number() {
  return {{"NAME", [](const ordered_json& item) { return item["name"].get<std::string>(); }},
          {"N", [](const ordered_json& item) { return item["n"].dump(); }}};
}

TEST(TablePrinter, MakesColumnsAsWideAsTheyNeedToBe) {
  std::ostringstream out;
  TablePrinter table(name_and_number(), out);
  table.add({{"name", "a"}, {"n", 1}});
  table.add({{"name", "longer"}, {"n", 22}});
  EXPECT_EQ(out.str(), "") << "it waits for what is wider";
  table.finish();
  EXPECT_EQ(out.str(), "NAME    N\na       1\nlonger  22\n");
}

TEST(TablePrinter, HasAHeadWithoutRows) {
  std::ostringstream out;
  TablePrinter table(name_and_number(), out);
  table.finish();
  EXPECT_EQ(out.str(), "NAME  N\n");
}

// A list without an end: what has been seen is printed, and the columns stay where they are.
TEST(TablePrinter, HoldsBackSoManyRowsAndNoMore) {
  std::ostringstream out;
  TablePrinter table(name_and_number(), out);
  for (std::size_t i = 0; i < TablePrinter::kAhead; ++i) table.add({{"name", "abcdef"}, {"n", 1}});
  EXPECT_NE(out.str(), "");
  out.str("");
  table.add({{"name", "a"}, {"n", 2}});
  table.add({{"name", "abcdefgh"}, {"n", 3}});
  EXPECT_EQ(out.str(), "a       2\nabcdefgh  3\n");
  table.finish();
  EXPECT_EQ(out.str(), "a       2\nabcdefgh  3\n") << "nothing is printed twice";
}

}  // namespace
}  // namespace limpet::cli
