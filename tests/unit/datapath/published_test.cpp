#include "lb/datapath/published.h"

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

TEST(Published, AReaderSeesTheLatestAtItsNextLook) {
  Published<int> published(std::make_shared<const int>(1));
  Published<int>::Reader reader(published);
  EXPECT_EQ(reader.get(), 1);
  published.publish(std::make_shared<const int>(2));
  published.publish(std::make_shared<const int>(3));
  EXPECT_EQ(reader.get(), 3);
  EXPECT_EQ(reader.get(), 3);
  EXPECT_EQ(*published.load(), 3);
  Published<int>::Reader late(published);
  EXPECT_EQ(late.get(), 3);
}

TEST(Published, TheOldObjectLivesUntilTheLastReaderMovesOn) {
  auto first = std::make_shared<const int>(1);
  const std::weak_ptr<const int> watched = first;
  Published<int> published(std::move(first));
  Published<int>::Reader a(published), b(published);
  const int& held = a.get();
  b.get();
  published.publish(std::make_shared<const int>(2));
  EXPECT_EQ(held, 1) << "what a reader holds stays valid until it looks again";
  b.get();
  EXPECT_FALSE(watched.expired());
  a.get();
  EXPECT_TRUE(watched.expired());
}

// The publisher makes objects whose parts agree; a reader that saw a torn, dead or older one would show it.
TEST(Published, ReadersNeverSeeATornOrAnOlderObject) {
  struct Pair {
    explicit Pair(std::uint64_t n) : number(n), square(n * n) {}
    ~Pair() { number = square = 1'000'003; }  // no square of the other
    std::uint64_t number, square;
  };
  constexpr std::uint64_t kVersions = 5000;
  constexpr unsigned kReaders = 3;
  Published<Pair> published(std::make_shared<const Pair>(0));
  std::atomic<unsigned> wrong{0};
  const auto read = [&] {
    Published<Pair>::Reader reader(published);
    for (std::uint64_t last = 0; last < kVersions;) {  // ends when the last version has arrived
      const Pair& pair = reader.get();
      if (pair.square != pair.number * pair.number || pair.number < last) ++wrong;
      last = pair.number;
    }
  };
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kReaders; ++i) readers.emplace_back(read);
  for (std::uint64_t n = 1; n <= kVersions; ++n) published.publish(std::make_shared<const Pair>(n));
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace limpet::datapath
