// What a second reading finds. (What the first one reads: config_kubernetes_test.cpp.)
#include "lb/service/kubernetes_files.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string service(const std::string& name, const std::string& vip) {
  return R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"a","name":")" + name +
         R"("},"spec":{"clusterIP":")" + vip + R"(","ports":[{"name":"p","port":80}]}})";
}
std::string slice(const std::string& name, const std::string& of, const std::string& endpoint) {
  return R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"namespace":"a","name":")" +
         name + R"(","labels":{"kubernetes.io/service-name":")" + of +
         R"("}},"ports":[{"name":"p","port":8080}],"endpoints":[{"addresses":[")" + endpoint + R"("]}]})";
}

class Files : public testing::Test {
 protected:
  Files() { std::filesystem::create_directories(folder_ / "more"); }
  ~Files() override { std::filesystem::remove_all(folder_); }

  /// A new file in the place of the old: another inode, so never taken for the same.
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / ".new") << text;
    std::filesystem::rename(folder_ / ".new", folder_ / name);
  }
  std::vector<std::string> changed() {
    news_ = files_.read();
    std::vector<std::string> names;
    for (const Group& group : news_.groups) names.push_back(group.name);
    return names;
  }
  const Service& only() const { return news_.groups.at(0).services.at(0); }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("limpet_files_" + std::to_string(getpid()) + "_" +
                                                testing::UnitTest::GetInstance()->current_test_info()->name());
  KubernetesFiles files_{{(folder_ / "o.json").string(), (folder_ / "more").string()}, "node"};
  KubernetesFiles::News news_;
};

TEST_F(Files, nothing_new_is_nothing) {
  write("o.json", service("x", "10.0.0.1"));
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  EXPECT_THAT(changed(), IsEmpty());
  write("o.json", " " + service("x", "10.0.0.1"));
  EXPECT_THAT(changed(), IsEmpty()) << "read again, the same";
}

TEST_F(Files, a_slice_touches_its_service_alone) {
  write("o.json", service("x", "10.0.0.1") + service("y", "10.0.0.2") + slice("x-1", "x", "10.1.0.1"));
  changed();
  write("o.json", service("x", "10.0.0.1") + service("y", "10.0.0.2") + slice("x-1", "x", "10.1.0.2"));
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  EXPECT_EQ(only().endpoints.at(0).at.to_string(), "10.1.0.2:8080");
  write("o.json", service("x", "10.0.0.1") + service("y", "10.0.0.2") + slice("x-1", "y", "10.1.0.2"));
  EXPECT_THAT(changed(), ElementsAre("a/x", "a/y")) << "it serves another one now";
}

TEST_F(Files, what_leaves_a_folder_goes_what_was_named_stays) {
  write("o.json", service("x", "10.0.0.1"));
  write("more/y.json", service("y", "10.0.0.2"));
  EXPECT_THAT(changed(), ElementsAre("a/x", "a/y"));
  std::filesystem::remove(folder_ / "more/y.json");
  std::filesystem::remove(folder_ / "o.json");
  EXPECT_THAT(changed(), ElementsAre("a/y"));
  EXPECT_THAT(news_.groups.at(0).services, IsEmpty());
  EXPECT_THAT(news_.diagnostics.at(0).message, HasSubstr("No such file"));
  write("o.json", service("x", "10.0.0.3"));
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  EXPECT_THAT(news_.diagnostics, IsEmpty());
}

TEST_F(Files, a_broken_file_keeps_what_it_had_until_it_is_whole) {
  write("o.json", service("x", "10.0.0.1"));
  changed();
  write("o.json", service("x", "10.0.0.2") + "{");
  EXPECT_THAT(changed(), IsEmpty());
  EXPECT_TRUE(has_errors(news_.diagnostics));
  EXPECT_EQ(files_.groups().at(0).services.at(0).cluster_ip, net::Address::parse("10.0.0.1"));
  write("o.json", service("x", "10.0.0.2"));
  EXPECT_THAT(changed(), ElementsAre("a/x"));
}

