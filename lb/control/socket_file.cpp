#include "lb/control/socket_file.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace limpet::control {

namespace fs = std::filesystem;
using store::Error;
using store::ErrorKind;

namespace {

constexpr int kBacklog = 32;
constexpr mode_t kMode = 0660;

Error system_error(const std::string& what, int error) {
  const bool refused = error == EACCES || error == EPERM || error == EROFS;
  return {refused ? ErrorKind::permission : ErrorKind::runtime, what + ": " + std::strerror(error)};
}

sockaddr_un address_of(const fs::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size() + 1);
  return address;
}

/// 0, or the errno.
int connect_to(const fs::path& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  const sockaddr_un address = address_of(path);
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  ::close(fd);
  return result;
}

/// What keeps the path from being ours, if anything.
std::optional<Error> in_the_way(const fs::path& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;  // bind and rename will say what else is wrong
  if (!S_ISSOCK(status.st_mode)) {
    return Error{ErrorKind::runtime, path.string() + " is no socket: remove it, or name another path"};
  }
  const int error = connect_to(path);
  if (error == ECONNREFUSED) return std::nullopt;  // its process is gone
  if (error == 0 || error == EAGAIN) {
    return Error{ErrorKind::unavailable,
                 "another process answers at " + path.string() + ": stop it, or name another path"};
  }
  return system_error("cannot tell who listens at " + path.string(), error);
}

/// In a folder that anybody may have made, we trust what is ours alone.
std::optional<Error> unsafe(const fs::path& folder) {
  struct stat status;
  if (::lstat(folder.c_str(), &status) != 0) return system_error("cannot look at " + folder.string(), errno);
  if (S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & 0022) == 0) return std::nullopt;
  return Error{ErrorKind::permission,
               folder.string() + " is not this user's alone: remove it, or name another path for the socket"};
}

std::optional<Error> make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  const bool shared = folder.parent_path() == "/dev/shm";
  if (!error && ::mkdir(folder.c_str(), shared ? 0700 : 0755) != 0 && errno != EEXIST) {
    error = {errno, std::generic_category()};
  }
  if (error) return system_error("cannot make the folder " + folder.string(), error.value());
  return shared ? unsafe(folder) : std::nullopt;
}

/// 0, or the errno. The file stands at `path`, with its mode, and is listened on.
int bind_and_listen(int fd, const fs::path& path) {
  const fs::path draft = path.string() + "." + std::to_string(::getpid());
  const sockaddr_un address = address_of(draft);
  ::unlink(draft.c_str());
  ::fchmod(fd, 0600);  // what it is created with: nobody slips in before the mode is right
  const bool done = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                    ::chmod(draft.c_str(), kMode) == 0 && ::listen(fd, kBacklog) == 0 &&
                    ::rename(draft.c_str(), path.c_str()) == 0;
  const int error = done ? 0 : errno;
  if (!done) ::unlink(draft.c_str());
  return error;
}

ino_t inode_of(const fs::path& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

fs::path root_socket(std::string_view instance) {
  return fs::path("/run/limpet") / (std::string(instance) + ".sock");
}

}  // namespace

fs::path default_socket(std::string_view instance) {
  if (::geteuid() == 0) return root_socket(instance);
  const std::string file = std::string(instance) + ".sock";
  if (const char* const folder = std::getenv("XDG_RUNTIME_DIR"); folder != nullptr && folder[0] == '/') {
    return fs::path(folder) / "limpet" / file;
  }
  return fs::path("/dev/shm/limpet-" + std::to_string(::geteuid())) / file;
}

std::vector<fs::path> socket_candidates(std::string_view instance) {
  std::vector<fs::path> paths{default_socket(instance)};
  if (paths.front() != root_socket(instance)) paths.push_back(root_socket(instance));
  return paths;
}

store::Result<SocketFile> SocketFile::listen(const fs::path& path) {
  constexpr std::size_t kPidSuffix = 12;
  if (path.native().size() + kPidSuffix > sizeof sockaddr_un{}.sun_path) {
    return Error{ErrorKind::runtime, path.string() + " is too long for a socket: name a shorter path"};
  }
  if (path.has_parent_path()) {
    if (const auto error = make_folder(path.parent_path())) return *error;
  }
  if (const auto error = in_the_way(path)) return *error;
  SocketFile file(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), path);
  if (file.fd_ < 0) return system_error("cannot make a socket", errno);
  if (const int error = bind_and_listen(file.fd_, path); error != 0) {
    return system_error("cannot listen at " + path.string(), error);
  }
  file.inode_ = inode_of(path);
  return file;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::exchange(other.path_, {})),
      inode_(std::exchange(other.inode_, 0)) {}

SocketFile::~SocketFile() {
  if (fd_ >= 0) ::close(fd_);
  if (inode_ != 0 && inode_of(path_) == inode_) ::unlink(path_.c_str());
}

int SocketFile::release() noexcept {
  return std::exchange(fd_, -1);
}

}  // namespace limpet::control
