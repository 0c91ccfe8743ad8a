// The text of affinities: written as its header says, read back the same; every wrong line is told.
#include "lb/affinity/affinity_text.h"

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::affinity {
namespace {

using flow::Milliseconds;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kHeader = "limpet-affinity 1 2026-11-27T13:55:02.123Z\n";
const WallTime kTime{Milliseconds(1795787702123)};  // date -u -d 2026-11-27T13:55:02.123Z +%s%3N

NamedEntry entry(std::string service, const char* client, const char* endpoint, int age, bool confirmed) {
  return {std::move(service), *net::Address::parse(client), *net::AddressPort::parse(endpoint), Milliseconds(age),
          confirmed};
}

std::string write(const std::vector<NamedEntry>& entries) {
  std::ostringstream out;
  write_header(out, kTime);
  for (const NamedEntry& one : entries) write_entry(out, one);
  write_end(out, entries.size());
  return out.str();
}

ParsedText parse(const std::string& text) {
  std::istringstream in(text);
  return parse_text(in, "a.txt");
}

TEST(AffinityText, IsWrittenAsDescribed) {
  EXPECT_EQ(write({entry("default/php-apache-svc:http", "198.18.0.7", "10.28.8.5:80", 1234, true),
                   entry("a name: with blanks", "fd98::7", "[fd02:1::2]:8080", 99, false)}),
            kHeader +
                "default/php-apache-svc:http 198.18.0.7 10.28.8.5:80 1234 confirmed\n"
                "\"a name: with blanks\" fd98::7 [fd02:1::2]:8080 99 provisional\n"
                "end 2\n");
}

TEST(AffinityText, IsReadBackTheSame) {
  std::vector<NamedEntry> entries;
  for (const char* const name : {"a/b:c", "", " ", "#a", "a#", "\"", "\\", "a\tb\nc\x7f", "ä", "end", "\\x41"}) {
    entries.push_back(entry(name, "198.18.0.7", "10.28.8.5:80", 0, true));
  }
  const ParsedText parsed = parse(write(entries));
  EXPECT_THAT(parsed.errors, IsEmpty());
  EXPECT_EQ(parsed.written, kTime);
  EXPECT_THAT(parsed.entries, ElementsAreArray(entries));
}

TEST(AffinityText, RemarksAndEmptyLinesMeanNothing) {
  const ParsedText parsed = parse(kHeader + "# a remark\n\na/b:c 10.0.0.1 10.2.0.1:80 1 confirmed\nend 1\n# the end\n");
  EXPECT_THAT(parsed.errors, IsEmpty());
  EXPECT_THAT(parsed.entries, SizeIs(1));
}

struct Wrong {
  const char* name;
  std::string text;
  const char* error;
};

TEST(AffinityText, EveryWrongLineIsTold) {
  const std::string good = "a/b:c 10.0.0.1 10.2.0.1:80 1 confirmed\n";
  const Wrong kWrong[] = {
      {"empty file", "", "a.txt:1: the file is empty"},
      {"another file", "services: []\n", "a.txt:1: this is no list of affinities"},
      {"another version", "limpet-affinity 2 2026-11-27T13:55:02.123Z\n", "a.txt:1: version '2' is not known here"},
      {"no time", "limpet-affinity 1\nend 0\n", "a.txt:1: the time of writing"},
      {"no such time", "limpet-affinity 1 yesterday, at five o'c.\nend 0\n", "a.txt:1: the time of writing"},
      {"no such day", "limpet-affinity 1 2026-02-29T13:55:02.123Z\nend 0\n", "a.txt:1: the time of writing"},
      {"too few fields", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 1\nend 1\n", "a.txt:2: there are 4 fields; write"},
      {"too many fields", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 1 confirmed x\nend 1\n", "a.txt:2: there are 6 fields"},
      {"no client", kHeader + "a/b:c 10.0.0.256 10.2.0.1:80 1 confirmed\nend 1\n", "a.txt:2: '10.0.0.256' is no IP"},
      {"no port", kHeader + "a/b:c 10.0.0.1 10.2.0.1 1 confirmed\nend 1\n", "a.txt:2: '10.2.0.1' is no IP:PORT"},
      {"negative age", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 -1 confirmed\nend 1\n", "a.txt:2: '-1' is no age"},
      {"another unit", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 1s confirmed\nend 1\n", "a.txt:2: '1s' is no age"},
      {"no such state", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 1 sure\nend 1\n", "a.txt:2: 'sure' is no state"},
      {"two blanks", kHeader + "a/b:c  10.0.0.1 10.2.0.1:80 1 confirmed\nend 0\n", "a.txt:2: fields are not"},
      {"blank at the end", kHeader + "a/b:c 10.0.0.1 10.2.0.1:80 1 confirmed \nend 0\n", "a.txt:2: fields are not"},
      {"quotation without end", kHeader + "\"a/b:c 10.0.0.1 10.2.0.1:80 1 confirmed\nend 0\n", "a.txt:2: fields"},
      {"no such escape", kHeader + "\"a\\n\" 10.0.0.1 10.2.0.1:80 1 confirmed\nend 0\n", "a.txt:2: fields"},
      {"escape cut off", kHeader + "\"a\\x4\nend 0\n", "a.txt:2: fields"},
      {"quotation mark inside", kHeader + "a\"b 10.0.0.1 10.2.0.1:80 1 confirmed\nend 0\n", "a.txt:2: fields"},
      {"cut off", kHeader + good, "a.txt:3: the last line, 'end COUNT', is missing"},
      {"a line taken out", kHeader + good + "end 2\n", "a.txt:3: there are 1 entries and not 2"},
      {"no count", kHeader + good + "end all\n", "a.txt:3: 'all' is no number"},
      {"two files joined", kHeader + good + "end 1\n" + kHeader, "a.txt:4: there is more behind"},
  };
  for (const auto& [name, text, error] : kWrong) {
    const ParsedText parsed = parse(text);
    ASSERT_THAT(parsed.errors, SizeIs(1)) << name;
    EXPECT_EQ(parsed.error_count, 1U) << name;
    EXPECT_THAT(to_string(parsed.errors.front()), HasSubstr(error)) << name;
  }
}

TEST(AffinityText, GoodLinesBetweenBadOnesAreRead) {
  const ParsedText parsed = parse(kHeader + "bad\na/b:c 10.0.0.1 10.2.0.1:80 1 confirmed\nbad\nend 3\n");
  EXPECT_THAT(parsed.entries, ElementsAre(entry("a/b:c", "10.0.0.1", "10.2.0.1:80", 1, true)));
  ASSERT_THAT(parsed.errors, SizeIs(2));
  EXPECT_EQ(parsed.errors[0].line, 2U);
  EXPECT_EQ(parsed.errors[1].line, 4U);
}

TEST(AffinityText, ErrorsAreCountedBeyondThoseThatAreKept) {
  std::string text = kHeader;
  for (int i = 0; i < 500; ++i) text += "bad\n";
  const ParsedText parsed = parse(text + "end 500\n");
  EXPECT_THAT(parsed.errors, SizeIs(ParsedText::kMostErrors));
  EXPECT_EQ(parsed.error_count, 500U);
}

}  // namespace
}  // namespace limpet::affinity
