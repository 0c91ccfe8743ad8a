#include "lb/control/object_reloader.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <unistd.h>

namespace limpet::control {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

std::string object(const std::string& name, const std::string& vip) {
  return R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"a","name":")" + name +
         R"("},"spec":{"clusterIP":")" + vip + R"(","ports":[{"port":80}]}})";
}

class ObjectReloaderTest : public testing::Test {
 protected:
  ObjectReloaderTest() { std::filesystem::create_directories(folder_); }
  ~ObjectReloaderTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text) const {
    std::ofstream(folder_ / "new") << text;
    std::filesystem::rename(folder_ / "new", file_);
  }
  std::shared_ptr<service::KubernetesFiles> files() const {
    return std::make_shared<service::KubernetesFiles>(std::vector{file_.string()}, "node");
  }
  /// Runs until the reloader has told something other than nothing.
  void run_until_told() {
    told_.reset();
    const auto give_up = std::chrono::steady_clock::now() + 10s;
    while (!told_ && std::chrono::steady_clock::now() < give_up) io_.run_one_for(100ms);
    ASSERT_TRUE(told_) << "no word in 10 s";
  }
  ObjectReloader::Changed teller() {
    return [this](service::KubernetesFiles::News news) {
      if (!news.groups.empty() || !news.diagnostics.empty()) told_ = std::move(news);
    };
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const service::Group& group : told_->groups) result.push_back(group.name);
    return result;
  }

  boost::asio::io_context io_;
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("limpet_reload_" + std::to_string(getpid()) + "_" +
                                                testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::path file_ = folder_ / "objects.json";
  std::optional<service::KubernetesFiles::News> told_;
};

TEST_F(ObjectReloaderTest, tells_what_changed_and_nothing_else) {
  write(object("one", "10.0.0.1") + object("two", "10.0.0.2"));
  const auto reader = files();
  EXPECT_EQ(reader->read().groups.size(), 2u);
  ObjectReloader reloader(io_, reader, teller());
  write(object("one", "10.0.0.1") + object("two", "10.0.0.3"));
  run_until_told();
  EXPECT_THAT(names(), ElementsAre("a/two"));
  EXPECT_EQ(told_->groups[0].services[0].cluster_ip, net::Address::parse("10.0.0.3"));
  write(object("two", "10.0.0.3"));
  run_until_told();
  EXPECT_THAT(names(), ElementsAre("a/one"));
  EXPECT_TRUE(told_->groups[0].services.empty()) << "it is gone";
}

TEST_F(ObjectReloaderTest, keeps_what_it_had_when_a_file_breaks) {
  write(object("one", "10.0.0.1"));
  const auto reader = files();
  reader->read();
  ObjectReloader reloader(io_, reader, teller());
  write("{");
  run_until_told();
  EXPECT_TRUE(told_->groups.empty());
  EXPECT_THAT(told_->diagnostics[0].message, testing::HasSubstr("not JSON"));
  write(object("one", "10.0.0.9"));
  run_until_told();
  EXPECT_THAT(names(), ElementsAre("a/one"));
}

TEST_F(ObjectReloaderTest, reads_at_once_when_asked) {
  write(object("one", "10.0.0.1"));
  ObjectReloader reloader(io_, files(), teller());
  run_until_told();  // the reading with which it begins
  EXPECT_THAT(names(), ElementsAre("a/one"));
}

TEST_F(ObjectReloaderTest, may_go_while_it_reads) {
  write(object("one", "10.0.0.1"));
  { const ObjectReloader reloader(io_, files(), teller()); }
  io_.run_for(100ms);
  EXPECT_FALSE(told_);
}

}  // namespace
}  // namespace limpet::control
