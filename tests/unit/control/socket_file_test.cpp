#include "lb/control/socket_file.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/control/temporary_folder.h"

namespace limpet::control {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

mode_t mode_of(const fs::path& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
}

/// A socket file that nobody listens on, as a killed process leaves it.
void leave_behind(const fs::path& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  ASSERT_TRUE(fs::is_socket(path));
}

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(SocketFile, StandsWhileItIsHeld) {
  const TemporaryFolder folder;
  const fs::path path = folder / "limpet/default.sock";
  {
    const auto file = SocketFile::listen(path);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE(fs::is_socket(path));
    EXPECT_EQ(mode_of(path), 0660u);
    EXPECT_EQ(mode_of(path.parent_path()) & 0022, 0u);
    EXPECT_EQ(files_in(path.parent_path()), 1u) << "no draft is left";
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(SocketFile, ReplacesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  const fs::path path = folder / "stale.sock";
  leave_behind(path);
  const auto file = SocketFile::listen(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(mode_of(path), 0660u);
}

TEST(SocketFile, LeavesALivingOneAlone) {
  const TemporaryFolder folder;
  const fs::path path = folder / "living.sock";
  const auto first = SocketFile::listen(path);
  ASSERT_TRUE(first);
  const auto second = SocketFile::listen(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, store::ErrorKind::unavailable);
  EXPECT_THAT(second.error().message, HasSubstr("another process answers at " + path.string()));
  EXPECT_TRUE(fs::is_socket(path));
}

TEST(SocketFile, LeavesWhatIsNoSocketAlone) {
  const TemporaryFolder folder;
  const fs::path path = folder / "notes.txt";
  std::ofstream(path) << "mine";
  const auto file = SocketFile::listen(path);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr(path.string() + " is no socket"));
  EXPECT_EQ(fs::file_size(path), 4u);
}

TEST(SocketFile, LeavesItsSuccessorsFileAlone) {
  const TemporaryFolder folder;
  const fs::path path = folder / "default.sock";
  std::optional<SocketFile> first(std::move(*SocketFile::listen(path)));
  fs::remove(path);
  const auto second = SocketFile::listen(path);
  ASSERT_TRUE(second);
  first.reset();
  EXPECT_TRUE(fs::is_socket(path));
}

TEST(SocketFile, SaysWhatIsWrongWithAPath) {
  const TemporaryFolder folder;
  const auto too_long = SocketFile::listen(folder / std::string(200, 'x'));
  ASSERT_FALSE(too_long);
  EXPECT_THAT(too_long.error().message, HasSubstr("too long"));
  std::ofstream(folder / "file") << "x";
  const auto below = SocketFile::listen(folder / "file/default.sock");
  ASSERT_FALSE(below);
  EXPECT_THAT(below.error().message, HasSubstr((folder / "file").string()));
}

TEST(SocketFile, HasADefaultForEachUser) {
  const fs::path mine = default_socket("default");
  EXPECT_EQ(mine.filename(), "default.sock");
  if (::geteuid() == 0) {
    EXPECT_EQ(mine, "/run/limpet/default.sock");
    EXPECT_EQ(socket_candidates("default"), std::vector<fs::path>{mine});
  } else {
    EXPECT_EQ(socket_candidates("default"), (std::vector<fs::path>{mine, "/run/limpet/default.sock"}));
  }
}

}  // namespace
}  // namespace limpet::control
