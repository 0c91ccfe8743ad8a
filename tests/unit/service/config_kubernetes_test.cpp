#include "lb/service/config_kubernetes.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lb/service/config_reader.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Texts = std::vector<std::string>;

std::string service(const std::string& name, const std::string& cluster_ip) {
  return R"({"apiVersion":"v1","kind":"Service","metadata":{"namespace":"a","name":")" + name +
         R"("},"spec":{"clusterIP":")" + cluster_ip + R"(","ports":[{"port":80}]}})";
}

/// A folder with a configuration and files that it names.
class ConfigOfObjects : public testing::Test {
 protected:
  ConfigOfObjects() { std::filesystem::create_directories(folder_ / "more"); }
  ~ConfigOfObjects() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_ / name) << text; }
  LoadedConfig load(const std::string& text) const {
    write("limpet.yaml", text);
    return load_config((folder_ / "limpet.yaml").string());
  }
  /// Without the folder's name.
  Texts complaints(const LoadedConfig& loaded) const {
    Texts result;
    for (Diagnostic diagnostic : loaded.diagnostics) {
      diagnostic.file = std::filesystem::path(diagnostic.file).lexically_relative(folder_).string();
      result.push_back(to_string(diagnostic));
    }
    return result;
  }
  static Texts names(const LoadedConfig& loaded) {
    Texts result;
    for (const Service& each : loaded.config->services) result.push_back(each.name);
    return result;
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("limpet_objects_" + std::to_string(getpid()) + "_" +
                                                testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(ConfigOfObjects, ReadsFilesAndFoldersSeenFromItsOwn) {
  write("one.json", service("one", "10.0.0.1"));
  write("more/two.yaml", service("two", "10.0.0.2"));
  write("more/three.yml", "---\n" + service("three", "10.0.0.3"));
  write("more/ignored.txt", "not read");
  const LoadedConfig loaded = load("kubernetes: {files: [one.json, more]}\n");
  ASSERT_TRUE(loaded.config) << testing::PrintToString(complaints(loaded));
  EXPECT_THAT(names(loaded), testing::UnorderedElementsAre("a/one", "a/two", "a/three"));
  EXPECT_THAT(loaded.diagnostics, testing::IsEmpty());
}

TEST_F(ConfigOfObjects, StandBesideNativeServicesWhichComeFirst) {
  write("o.json", service("one", "10.0.0.1") + service("two", "10.0.0.2"));
  const LoadedConfig loaded = load(
      "services: [{name: b/native, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 10.1.0.1}]}]\n"
      "node: {podCIDRs: [10.1.0.0/16]}\nkubernetes: {files: [o.json]}\n");
  ASSERT_TRUE(loaded.config);
  EXPECT_EQ(names(loaded), (Texts{"b/native", "a/one", "a/two"}));
  EXPECT_FALSE(loaded.config->services[1].cluster_ip);
  EXPECT_THAT(complaints(loaded), ElementsAre("limpet.yaml: warning: 10.0.0.1:80/tcp of service a/one is left out: the "
                                              "older service b/native has it"));
}

TEST_F(ConfigOfObjects, AreWarnedOfAsNativeServicesAre) {
  write("o.json", service("one", "10.0.0.1") + service("two", "10.0.0.2") +
                      R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{
                          "namespace":"a","name":"two-1","labels":{"kubernetes.io/service-name":"two"}},
                          "ports":[{"port":80}],"endpoints":[{"addresses":["10.1.0.1"],"nodeName":"other"}]})");
  const LoadedConfig loaded =
      load("node: {name: this, nodeIP: 10.0.0.1, addresses: [10.0.0.1]}\nkubernetes: {files: [o.json]}\n");
  ASSERT_TRUE(loaded.config);
  EXPECT_THAT(complaints(loaded),
              ElementsAre("limpet.yaml: warning: service a/one: clusterIP 10.0.0.1 is also an address of this node: "
                          "connections from it are masqueraded",
                          testing::AllOf(HasSubstr("limpet.yaml: warning: "), HasSubstr("a/two"))));
}

TEST_F(ConfigOfObjects, AreMissedWhereTheirFileIsMissing) {
  const LoadedConfig loaded = load("kubernetes: {files: [none.json]}\n");
  EXPECT_FALSE(loaded.config);
  EXPECT_THAT(complaints(loaded), ElementsAre("none.json: error: cannot be read: No such file or directory; name a "
                                              "readable file, a folder, or - for standard input"));
}

TEST_F(ConfigOfObjects, AreAnErrorWhereTheirTextIsBroken) {
  write("o.json", service("one", "10.0.0.1") + "\n{");
  const LoadedConfig loaded = load("kubernetes: {files: [o.json]}\n");
  EXPECT_FALSE(loaded.config);
  EXPECT_THAT(complaints(loaded), ElementsAre(HasSubstr("o.json:2:2: error: not JSON: ")));
}

}  // namespace
}  // namespace limpet::service
