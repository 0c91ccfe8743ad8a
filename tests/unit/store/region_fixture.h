// region_fixture.h: a directory on tmpfs, gone after the test, and the state file in it.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include "conntrack/store/mapped_region.h"

namespace limpet::store {

constexpr std::size_t kMiB = std::size_t{1} << 20;

inline bool is_tmpfs(const std::string& path) {
  struct statfs system {};
  return ::statfs(path.c_str(), &system) == 0 && system.f_type == 0x01021994;
}

class Region : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/dev/shm/limpet-test-XXXXXX";
    if (!is_tmpfs("/dev/shm") || ::mkdtemp(name) == nullptr) GTEST_SKIP() << "there is no tmpfs on /dev/shm";
    directory = name;
    options.path = directory + "/a.state";
  }
  void TearDown() override {
    if (!directory.empty()) std::filesystem::remove_all(directory);
  }

  MappedRegion open(const RegionOptions& with) {
    Result<MappedRegion> region = MappedRegion::open(with);
    if (!region) throw std::runtime_error(region.error().message);
    return std::move(*region);
  }
  MappedRegion open() { return open(options); }
  std::string aside() const { return options.path + ".set-aside"; }

  RegionHeader header() const {
    RegionHeader header{};
    std::ifstream file(options.path, std::ios::binary);
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    return header;
  }
  void write(const void* bytes, std::size_t size, std::size_t at = 0) const {
    std::fstream file(options.path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  }

  std::string directory;
  RegionOptions options{
      .path = {},
      .instance = "test",
      .sections = {{"flows", 3 * kMiB, "flows 1"}, {"affinity", 100, "affinity 1"}},
      .patience = std::chrono::milliseconds(0),
  };
};

}  // namespace limpet::store