TEST_F(Files, a_file_that_is_cut_off_before_it_is_written_loses_nothing) {
  write("o.json", service("x", "10.0.0.1"));
  changed();
  std::ofstream rewritten(folder_ / "o.json", std::ios::trunc);  // as a shell's > does it
  EXPECT_THAT(changed(), IsEmpty());
  EXPECT_THAT(news_.diagnostics.at(0).message, HasSubstr("it is empty now"));
  rewritten << service("x", "10.0.0.2") << std::flush;
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  rewritten.close();
  std::ofstream(folder_ / "o.json") << R"({"apiVersion":"v1","kind":"List","items":[]})";
  EXPECT_THAT(changed(), ElementsAre("a/x")) << "a list of nothing is meant";
  EXPECT_THAT(news_.groups.at(0).services, IsEmpty());
}

TEST_F(Files, another_text_of_the_same_size_in_the_same_inode_is_seen) {
  write("o.json", service("x", "10.0.0.1"));
  changed();
  std::ofstream(folder_ / "o.json") << service("x", "10.0.0.2");
  EXPECT_THAT(changed(), ElementsAre("a/x"));
}

/// Nobody writes to it: who opened it would wait for ever.
TEST_F(Files, a_pipe_that_comes_later_or_lies_in_a_folder_is_not_opened) {
  write("o.json", service("x", "10.0.0.1"));
  ASSERT_EQ(::mkfifo((folder_ / "more/a.json").c_str(), 0600), 0);
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  ASSERT_EQ(news_.diagnostics.size(), 1u);
  EXPECT_THAT(to_string(news_.diagnostics.front()),
              HasSubstr("more/a.json: error: cannot be read: it is no regular file"));
  std::filesystem::remove(folder_ / "more/a.json");
  std::filesystem::remove(folder_ / "o.json");
  ASSERT_EQ(::mkfifo((folder_ / "o.json").c_str(), 0600), 0);
  EXPECT_THAT(changed(), IsEmpty());
  EXPECT_EQ(news_.diagnostics.size(), 1u);
  EXPECT_EQ(files_.groups().size(), 1u) << "it keeps what the file had";
}

TEST_F(Files, a_folder_that_vanishes_keeps_its_services_until_it_is_back) {
  write("o.json", service("x", "10.0.0.1"));
  write("more/y.json", service("y", "10.0.0.2"));
  std::filesystem::create_directories(folder_ / "more" / "no_file.yaml");
  EXPECT_THAT(changed(), ElementsAre("a/x", "a/y"));
  std::filesystem::rename(folder_ / "more", folder_ / "away");
  EXPECT_THAT(changed(), IsEmpty());
  EXPECT_TRUE(has_errors(news_.diagnostics));
  std::filesystem::create_directories(folder_ / "more");
  EXPECT_THAT(changed(), ElementsAre("a/y")) << "an empty folder is meant";
  std::filesystem::remove(folder_ / "more");
  std::filesystem::rename(folder_ / "away", folder_ / "more");
  EXPECT_THAT(changed(), ElementsAre("a/y"));
  EXPECT_FALSE(news_.groups.at(0).services.empty());
}

TEST_F(Files, of_two_with_one_key_the_last_counts) {
  write("o.json", service("x", "10.0.0.1"));
  write("more/x.json", service("x", "10.0.0.2"));
  changed();
  EXPECT_EQ(only().cluster_ip, net::Address::parse("10.0.0.2"));
  std::filesystem::remove(folder_ / "more/x.json");
  EXPECT_THAT(changed(), ElementsAre("a/x"));
  EXPECT_EQ(only().cluster_ip, net::Address::parse("10.0.0.1")) << "the other one, which was there all the time";
}

TEST_F(Files, a_bad_object_is_left_out_alone) {
  write("o.json", service("x", "10.0.0.1") + service("y", "10.0.0.2"));
  changed();
  write("o.json", service("x", "10.0.0.300") + service("y", "10.0.0.3"));
  EXPECT_THAT(changed(), ElementsAre("a/x", "a/y"));
  EXPECT_THAT(news_.groups.at(0).services, IsEmpty());
  EXPECT_FALSE(has_errors(news_.diagnostics));
  EXPECT_THAT(news_.diagnostics.at(0).message, HasSubstr("Service a/x is left out"));
}

}  // namespace
}  // namespace limpet::service
