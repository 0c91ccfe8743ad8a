// socket_file.h: the unix socket that the API is reached by: where it is, who may open it.
//
//   root     /run/limpet/INSTANCE.sock
//   others   $XDG_RUNTIME_DIR/limpet/INSTANCE.sock, or /dev/shm/limpet-UID/INSTANCE.sock
//
// Mode 0660: the user that limpet runs as, and its group. The folder is made if it is missing; under /dev/shm, where anybody
// may make one, it must be ours and nobody else's to write. The file is bound under another name and then renamed, so it is
// never there without somebody who listens; one that nobody listens on any more (its process was killed) is replaced, one
// that somebody does listen on is not.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "conntrack/store/result.h"

namespace limpet::control {

/// Of this process's user.
std::filesystem::path default_socket(std::string_view instance);
/// Where a client looks: its own user's, then root's.
std::vector<std::filesystem::path> socket_candidates(std::string_view instance);

/// A listening socket and its file, which goes with the object, unless somebody else's has taken its place.
class SocketFile {
 public:
  /// Errors: permission; unavailable: somebody listens there; runtime: the path is too long, or is something else.
  static store::Result<SocketFile> listen(const std::filesystem::path& path);
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile();

  const std::filesystem::path& path() const noexcept { return path_; }
  /// The descriptor, whose owner the caller becomes.
  int release() noexcept;

 private:
  SocketFile(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}

  int fd_;
  std::filesystem::path path_;  // empty: moved from
  ino_t inode_ = 0;             // of the file that we made
};

}  // namespace limpet::control
